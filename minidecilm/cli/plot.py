"""`minidecilm plot`: draws a figure of :mod:`minidecilm.plots.gallery` and writes it."""

import argparse
from inspect import signature
from pathlib import Path

from minidecilm import costs, plots
from minidecilm.api import LanguageModel, load
from minidecilm.catalog import find_model
from minidecilm.cli.options import add_ignored_keys
from minidecilm.config import Config
from minidecilm.files import resolved
from minidecilm.generation import check_length
from minidecilm.observe import FaultFinder, LayerClock, Recorder, Showing
from minidecilm.plots.gallery import OF_A_RUN, OF_CONFIGS
from minidecilm.presets import PRESET_NAMES
from minidecilm.progress import progress_bar

SUMMARY = "draw KV heads, caches, throughput, rotary embedding or attention as SVG, PNG or PDF"
EXAMPLE = "minidecilm plot kv-cache decilm-6b llama-2-7b --out cache.svg"
_MAX_CONTEXT = 1 << 24  # as large as a config's max_position_embeddings can be
_PROMPT = "Once upon a time, there was a little fox named Sam who lived in a den on a hill with his uncle."


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "name", metavar="NAME", help=f"of configs: {', '.join(OF_CONFIGS)}; of a run: {', '.join(OF_A_RUN)}"
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help=f"{', '.join(PRESET_NAMES)}, demo, a config.json or a folder; of a run: one that has weights",
    )
    parser.add_argument(
        "--config", action="append", default=[], metavar="MODEL", help="one more; may be repeated"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=f"ends in .{', .'.join(plots.FORMATS)}"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the numbers that are drawn as well")
    parser.add_argument("--dark", action="store_true", help="for a dark page")
    parser.add_argument(
        "--context", type=int, metavar="N", help="tokens cached per row (where that is not drawn)"
    )
    parser.add_argument(
        "--weights", metavar="WEIGHTS", help="their storage: bfloat16, int8, int4 ... (default: as published)"
    )
    parser.add_argument("--device", default="a10", help=f"{', '.join(costs.DEVICE_NAMES)} (default: a10)")
    parser.add_argument("--devices", type=Path, metavar="FILE", help="a file with devices of your own")
    parser.add_argument("--prompt", default=_PROMPT, metavar="TEXT", help="what the model reads in a run")
    parser.add_argument("--layer", type=int, default=0, metavar="N", help="of attention (default: 0)")
    add_ignored_keys(parser)


def run(options: argparse.Namespace) -> int:
    """Draw and write; return the exit code."""
    if options.name not in OF_CONFIGS and options.name not in OF_A_RUN:
        raise ValueError(f"no plot {options.name!r}: choose from {', '.join([*OF_CONFIGS, *OF_A_RUN])}")
    plots.check_suffix(options.out)
    for path in (options.out, options.csv):
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no such folder")
        if path is not None and path.exists() and not path.is_file():
            raise ValueError(f"{path}: expected the name of a file to write, found a folder, pipe or device")
    if options.csv is not None and resolved(options.csv) == resolved(options.out):
        raise ValueError(f"{options.csv}: --out and --csv name the same file")
    if options.context is not None and not 1 <= options.context <= _MAX_CONTEXT:
        raise ValueError(f"--context: expected 1 to {_MAX_CONTEXT:,}, found {options.context}")
    names = [*options.models, *options.config]
    with plots.style(dark=options.dark):
        if options.name in OF_CONFIGS:
            figure = _of_configs(_configs(names, options.ignore_config_key), options)
        else:
            figure = _of_a_run(*_loaded(names, options), options)
        if options.csv is not None:
            plots.save_numbers(figure, options.csv)
        plots.save_figure(figure, options.out)
    print(f"wrote {options.out}" + (f" and {options.csv}" if options.csv is not None else ""))
    return 0


def _configs(names: list[str], ignored: list[str]) -> dict[str, Config]:
    """Configs by title, in the order they were given."""
    configs: dict[str, Config] = {}
    for name in names or ["decilm-6b"]:
        model = find_model(name, ignore_config_keys=ignored)
        title = _plain(model.title)
        if title in configs:
            raise ValueError(f"{name}: two models would both be called {title!r} in the figure")
        configs[title] = model.config
    return configs


def _plain(title: str) -> str:
    """Make a name one that matplotlib writes: text, no mathematics, not that of something to leave out."""
    title = title.encode(errors="surrogateescape").decode(errors="replace")
    title = title.replace("$", r"\$")
    return f" {title[1:]}" if title.startswith("_") else title


def _of_configs(configs: dict[str, Config], options: argparse.Namespace) -> "plots.Figure":
    """Draw with those of the options that the figure takes; what is not given is as the gallery has it."""
    draw = OF_CONFIGS[options.name]
    takes = signature(draw).parameters
    given = {key: getattr(options, key) for key in ("context", "weights") if key in takes}
    if "device" in takes:
        given["device"] = costs.device(options.device, options.devices)
    return draw(configs, **{key: value for key, value in given.items() if value is not None})


def _of_a_run(lm: LanguageModel, ids: list[int], options: argparse.Namespace) -> "plots.Figure":
    """Run the model on one text, and draw what was seen."""
    draw, stages = OF_A_RUN[options.name]
    with progress_bar(len(lm.config.layers), "reading the prompt", "layer") as bar:
        recorder, finder = Recorder(stages), FaultFinder()
        observer = Showing(recorder, finder, LayerClock(bar.update))
        lm.model([ids], last_only=True, observer=observer)
    finder.check()
    layer = {"layer": options.layer} if "layer" in signature(draw).parameters else {}
    title, kv_heads = lm.checkpoint.folder.name, lm.config.num_key_value_heads_per_layer
    return draw(title, recorder.values, kv_heads, **layer)


def _loaded(names: list[str], options: argparse.Namespace) -> tuple[LanguageModel, list[int]]:
    """Load the model that is to run, and encode what it is to read."""
    if len(names) > 1:
        raise ValueError(f"this plot is of one model, found {len(names)}: {', '.join(names)}")
    name = names[0] if names else "demo"
    lm = load(name, ignore_config_keys=options.ignore_config_key)
    tokenizer = lm.require_tokenizer()
    if not 0 <= options.layer < len(lm.config.layers):
        raise ValueError(f"--layer: expected 0 to {len(lm.config.layers) - 1}, found {options.layer}")
    ids = tokenizer.encode(options.prompt)
    if len(ids) < 3:
        raise ValueError(f"--prompt: expected a text of at least two tokens, found {options.prompt!r}")
    check_length(lm.config, len(ids), 1, None)
    return lm, ids
