"""What this machine can do at most: bytes read from memory, and float32 arithmetic, by all threads together.

Each figure is the best of several passes, not their median: other work on the machine can only slow a pass
down, so the fastest is nearest to the limit. Reading is measured on memory that no cache holds.
"""

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numba import get_num_threads, njit, prange

from minidecilm.backends.numba_backend.vectors import LANES, add, fma, load, splat, sum_lanes, zeros

#: Well beyond the caches of most CPUs; where the last level is larger than a tenth of this, ask for more.
BUFFER_BYTES = 512_000_000

_SECONDS, _PASSES = 0.3, 3  # a figure takes at least so long, and at least so many passes
_STREAMS = 4  # places from which one thread reads in turn: a single one leaves its core waiting for memory
_CHAINS = 12  # independent sums: two FMA units of latency four need eight, and 16 registers hold them all
_ROUNDS = 1 << 23


def read_bandwidth(nbytes: int = BUFFER_BYTES, threads: int | None = None) -> float:
    """Measure how many bytes per second the threads read from memory together.

    Parameters
    ----------
    nbytes : int
        Size of the memory read; ten times the last-level cache is safe.
    threads : int, optional
        Default, and the most: all that Numba uses.

    Returns
    -------
    float
        Bytes per second, of the best pass.

    Examples
    --------
    >>> read_bandwidth(1_000_000) > 1e6  # so little stays in a cache
    True
    """
    threads = min(threads or thread_count(), thread_count())
    step = 2 * _STREAMS * LANES
    buffer = np.ones(max(1, nbytes // (4 * step * threads)) * step * threads, np.float32)
    return _best_rate(lambda: _read_by_all(buffer, np.zeros(threads, np.float32)), buffer.nbytes)


def peak_flops(threads: int | None = None) -> float:
    """Measure how many float32 operations per second the threads do, two to a fused multiply-add.

    Parameters
    ----------
    threads : int, optional
        Default, and the most: all that Numba uses.

    Returns
    -------
    float
        Operations per second, of the best pass.

    Examples
    --------
    >>> peak_flops(threads=1) > 1e6
    True
    """
    threads = min(threads or thread_count(), thread_count())
    # Every chain approaches 1: no overflow, and no subnormal number to slow it down.
    factors = np.full(2, 0.5, np.float32)
    work = 2 * LANES * _CHAINS * _ROUNDS * threads
    return _best_rate(lambda: _multiply_by_all(factors, np.zeros(threads, np.float32)), work)


def thread_count() -> int:
    """Count the threads that Numba uses."""
    return int(get_num_threads())


def _best_rate(run: Callable[[], None], work: int) -> float:
    run()  # compiles, and wakes the threads
    seconds: list[float] = []
    while len(seconds) < _PASSES or sum(seconds) < _SECONDS:
        start = perf_counter()
        run()
        seconds.append(perf_counter() - start)
    return work / min(seconds)


@njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def _read_by_all(buffer, sums):  # type: ignore[no-untyped-def]
    """Read an equal part of the buffer in each thread; what they find is kept, so that they must read it."""
    part = len(buffer) // len(sums)
    for thread in prange(len(sums)):
        sums[thread] = _read(buffer, thread * part, part // _STREAMS)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _read(buffer, start, stream):  # type: ignore[no-untyped-def]
    a0, a1, b0, b1 = zeros(), zeros(), zeros(), zeros()
    c0, c1, d0, d1 = zeros(), zeros(), zeros(), zeros()
    for at in range(start, start + stream, 2 * LANES):
        a0, a1 = add(a0, load(buffer, at)), add(a1, load(buffer, at + LANES))
        b0, b1 = add(b0, load(buffer, at + stream)), add(b1, load(buffer, at + stream + LANES))
        c0, c1 = add(c0, load(buffer, at + 2 * stream)), add(c1, load(buffer, at + 2 * stream + LANES))
        d0, d1 = add(d0, load(buffer, at + 3 * stream)), add(d1, load(buffer, at + 3 * stream + LANES))
    return sum_lanes(add(add(add(a0, a1), add(b0, b1)), add(add(c0, c1), add(d0, d1))))


@njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def _multiply_by_all(factors, sums):  # type: ignore[no-untyped-def]
    for thread in prange(len(sums)):
        sums[thread] = _multiply(factors, _ROUNDS)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _multiply(factors, rounds):  # type: ignore[no-untyped-def]
    """Advance twelve chains ``x = x * a + b`` that do not wait for each other."""
    a, b = splat(factors[0]), splat(factors[1])
    c0, c1, c2, c3, c4, c5 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
    c6, c7, c8, c9, c10, c11 = b, b, b, b, b, b
    for _ in range(rounds):
        c0, c1, c2 = fma(c0, a, b), fma(c1, a, b), fma(c2, a, b)
        c3, c4, c5 = fma(c3, a, b), fma(c4, a, b), fma(c5, a, b)
        c6, c7, c8 = fma(c6, a, b), fma(c7, a, b), fma(c8, a, b)
        c9, c10, c11 = fma(c9, a, b), fma(c10, a, b), fma(c11, a, b)
    first, second = add(add(c0, c1), add(c2, c3)), add(add(c4, c5), add(c6, c7))
    return sum_lanes(add(add(first, second), add(add(c8, c9), add(c10, c11))))
