"""What this machine can do at most: bytes read from memory, and arithmetic, by all threads together.

Each figure is the best of several passes, not their median: other work on the machine can only slow a pass
down, so the fastest is nearest to the limit. Reading is measured on memory that no cache holds.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
from numba import get_num_threads

from minidecilm.backends.numba_backend.compiling import njit
from minidecilm.backends.numba_backend.vectors import (
    LANES,
    add,
    dot_int8,
    dot_uint4,
    fma,
    load,
    load_bytes,
    splat,
    sum_lanes,
    to_floats,
    zero_ints,
    zeros,
)

#: Well beyond the caches of most CPUs; where the last level is larger than a tenth of this, ask for more.
BUFFER_BYTES = 512_000_000

_SECONDS, _PASSES = 0.3, 3  # a figure takes at least so long, and at least so many passes
_STREAMS = 4  # places from which one thread reads in turn: a single one leaves its core waiting for memory
_CHAINS = 12  # independent sums: two FMA units of latency four need eight, and 16 registers hold them all
_ROUNDS = 1 << 23
_DOTS = 8  # sums of the integer products; their weights and activations need registers too
_DOT_BYTES = 4 * LANES  # that one product of vectors takes from either side
_ACTIVATIONS = 16 * _DOTS * _DOT_BYTES  # as in a kernel, they come from the first-level cache


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
    part = max(1, nbytes // (4 * step * threads)) * step
    buffer = np.ones(part * threads, np.float32)
    return _best_rate(lambda thread: _read(buffer, thread * part, part // _STREAMS), 4 * part, threads)


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
    return _best_rate(lambda _: _multiply(factors, _ROUNDS), 2 * LANES * _CHAINS * _ROUNDS, threads)


def peak_integer_ops(bits: int, threads: int | None = None) -> float:
    """Measure the products of int8 activations with packed weights: twice as many operations per second.

    Needs a CPU for which the explicit kernels are usable.

    Parameters
    ----------
    bits : {8, 4}
        Of a weight.
    threads : int, optional
        Default, and the most: all that Numba uses.

    Returns
    -------
    float
        Additions and multiplications per second, of the best pass.
    """
    threads = min(threads or thread_count(), thread_count())
    activations = np.ones(_ACTIVATIONS, np.int8)
    kernel, rounds = (_dot_8 if bits == 8 else _dot_4), _ROUNDS // 16
    return _best_rate(lambda _: kernel(activations, rounds), 2 * _ACTIVATIONS * rounds, threads)


def thread_count() -> int:
    """Count the threads that Numba uses."""
    return int(get_num_threads())


def _best_rate(run: Callable[[int], float], work: int, threads: int) -> float:
    """Let every thread do `work`, several times; return the best rate of all together."""
    seconds: list[float] = []
    with ThreadPoolExecutor(threads) as pool:  # the kernels run without Python's lock
        list(pool.map(run, range(threads)))  # compiles, and starts the threads
        while len(seconds) < _PASSES or sum(seconds) < _SECONDS:
            start = perf_counter()
            list(pool.map(run, range(threads)))
            seconds.append(perf_counter() - start)
    return work * threads / min(seconds)


@njit(nogil=True)
def _read(buffer, start, stream):
    a0, a1, b0, b1 = zeros(), zeros(), zeros(), zeros()
    c0, c1, d0, d1 = zeros(), zeros(), zeros(), zeros()
    for at in range(start, start + stream, 2 * LANES):
        a0, a1 = add(a0, load(buffer, at)), add(a1, load(buffer, at + LANES))
        b0, b1 = add(b0, load(buffer, at + stream)), add(b1, load(buffer, at + stream + LANES))
        c0, c1 = add(c0, load(buffer, at + 2 * stream)), add(c1, load(buffer, at + 2 * stream + LANES))
        d0, d1 = add(d0, load(buffer, at + 3 * stream)), add(d1, load(buffer, at + 3 * stream + LANES))
    return sum_lanes(add(add(add(a0, a1), add(b0, b1)), add(add(c0, c1), add(d0, d1))))


@njit(nogil=True)
def _multiply(factors, rounds):
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


@njit(nogil=True)
def _dot_8(x, rounds):
    """Multiply one vector of weights with all activations, which are their own absolute values."""
    weights = load_bytes(x, 0)
    c0, c1, c2, c3 = zero_ints(), zero_ints(), zero_ints(), zero_ints()
    c4, c5, c6, c7 = zero_ints(), zero_ints(), zero_ints(), zero_ints()
    for _ in range(rounds):
        for at in range(0, len(x), _DOTS * _DOT_BYTES):
            x0, x1 = load_bytes(x, at), load_bytes(x, at + _DOT_BYTES)
            x2, x3 = load_bytes(x, at + 2 * _DOT_BYTES), load_bytes(x, at + 3 * _DOT_BYTES)
            c0, c1 = dot_int8(c0, weights, x0), dot_int8(c1, weights, x1)
            c2, c3 = dot_int8(c2, weights, x2), dot_int8(c3, weights, x3)
            x4, x5 = load_bytes(x, at + 4 * _DOT_BYTES), load_bytes(x, at + 5 * _DOT_BYTES)
            x6, x7 = load_bytes(x, at + 6 * _DOT_BYTES), load_bytes(x, at + 7 * _DOT_BYTES)
            c4, c5 = dot_int8(c4, weights, x4), dot_int8(c5, weights, x5)
            c6, c7 = dot_int8(c6, weights, x6), dot_int8(c7, weights, x7)
    return _total(c0, c1, c2, c3) + _total(c4, c5, c6, c7)


@njit(nogil=True)
def _dot_4(x, rounds):
    """Do the same with weights of 4 bits, taken from their bytes before."""
    weights = load_bytes(x, 0)
    c0, c1, c2, c3 = zero_ints(), zero_ints(), zero_ints(), zero_ints()
    c4, c5, c6, c7 = zero_ints(), zero_ints(), zero_ints(), zero_ints()
    for _ in range(rounds):
        for at in range(0, len(x), _DOTS * _DOT_BYTES):
            c0 = dot_uint4(c0, weights, load_bytes(x, at))
            c1 = dot_uint4(c1, weights, load_bytes(x, at + _DOT_BYTES))
            c2 = dot_uint4(c2, weights, load_bytes(x, at + 2 * _DOT_BYTES))
            c3 = dot_uint4(c3, weights, load_bytes(x, at + 3 * _DOT_BYTES))
            c4 = dot_uint4(c4, weights, load_bytes(x, at + 4 * _DOT_BYTES))
            c5 = dot_uint4(c5, weights, load_bytes(x, at + 5 * _DOT_BYTES))
            c6 = dot_uint4(c6, weights, load_bytes(x, at + 6 * _DOT_BYTES))
            c7 = dot_uint4(c7, weights, load_bytes(x, at + 7 * _DOT_BYTES))
    return _total(c0, c1, c2, c3) + _total(c4, c5, c6, c7)


@njit(nogil=True)
def _total(a, b, c, d):
    return sum_lanes(add(add(to_floats(a), to_floats(b)), add(to_floats(c), to_floats(d))))
