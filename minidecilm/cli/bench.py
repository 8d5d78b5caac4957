"""`minidecilm bench`: tokens per second, beside what this machine allows."""

import argparse
import json
from typing import Any

from minidecilm import backends, bench
from minidecilm.api import load
from minidecilm.catalog import find_config, has_no_weights
from minidecilm.cli.options import add_load_options, aligned, load_options
from minidecilm.files import hub_name
from minidecilm.model import DeciLM
from minidecilm.observe import find_fault
from minidecilm.presets import PRESET_NAMES
from minidecilm.weights.scheme import BITS

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
        print(report_text(facts, title))
    return 0


def _random_model(options: argparse.Namespace, plan: bench.Plan) -> tuple[DeciLM, str]:
    """Make the model of --config, and say what it is."""
    load = load_options(options)
    if load.pop("adapter") is not None:
        raise ValueError("--adapter: random weights have none; give a model")
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
    return bench.random_model(config, plan, **load), title


def _loaded(options: argparse.Namespace) -> tuple[DeciLM, str]:
    """Open the model that was named, and say what it is."""
    if options.random or options.layers is not None:
        raise ValueError("--random and --layers need --config: minidecilm bench --config decilm-6b --random")
    title = "demo" if options.model is None else options.model
    if has_no_weights(title):
        raise ValueError(f"{title} is a preset without weights: --config {title} --random measures it")
    lm = load(title, ignore_config_keys=options.ignore_config_key, **load_options(options))
    find_fault(lm.model, [0, 1, 2])
    adapter = "" if options.adapter is None else f" with {options.adapter}"
    return lm.model, (hub_name(lm.checkpoint.folder) or title) + adapter


def report_text(facts: dict[str, Any], title: str) -> str:
    """Lay a :func:`minidecilm.bench.rates.report` out: what was measured, a table, and what that means."""
    kernels = f" ({facts['kernels']} kernels)" if facts["kernels"] else ""
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    bandwidth, peak = facts["read_bandwidth_bytes_per_second"], facts["peak_operations_per_second"]
    arithmetic = facts["peak_arithmetic"]
    unit = "GOP/s" if arithmetic in BITS else "GFLOP/s"
    limits = f"reads {_number(bandwidth, 1e9)} GB/s, computes {_number(peak, 1e9)} {unit} in {arithmetic}"
    lines = [
        f"{title}: {facts['parameters']:,} parameters in {facts['layers']} layers, "
        f"{facts['weights']} weights, {_size(facts['weight_bytes_per_step'])} read per step",
        f"{facts['backend']} backend{kernels}, {threads}, computed in {facts['dtype']}, "
        f"KV cache {facts['kv_cache']}",
        f"{facts['cpu']}: {limits if bandwidth and peak else 'limits unknown'}",
    ]
    if facts["weights_read"]:
        read = facts["weights_read"]
        what = "panel" if facts["weights"] in BITS else "row"
        beside = (
            f"{read['side_by_side']} {what}s side by side"
            if read["side_by_side"] > 1
            else f"{what} by {what}"
        )
        early = f", asked for {read['bytes_ahead']:,} bytes ahead" if read["bytes_ahead"] else ""
        lines.append(
            f"weights read {beside}{early} ({'measured here' if read['measured'] else 'by default'})"
        )
    if facts["peak_memory_bytes"] is not None:
        parts = ""
        if facts["anonymous_memory_bytes"] is not None:
            parts = (
                f"; at the end {_size(facts['anonymous_memory_bytes'])} its own, "
                f"{_size(facts['mapped_memory_bytes'])} mapped files"
            )
        lines.append(f"peak memory {_size(facts['peak_memory_bytes'])}{parts}")
    head = ("", "batch", "tokens/s", "spread", "predicted", "reached")
    rows = [(*head, "weights GB/s", "of bandwidth", unit, "of peak")]
    sizes = {"prefill": f"{facts['prompt_tokens']} tokens", "decode": f"{facts['new_tokens']} steps"}
    for phase, size in sizes.items():
        for run in facts["runs"]:
            found = run[phase]
            rows.append(
                (
                    f"{phase}, {size}",
                    str(run["batch_size"]),
                    _number(found["tokens_per_second"]),
                    _percent(found["spread"]),
                    _number(found["predicted_tokens_per_second"]),
                    _percent(found["share_of_predicted"]),
                    _number(found["weight_bytes_per_second"], 1e9),
                    _percent(found["share_of_read_bandwidth"]),
                    _number(found["operations_per_second"], 1e9),
                    _percent(found["share_of_peak"]),
                )
            )
    return "\n".join([*lines, "", aligned(rows), "", _reading(facts)])


def _reading(facts: dict[str, Any]) -> str:
    """Say in a sentence what the figures of the first batch size mean."""
    first = facts["runs"][0]
    decode, prefill, batch = first["decode"], first["prefill"], first["batch_size"]
    if decode["share_of_read_bandwidth"] is None:
        return f"How much of this machine that is remains unknown. {facts['note']}"
    cache = facts["last_level_cache_bytes"] or 0
    if facts["weight_bytes_per_step"] <= cache:
        return (
            f"The weights stay in the processor's caches ({_size(cache)}), so shares of the memory's speed "
            "say little: in a model this small, most time goes into starting each operation."
        )
    return (
        f"Decode at batch {batch} reads weights at {_percent(decode['share_of_read_bandwidth'])} of this "
        f"machine's read bandwidth and reaches {_percent(decode['share_of_predicted'])} of what its limits "
        f"allow; prefill computes at {_percent(prefill['share_of_peak'])} of its peak in "
        f"{facts['peak_arithmetic']}."
    )


def _number(value: float | None, unit: float = 1) -> str:
    """Three digits or more, without an exponent."""
    if value is None:
        return "-"
    value /= unit
    digits = next((digits for digits, least in enumerate((100, 10, 1)) if value >= least), 3)
    return f"{value:,.{digits}f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.{0 if share >= 0.1 else 1}f} %"


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"
