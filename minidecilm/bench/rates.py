"""What the seconds of a measurement mean: rates, shares of the machine's limits."""

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
