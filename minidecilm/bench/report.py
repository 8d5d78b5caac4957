"""What the seconds of :mod:`minidecilm.bench.timing` mean: rates, shares of the machine's limits, a table."""

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from minidecilm import costs
from minidecilm.bench import machine
from minidecilm.bench.timing import Limits, Measurement, Timing, storage_of, streamed, threads_of
from minidecilm.config import Config
from minidecilm.model import DeciLM


def report(model: DeciLM, measurement: Measurement, limits: Limits) -> dict[str, Any]:
    """Derive everything that is shown: rates, shares of the limits, and what the limits allow.

    Returns
    -------
    dict
        Ready for JSON; units are in the names. The rates at the top are those of the first batch size.
        Shares are of 1, and may pass it where weights are so small that a cache holds them. What could not
        be measured is None.
    """
    weight_bytes = sum(weight.nbytes for weight in streamed(model))
    runs = [
        {
            "batch_size": timing.batch_size,
            "prefill": _prefill(model.config, weight_bytes, measurement, timing, limits),
            "decode": _decode(model.config, weight_bytes, measurement, timing, limits),
        }
        for timing in measurement.timings
    ]
    first: dict[str, Any] = runs[0]
    plan, memory = measurement.plan, measurement.memory
    return {
        "prefill_tokens_per_second": first["prefill"]["tokens_per_second"],
        "decode_tokens_per_second": first["decode"]["tokens_per_second"],
        "weight_bytes_per_second": first["decode"]["weight_bytes_per_second"],
        "read_bandwidth_bytes_per_second": limits.read_bandwidth,
        "peak_operations_per_second": limits.peak,
        "peak_arithmetic": limits.arithmetic,
        "peak_memory_bytes": memory.get("peak"),
        "anonymous_memory_bytes": memory.get("anonymous"),
        "mapped_memory_bytes": memory.get("mapped"),
        "parameters": model.config.num_parameters,
        "layers": len(model.config.layers),
        "weight_bytes_per_step": weight_bytes,
        "kv_cache_bytes_per_token": measurement.kv_cache_bytes_per_token,
        "backend": model.backend.name,
        "kernels": model.backend.kernels,
        "weights": storage_of(model),
        "dtype": str(model.dtype),
        "kv_cache": measurement.kv_cache,
        "rope": model.rope_policy,
        "threads": threads_of(model.backend.name),
        "prompt_tokens": plan.prompt_tokens,
        "new_tokens": plan.new_tokens,
        "rounds": plan.rounds,
        "runs": runs,
        "cpu": machine.cpu_model(),
        "last_level_cache_bytes": machine.last_level_cache_bytes(),
        "versions": {"python": platform.python_version(), **_versions("minidecilm", "numpy", "numba")},
        "note": limits.reason,
    }


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _prefill(
    config: Config, weight_bytes: int, measurement: Measurement, timing: Timing, limits: Limits
) -> dict[str, Any]:
    rows, T = timing.batch_size, measurement.plan.prompt_tokens
    cached = rows * T * measurement.kv_cache_bytes_per_token
    operations = costs.forward_flops(config, rows, T)
    return _phase(timing.prefill_seconds, rows * T, weight_bytes, cached, operations, limits)


def _decode(
    config: Config, weight_bytes: int, measurement: Measurement, timing: Timing, limits: Limits
) -> dict[str, Any]:
    rows, plan = timing.batch_size, measurement.plan
    past = range(plan.prompt_tokens, plan.length)  # before each step
    cached = sum(rows * (tokens + 1) * measurement.kv_cache_bytes_per_token for tokens in past)
    operations = sum(costs.forward_flops(config, rows, 1, tokens) for tokens in past)
    return _phase(
        timing.decode_seconds, rows * len(past), len(past) * weight_bytes, cached, operations, limits
    )


def _phase(
    seconds: Sequence[float],
    tokens: int,
    weight_bytes: int,
    cache_bytes: int,
    operations: int,
    limits: Limits,
) -> dict[str, Any]:
    """Rates of one phase at one batch size; bytes and operations are those of one round."""
    typical = median(seconds)
    figures: dict[str, Any] = {
        "tokens_per_second": tokens / typical,
        "spread": (max(seconds) - min(seconds)) / typical if len(seconds) > 1 else None,
        "seconds": list(seconds),
        "weight_bytes_per_second": weight_bytes / typical,
        "operations_per_second": operations / typical,
        "predicted_tokens_per_second": None,
        "predicted_limit": None,
        "share_of_predicted": None,
        "share_of_read_bandwidth": None,
        "share_of_peak": None,
    }
    if limits.read_bandwidth and limits.peak:
        predicted, limit = costs.roofline_seconds(
            weight_bytes + cache_bytes, operations, limits.read_bandwidth, limits.peak
        )
        figures |= {
            "predicted_tokens_per_second": tokens / predicted,
            "predicted_limit": limit,
            "share_of_predicted": predicted / typical,
            "share_of_read_bandwidth": weight_bytes / typical / limits.read_bandwidth,
            "share_of_peak": operations / typical / limits.peak,
        }
    return figures


def table(facts: dict[str, Any], title: str) -> str:
    """Lay a report out for a person: what was measured, a table, and a sentence that says what it means.

    Parameters
    ----------
    facts : dict
        From :func:`report`.
    title : str
        Name of the model.
    """
    kernels = f" ({facts['kernels']} kernels)" if facts["kernels"] else ""
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    bandwidth, peak = facts["read_bandwidth_bytes_per_second"], facts["peak_operations_per_second"]
    arithmetic = facts["peak_arithmetic"]
    unit = "GFLOP/s" if arithmetic == "float32" else "GOP/s"
    limits = f"reads {_number(bandwidth, 1e9)} GB/s, computes {_number(peak, 1e9)} {unit} in {arithmetic}"
    lines = [
        f"{title}: {facts['parameters']:,} parameters in {facts['layers']} layers, "
        f"{facts['weights']} weights, {_size(facts['weight_bytes_per_step'])} read per step",
        f"{facts['backend']} backend{kernels}, {threads}, computed in {facts['dtype']}, "
        f"KV cache {facts['kv_cache']}",
        f"{facts['cpu']}: {limits if bandwidth and peak else 'limits unknown'}",
    ]
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
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines.append("")
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells))
    lines += ["", _reading(facts)]
    return "\n".join(lines)


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
