"""`minidecilm bench`: tokens per second, beside what this machine allows."""

import argparse
import json

from minidecilm import backends, bench
from minidecilm.api import load
from minidecilm.catalog import find_config, has_no_weights
from minidecilm.cli.options import add_load_options, load_options
from minidecilm.files import hub_name
from minidecilm.model import DeciLM
from minidecilm.observe import find_fault
from minidecilm.presets import PRESET_NAMES

SUMMARY = "tokens per second, beside what this machine allows"
EXAMPLE = "minidecilm bench --config decilm-6b --random --weights int4 --batch 1,8"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("model", nargs="?", help="demo (default), a checkpoint folder, or a hub id")
    parser.add_argument("--config", metavar="NAME", help=f"{', '.join(PRESET_NAMES)}, or a config.json")
    parser.add_argument("--random", action="store_true", help="random weights for that config, in memory")
    parser.add_argument("--layers", type=int, metavar="N", help="its first N layers only")
    add_load_options(parser)
    parser.add_argument("--prompt-tokens", type=int, default=128, metavar="N", help="(default: 128)")
    parser.add_argument("--new-tokens", type=int, default=32, metavar="N", help="(default: 32)")
    parser.add_argument(
        "--batch", type=_integers, default=(1, 8), metavar="N,N", help="batch sizes to measure (default: 1,8)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="medians are of so many (default: 3)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected integers with commas between, found {text!r}") from None


def run(options: argparse.Namespace) -> int:
    """Measure and print; return the exit code."""
    backends.check_threads()  # Numba measures the machine's limits for every backend
    plan = bench.Plan(options.prompt_tokens, options.new_tokens, options.batch, options.rounds)
    model, title = _random_model(options, plan) if options.config is not None else _loaded(options)
    measurement = bench.measure(model, plan)
    limits = bench.probe(bench.threads_of(model.backend.name), bench.arithmetic_of(model))
    facts = bench.report(model, measurement, limits)
    if options.json:
        name = {"model": options.config or title, "random_weights": options.random}
        print(json.dumps({**name, **facts}, indent=1))
    else:
        print(bench.report_text(facts, title))
    return 0


def _random_model(options: argparse.Namespace, plan: bench.Plan) -> tuple[DeciLM, str]:
    """Make the model of --config, and say what it is."""
    if options.model is not None:
        raise ValueError("give a model or --config, not both")
    if not options.random:
        raise ValueError("--config: a config has no weights; add --random to measure with random ones")
    config = find_config(options.config, ignore_config_keys=options.ignore_config_key)
    if config is None:
        raise ValueError(
            f"--config: no preset or config.json {options.config!r}; presets: {', '.join(PRESET_NAMES)}"
        )
    title = f"{options.config} with random weights"
    if options.layers is not None:
        config = bench.first_layers(config, options.layers)
        title = f"first {options.layers} layers of {title}"
    return bench.random_model(config, plan, **load_options(options)), title


def _loaded(options: argparse.Namespace) -> tuple[DeciLM, str]:
    """Open the model that was named, and say what it is."""
    if options.random or options.layers is not None:
        raise ValueError("--random and --layers need --config: minidecilm bench --config decilm-6b --random")
    title = "demo" if options.model is None else options.model
    if has_no_weights(title):
        raise ValueError(f"{title} is a preset without weights: --config {title} --random measures it")
    lm = load(title, ignore_config_keys=options.ignore_config_key, **load_options(options))
    find_fault(lm.model, [0, 1, 2])
    return lm.model, hub_name(lm.checkpoint.folder) or title
