"""What the seconds of a measurement mean: rates, shares of the machine's limits."""

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from minidecilm import costs
from minidecilm.bench import machine
from minidecilm.bench.limits import Limits, how_weights_are_read, storage_of, threads_of
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
    token = model.new_cache(1, 1)  # a cache of one
    bandwidth, peak = limits.read_bandwidth, limits.peak
    # What a pass reads: new tokens of each row, behind how many before them.
    prefill = [(plan.prompt_tokens, 0)]
    decode = [(1, past) for past in range(plan.prompt_tokens, plan.length)]

    def phase(seconds: Sequence[float], rows: int, passes: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Rates of one phase at one batch size; bytes and operations are of one round."""
        tokens, typical = rows * sum(T for T, _ in passes), median(seconds)
        weights = len(passes) * weight_bytes
        cache = rows * token.nbytes * sum(past + T for T, past in passes)
        operations = sum(costs.forward_flops(model.config, rows, T, past) for T, past in passes)
        predicted, limit = None, None
        if bandwidth and peak:
            predicted, limit = costs.roofline_seconds(weights + cache, operations, bandwidth, peak)
        return {
            "tokens_per_second": tokens / typical,
            "spread": (max(seconds) - min(seconds)) / typical if len(seconds) > 1 else None,
            "seconds": list(seconds),
            "weight_bytes_per_second": weights / typical,
            "operations_per_second": operations / typical,
            "predicted_tokens_per_second": predicted and tokens / predicted,
            "predicted_limit": limit,
            "share_of_predicted": predicted and predicted / typical,
            "share_of_read_bandwidth": bandwidth and weights / typical / bandwidth,
            "share_of_peak": peak and operations / typical / peak,
        }

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
        "read_bandwidth_bytes_per_second": bandwidth,
        "peak_operations_per_second": peak,
        "peak_arithmetic": limits.arithmetic,
        "peak_memory_bytes": memory.get("peak"),
        "anonymous_memory_bytes": memory.get("anonymous"),
        "mapped_memory_bytes": memory.get("mapped"),
        "parameters": model.config.num_parameters,
        "layers": len(model.config.layers),
        "weight_bytes_per_step": weight_bytes,
        "kv_cache_bytes_per_token": token.nbytes,
        "backend": model.backend.name,
        "kernels": model.backend.kernels,
        "weights": storage_of(model),
        "dtype": model.multiplies_in,
        "weights_read": how_weights_are_read(model),
        "kv_cache": str(token.keys[0].dtype),
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
