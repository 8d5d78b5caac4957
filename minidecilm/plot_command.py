"""`minidecilm plot`: the figures that can be drawn of any config, and those of a run of any checkpoint."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from minidecilm import costs, plots
from minidecilm.api import LanguageModel, load
from minidecilm.config import Config
from minidecilm.generation import check_length
from minidecilm.info import find_model
from minidecilm.observe import Recorder, attention_entropy, first_token_share, root_mean_square
from minidecilm.ops import Array
from minidecilm.presets import PRESET_NAMES
from minidecilm.progress import ProgressBar, progress_bar

_POWERS = [2**k for k in range(20)]
_MEMORIES = {f"{size} GB": size * 10**9 for size in (24, 40, 80)}
_PROMPT = "Once upon a time, there was a little fox named Sam who lived in a den on a hill with his uncle."

Configs = Mapping[str, Config]


def _kv_heads(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, axes = plots.new_figure(
        len(configs), size=(4.8, 1 + 1.9 * len(configs)), sharex=True, sharey=True, squeeze=False
    )
    most = max(max(config.num_key_value_heads_per_layer) for config in configs.values())
    for index, (ax, (name, config)) in enumerate(zip(axes.flat, configs.items(), strict=True)):
        plots.kv_heads(ax, name, config.num_key_value_heads_per_layer, index, most)
        ax.label_outer()
    return figure


def _parameters(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 2.1 + 0.4 * len(configs)))
    plots.parameters(ax, configs)
    return figure


def _kv_cache(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 3.4))
    longest = max(config.max_position_embeddings for config in configs.values())
    plots.kv_cache_by_context(ax, configs, [length for length in _POWERS[6:] if length <= 2 * longest])
    return figure


def _kv_cache_batch(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 3.4))
    plots.kv_cache_by_batch(ax, configs, _POWERS[:9], options.context or 4096)
    return figure


def _largest_batch(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 1.8 + 0.45 * len(configs)))
    plots.largest_batch(ax, configs, _MEMORIES, options.context or 4096, options.weights)
    return figure


def _throughput(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 3.8))
    device = costs.device(options.device, options.devices)
    plots.throughput(ax, configs, device, range(1, 513), options.context or 1024, weights=options.weights)
    return figure


def _roofline(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.0, 3.8))
    device = costs.device(options.device, options.devices)
    plots.roofline(ax, configs, device, context=options.context or 1024, weights=options.weights)
    return figure


def _rope_base(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.2, 3.2))
    longest = 4 * min(config.max_position_embeddings for config in configs.values())
    plots.rope_base(ax, configs, np.linspace(1, longest, 257).round().astype(int))
    return figure


def _wavelengths(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.4, 3.4))
    name, config = _only(configs)
    plots.wavelengths(ax, config, [config.max_position_embeddings * times for times in (1, 2, 4)])
    ax.set_title(f"{name}: tokens in which\neach pair turns once")
    return figure


def _angles(configs: Configs, options: argparse.Namespace) -> "plots.Figure":
    figure, axes = plots.new_figure(2, 3, size=(6.0, 4.4), sharey=True)
    name, config = _only(configs)
    plots.rotary_angles(axes, config, [config.max_position_embeddings * times for times in (1, 2, 4)])
    figure.suptitle(f"{name}: angles, outlined where unseen in training", weight="bold")
    return figure


def _attention(lm: LanguageModel, ids: list[int], options: argparse.Namespace) -> "plots.Figure":
    weights, kv_heads = _attention_weights(lm, ids), lm.config.num_key_value_heads_per_layer
    layer = options.layer
    rows, columns = plots.attention_grid(len(weights[layer]), kv_heads[layer])
    size = (2 + columns, 1.2 + 1.2 * rows)
    figure, axes = plots.new_figure(rows, columns, size=size, sharex=True, sharey=True)
    plots.attention_maps(axes, weights[layer], kv_heads[layer])
    figure.suptitle(f"{_title(lm)}: attention in layer {layer}", weight="bold")
    return figure


def _attention_entropy(lm: LanguageModel, ids: list[int], options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure()
    values = [attention_entropy(weights).mean(axis=-1) for weights in _attention_weights(lm, ids)]
    plots.by_head(ax, values, lm.config.num_key_value_heads_per_layer)
    ax.set_title(f"{_title(lm)}: how widely each head looks")
    ax.set_ylabel("mean entropy of attention (bits)")
    return figure


def _attention_first_token(lm: LanguageModel, ids: list[int], options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure()
    values = [first_token_share(weights) for weights in _attention_weights(lm, ids)]
    plots.by_head(ax, values, lm.config.num_key_value_heads_per_layer)
    ax.set_title(f"{_title(lm)}: attention each\nhead gives the first token")
    ax.set_ylabel("share of attention")
    return figure


def _activations(lm: LanguageModel, ids: list[int], options: argparse.Namespace) -> "plots.Figure":
    figure, ax = plots.new_figure(size=(5.2, 3.2))
    stages = {
        "added by attention": "o_proj",
        "added by feed-forward": "down_proj",
        "hidden state": "hidden_states",
    }
    seen = _record(lm, ids, list(stages.values()))
    layers = range(len(lm.config.layers))
    sizes = {
        name: [root_mean_square(seen[layer, stage]) for layer in layers] for name, stage in stages.items()
    }
    plots.activations(ax, sizes)
    ax.set_title(f"{_title(lm)}: size of activations")
    return figure


_OF_CONFIGS: dict[str, Callable[[Configs, argparse.Namespace], "plots.Figure"]] = {
    "kv-heads": _kv_heads,
    "parameters": _parameters,
    "kv-cache": _kv_cache,
    "kv-cache-batch": _kv_cache_batch,
    "largest-batch": _largest_batch,
    "throughput": _throughput,
    "roofline": _roofline,
    "rope-base": _rope_base,
    "wavelengths": _wavelengths,
    "angles": _angles,
}
_OF_A_RUN: dict[str, Callable[[LanguageModel, list[int], argparse.Namespace], "plots.Figure"]] = {
    "attention": _attention,
    "attention-entropy": _attention_entropy,
    "attention-first-token": _attention_first_token,
    "activations": _activations,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `minidecilm plot` takes."""
    parser.add_argument(
        "name", metavar="NAME", help=f"of configs: {', '.join(_OF_CONFIGS)}; of a run: {', '.join(_OF_A_RUN)}"
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


def run(options: argparse.Namespace) -> int:
    """Draw and write; return the exit code.

    Raises
    ------
    ValueError, OSError
        For a wrong name, model, option or file.
    """
    if options.name not in _OF_CONFIGS and options.name not in _OF_A_RUN:
        raise ValueError(f"no plot {options.name!r}: choose from {', '.join([*_OF_CONFIGS, *_OF_A_RUN])}")
    plots.check_suffix(options.out)
    for path in (options.out, options.csv):
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no such folder")
    if options.context is not None and options.context < 1:
        raise ValueError(f"--context: expected at least 1, found {options.context}")
    names = [*options.models, *options.config]
    with plots.style(dark=options.dark):
        if options.name in _OF_CONFIGS:
            figure = _OF_CONFIGS[options.name](_configs(names), options)
        else:
            lm, ids = _loaded(names, options)
            figure = _OF_A_RUN[options.name](lm, ids, options)
        if options.csv is not None:
            plots.save_numbers(figure, options.csv)
        plots.save_figure(figure, options.out)
    return 0


def _configs(names: list[str]) -> dict[str, Config]:
    """Configs by title, in the order they were given."""
    configs: dict[str, Config] = {}
    for name in names or ["decilm-6b"]:
        path = Path(name)
        title = plots.TITLES.get(
            name.lower(), path.resolve().parent.name if path.name == "config.json" else path.name
        )
        if title in configs:
            raise ValueError(f"{name}: two models would both be called {title!r} in the figure")
        configs[title] = find_model(name).config
    return configs


def _only(configs: Configs) -> tuple[str, Config]:
    if len(configs) > 1:
        raise ValueError(f"this plot is of one model, found {len(configs)}: {', '.join(configs)}")
    return next(iter(configs.items()))


def _loaded(names: list[str], options: argparse.Namespace) -> tuple[LanguageModel, list[int]]:
    """Load the model that is to run, and encode what it is to read."""
    if len(names) > 1:
        raise ValueError(f"this plot is of one model, found {len(names)}: {', '.join(names)}")
    name = names[0] if names else "demo"
    if name.lower() in PRESET_NAMES and not Path(name).exists():
        raise ValueError(f"{name} is a preset without weights: give a checkpoint folder, or demo")
    lm = load(name)
    if lm.tokenizer is None:
        raise ValueError(f"{name} has no tokenizer.model, so it cannot read a prompt")
    if not 0 <= options.layer < len(lm.config.layers):
        raise ValueError(f"--layer: expected 0 to {len(lm.config.layers) - 1}, found {options.layer}")
    ids = lm.tokenizer.encode(options.prompt)
    if len(ids) < 3:
        raise ValueError(f"--prompt: expected a text of at least two tokens, found {options.prompt!r}")
    check_length(lm.config, len(ids), 1, None)
    return lm, ids


def _title(lm: LanguageModel) -> str:
    return lm.checkpoint.folder.name


def _attention_weights(lm: LanguageModel, ids: list[int]) -> list[Array]:
    """Attention of every layer, each (H, T, T)."""
    seen = _record(lm, ids, ["attention_weights"])
    return [seen[layer, "attention_weights"][0] for layer in range(len(lm.config.layers))]


class _Watched(Recorder):
    """A recorder that moves a bar when it sees the last of its stages, once per layer."""

    def __init__(self, stages: list[str], bar: ProgressBar) -> None:
        super().__init__(stages)
        self._bar = bar

    def __call__(self, layer: int | None, stage: str, value: Array) -> None:
        super().__call__(layer, stage, value)
        if stage == tuple(self.stages)[-1]:
            self._bar.update(1)


def _record(lm: LanguageModel, ids: list[int], stages: list[str]) -> dict[tuple[int | None, str], Array]:
    """Run the model on one text, and keep these stages of every layer."""
    with progress_bar(len(lm.config.layers), "reading the prompt", "layer") as bar:
        recorder = _Watched(stages, bar)
        lm.model([ids], last_only=True, observer=recorder)
    return recorder.values
