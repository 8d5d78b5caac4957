"""What this machine can do at most, and what a model asks of it: threads, and numbers it computes with."""

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidecilm import costs
from minidecilm.bench import machine
from minidecilm.model import DeciLM
from minidecilm.progress import progress_bar
from minidecilm.weights.scheme import BITS

_CACHES = 10  # memory so many times as large as the largest cache finds no place in it


@dataclass(frozen=True)
class Limits:
    """What the machine did at most in the probe; None where the probe cannot run, with the reason.

    Attributes
    ----------
    read_bandwidth : float or None
        Bytes per second.
    peak : float or None
        Additions and multiplications per second.
    arithmetic : {"float32", "bfloat16", "int8", "int4"}
        Of which numbers: what the kernels compute matrix products with.
    reason : str
        Empty if both are known.
    """

    read_bandwidth: float | None
    peak: float | None
    arithmetic: str = "float32"
    reason: str = ""


def probe(threads: int, arithmetic: str = "float32", progress: bool | None = None) -> Limits:
    """Measure the limits of this machine; takes about two seconds, the first time a few more to compile.

    Parameters
    ----------
    threads : int
        As many as the rounds used.
    arithmetic : {"float32", "bfloat16", "int8", "int4"}
        From :func:`arithmetic_of`.
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal if it takes over a second.
    """
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return Limits(None, None, arithmetic, "NUMBA_DISABLE_JIT is set")
    try:
        from minidecilm.backends.numba_backend import probe as numba_probe

        size = max(numba_probe.BUFFER_BYTES, _CACHES * (machine.last_level_cache_bytes() or 0))
        size = min(size, (machine.available_memory_bytes() or size) // 2)
        with progress_bar(2, "probing this machine", "limit", progress) as bar:
            read_bandwidth = numba_probe.read_bandwidth(size, threads)
            bar.update(1)
            if arithmetic in BITS:
                peak = numba_probe.peak_integer_ops(BITS[arithmetic], threads)
            else:
                peak = numba_probe.peak_flops(threads, arithmetic)
            bar.update(1)
        return Limits(read_bandwidth, peak, arithmetic)
    except Exception as problem:  # Numba is absent, or does not know this processor
        first_line = (str(problem).strip().splitlines() or [""])[0]
        reason = f"Numba cannot compile here: {first_line or type(problem).__name__}"
        return Limits(None, None, arithmetic, reason)


def arithmetic_of(model: DeciLM) -> str:
    """Say which numbers the matrix products of a model are computed with, for :func:`probe`."""
    storage = storage_of(model)
    if model.backend.kernels != "explicit":
        return "float32"
    if storage == model.multiplies_in == "bfloat16":
        from minidecilm.backends.numba_backend.registers import BFLOAT16_DOTS

        return "bfloat16" if BFLOAT16_DOTS else "float32"
    return storage if storage in BITS else "float32"


def how_weights_are_read(model: DeciLM) -> dict[str, Any] | None:
    """Say how kernels read weights for one token, and whether that was measured on this CPU."""
    if model.backend.kernels != "explicit":
        return None
    from minidecilm.backends.numba_backend import choosing, linear

    storage = storage_of(model)
    kind = choosing.kind_of(np.dtype(storage), model.multiplies_in == "bfloat16")
    choice = choosing.chosen(kind)
    return {
        "side_by_side": linear.side_by_side(storage in BITS, choice),
        "bytes_ahead": choice.ahead,
        "measured": kind in choosing.known(),
    }


def threads_of(backend: str) -> int:
    """Count the threads that a backend computes with."""
    if backend == "numba":
        from minidecilm.backends.numba_backend import probe as numba_probe

        return numba_probe.thread_count()
    cores = machine.usable_cores()
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(variable, "")
        if value.isdecimal() and int(value) > 0:
            return min(int(value), cores)
    return cores


def storage_of(model: DeciLM) -> str:
    """Storage dtype of the layers' matrices, by bytes: the head of an int4 model takes int8."""
    nbytes: Counter[str] = Counter()
    for name in costs.streamed_weights(model.config):
        if ".layers." in name:
            nbytes[str(model.weights[name].dtype)] += model.weights[name].nbytes
    return nbytes.most_common(1)[0][0]
