"""What this machine can do at most: bytes read from memory, and arithmetic, by all threads together.

Each figure is the best of several passes, not their median: other work on the machine can only slow a pass
down, so the fastest is nearest to the limit. Reading is measured on memory that no cache holds.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numba import get_num_threads, types

from minidecilm.backends.numba_backend import dots, vectors
from minidecilm.backends.numba_backend.compiling import njit
from minidecilm.backends.numba_backend.registers import FLOATS, INTS, LANES
from minidecilm.backends.numba_backend.tiles import Writer, tile
from minidecilm.ops import Array

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
    threads = thread_count(threads)
    step = 2 * _STREAMS * LANES
    part = max(1, nbytes // (4 * step * threads)) * step
    buffer = np.ones(part * threads, np.float32)
    return _best_rate(
        lambda thread: _read(buffer, thread * part, part // _STREAMS, _sums(2 * _STREAMS)), 4 * part, threads
    )


def peak_flops(threads: int | None = None, arithmetic: str = "float32") -> float:
    """Measure how many operations per second the threads do, multiplying and adding at once.

    Parameters
    ----------
    threads : int, optional
        Default, and the most: all that Numba uses.
    arithmetic : {"float32", "bfloat16"}
        What is multiplied; bfloat16 only by a CPU with an instruction for it: ``registers.BFLOAT16_DOTS``.
        Sums are float32.

    Returns
    -------
    float
        Operations per second, of the best pass.

    Examples
    --------
    >>> peak_flops(threads=1) > 1e6
    True
    """
    if arithmetic == "bfloat16":
        pair_of_ones = np.full(2, 0x3F803F80, np.uint32)
        work = 4 * LANES * _CHAINS * _ROUNDS
        return _best_rate(lambda _: _multiply(pair_of_ones, _ROUNDS, _sums(_CHAINS)), work, threads)
    # Every chain approaches 1: no overflow, and no subnormal number to slow it down.
    factors = np.full(2, 0.5, np.float32)
    work = 2 * LANES * _CHAINS * _ROUNDS
    return _best_rate(lambda _: _multiply(factors, _ROUNDS, _sums(_CHAINS)), work, threads)


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
    activations = np.ones(_ACTIVATIONS, np.int8)  # which are their own absolute values
    dot, rounds = (_dot_int8 if bits == 8 else _dot_uint4), _ROUNDS // 16
    work = 2 * _ACTIVATIONS * rounds
    return _best_rate(lambda _: dot(activations, _ACTIVATIONS, rounds, _sums(_DOTS)), work, threads)


def thread_count(most: int | None = None) -> int:
    """Count the threads that Numba uses, or `most` if these are fewer."""
    return min(most or get_num_threads(), get_num_threads())


def _best_rate(run: Callable[[int], None], work: int, threads: int | None) -> float:
    """Let every thread do `work`, several times; return the best rate of all together."""
    threads = thread_count(threads)
    seconds: list[float] = []
    with ThreadPoolExecutor(threads) as pool:  # the kernels run without Python's lock
        list(pool.map(run, range(threads)))  # compiles, and starts the threads
        while len(seconds) < _PASSES or sum(seconds) < _SECONDS:
            start = perf_counter()
            list(pool.map(run, range(threads)))
            seconds.append(perf_counter() - start)
    return work * threads / min(seconds)


def _sums(registers: int) -> Array:
    """Room for the results, without which LLVM would leave the work out."""
    return np.zeros(registers * LANES, np.float32)


def _write_reading(code: Writer) -> None:
    sums = code.sums(2 * _STREAMS, FLOATS)
    with code.loop(code["stream"], 2 * LANES) as (at, _):
        for number, total in enumerate(sums):
            stream, half = divmod(number, 2)
            place = code.at(code["start"], (stream, code["stream"]), at, half * LANES)
            total.set(code.call(vectors.add, total.get(), code.call(vectors.load, "buffer", place)))
    code.store("sums", [total.get() for total in sums])


def _write_multiplying(code: Writer) -> None:
    """Advance chains ``x = x * a + b``, or of pairs ``x = a * b + x``, that do not wait for each other."""
    pairs = code.types["factors"].dtype == types.uint32
    a, b = (code.call(vectors.broadcast, "factors", code.at(i)) for i in range(2))
    chains = code.load_sums("sums", _CHAINS)
    with code.loop(code["rounds"]):
        for x in chains:
            if pairs:
                x.set(code.call(dots.dot_bfloat16, a, b, x.get()))
            else:
                x.set(code.call(vectors.fma, x.get(), a, b))
    code.store("sums", [x.get() for x in chains])


def _write_dots(code: Writer, dot: Any) -> None:
    """Multiply one vector of weights with all activations."""
    weights = code.call(dots.load_bytes, "x", code.at())
    sums = code.sums(_DOTS, INTS)
    # The activations' number is not known to LLVM, which would take their products out of the loop of rounds.
    with code.loop(code["rounds"]), code.loop(code["count"], _DOTS * _DOT_BYTES) as (at, _):
        for number, total in enumerate(sums):
            x = code.call(dots.load_bytes, "x", code.at(at, number * _DOT_BYTES))
            total.set(code.call(dot, total.get(), weights, x))
    code.store("sums", [code.call(dots.to_floats, total.get()) for total in sums])


_reading = tile("buffer start stream sums", _write_reading)
_multiplying = tile("factors rounds sums", _write_multiplying)
_dots_int8 = tile("x count rounds sums", partial(_write_dots, dot=dots.dot_int8))
_dots_uint4 = tile("x count rounds sums", partial(_write_dots, dot=dots.dot_uint4))


@njit(nogil=True)
def _read(buffer, start, stream, sums):
    _reading(buffer, start, stream, sums)


@njit(nogil=True)
def _multiply(factors, rounds, sums):
    _multiplying(factors, rounds, sums)


@njit(nogil=True)
def _dot_int8(x, count, rounds, sums):
    _dots_int8(x, count, rounds, sums)


@njit(nogil=True)
def _dot_uint4(x, count, rounds, sums):
    _dots_uint4(x, count, rounds, sums)
