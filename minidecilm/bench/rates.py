"""What the seconds of a measurement mean: rates, shares of the machine's limits, a table."""

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from minidecilm import costs
from minidecilm.bench import machine
from minidecilm.bench.limits import Limits, storage_of, threads_of
from minidecilm.bench.timing import Measurement
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
    weight_bytes = sum(model.weights[name].nbytes for name in costs.streamed_weights(model.config))
    plan, memory = measurement.plan, measurement.memory
    # What a pass reads: new tokens of each row, behind how many before them.
    prefill = [(plan.prompt_tokens, 0)]
    decode = [(1, past) for past in range(plan.prompt_tokens, plan.length)]

    def phase(seconds: Sequence[float], rows: int, passes: Sequence[tuple[int, int]]) -> dict[str, Any]:
        per_token = rows * measurement.kv_cache_bytes_per_token
        return _rates(
            seconds,
            tokens=rows * sum(T for T, _ in passes),
            weight_bytes=len(passes) * weight_bytes,
            cache_bytes=sum((past + T) * per_token for T, past in passes),
            operations=sum(costs.forward_flops(model.config, rows, T, past) for T, past in passes),
            limits=limits,
        )

    runs = [
        {
            "batch_size": timing.batch_size,
            "prefill": phase(timing.prefill_seconds, timing.batch_size, prefill),
            "decode": phase(timing.decode_seconds, timing.batch_size, decode),
        }
        for timing in measurement.timings
    ]
    first: dict[str, Any] = runs[0]
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


def _rates(
    seconds: Sequence[float],
    *,
    tokens: int,
    weight_bytes: int,
    cache_bytes: int,
    operations: int,
    limits: Limits,
) -> dict[str, Any]:
    """Rates of one phase at one batch size; bytes and operations are of one round."""
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


def report_text(facts: dict[str, Any], title: str) -> str:
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
    return "\n".join([*lines, "", aligned(rows), "", _reading(facts)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Make columns of cells, the first aligned to the left and the others to the right.

    Examples
    --------
    >>> print(aligned([("", "bytes"), ("keys", "64")]))
          bytes
    keys     64
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligns = ["<"] + [">"] * (len(widths) - 1)
    return "\n".join(
        "  ".join(f"{cell:{align}{w}}" for cell, align, w in zip(row, aligns, widths, strict=True))
        for row in rows
    )


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
