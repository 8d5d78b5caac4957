"""Attention in plain loops, for any CPU that Numba compiles for; and what it shares with :mod:`.attention`.

Both twins read keys and values where the cache holds them and never hold more than a block of scores. The
work is cut into tasks: a row of the batch, one KV head, a block of query positions with all G query heads
that read the head, and a chunk of the keys. A task keeps, for every query, the largest score so far, and
the total and the mixture of the values relative to it: when a larger score turns up, both are scaled down
(the "online softmax" of Milakov and Gimelshein, 2018, https://arxiv.org/abs/1805.02867). Chunks are put
together by the same rule.
"""

import math
from collections.abc import Callable

import numba
import numpy as np
from numba import prange

from minidecilm.backends.numba_backend.compiling import njit
from minidecilm.ops import Array

# Keys are taken in blocks of so many: their scores stay in the innermost cache.
KEYS = 128
# A task has at most about so many queries. More would share each block of keys, fewer are easier to balance.
QUERIES = 256

# Division by zero gives what IEEE 754 says: no checks to compile. Only kernels call an inner function, so
# nothing is compiled through which Python would.
serial = njit(error_model="numpy")
inner = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
parallel = njit(parallel=True, nogil=True, error_model="numpy")


def attention(q: Array, k: Array, v: Array, visible: Array) -> Array:
    """Mix values by :func:`minidecilm.ops.attention_weights`, keys and values read in place.

    Parameters
    ----------
    q : (B, H, T, D) float32 array
    k, v : (B, K, S, D) float32 or bfloat16 arrays
        H must be a multiple of K. The D elements of a token must lie next to each other.
    visible : (B, T, S) bool array
        Whether query t may see key s.

    Returns
    -------
    (B, H, T, D) float32 array
        Zeros for a query that sees nothing.
    """
    return attend_in_tasks(_attend, q, k, v, visible, wide=np.uint32)


def attend_in_tasks(
    attend: Callable[..., None], q: Array, k: Array, v: Array, visible: Array, wide: type[np.generic]
) -> Array:
    """Lay out arrays and tasks for a compiled twin, and put its chunks together.

    Parameters
    ----------
    attend : compiled function
        Computes all tasks.
    q, k, v, visible
        As :func:`attention` takes them.
    wide : dtype
        What the twin wants to see float32 keys and values as.
    """
    B, H, T, D = q.shape
    K, S = k.shape[1:3]
    blocks = min(T, -(-T * (H // K) // QUERIES))
    workers = numba.get_num_threads()
    tasks = B * K * blocks
    # So many chunks that all workers have the same number of tasks, unless there are many anyway.
    chunks = 1 if tasks >= 4 * workers else min(workers // math.gcd(tasks, workers), -(-S // KEYS))

    queries = np.ascontiguousarray(q.swapaxes(1, 2))  # (B, T, H, D): the heads of a group are neighbours
    visible = np.ascontiguousarray(visible)
    mixed = np.empty((chunks, B, T, H, D), np.float32)
    peaks, totals = np.empty((2, chunks, B, T, H), np.float32)
    ranges = visible_ranges(visible)
    attend(
        queries, *_flat(k, wide), *_flat(v, wide), K, visible, ranges, blocks, workers, mixed, peaks, totals
    )
    if chunks > 1:
        combine(mixed, peaks, totals)
    return np.asarray(mixed[0].swapaxes(1, 2))  # (B, H, T, D)


def _flat(array: Array, wide: type[np.generic]) -> tuple[Array, tuple[int, ...]]:
    """See keys or values as one row of elements; with the distance between rows, heads and tokens."""
    if min(array.strides) < 0:
        array = array.copy()
    steps = tuple(stride // array.itemsize for stride in array.strides)
    end = 1 + sum((size - 1) * step for size, step in zip(array.shape, steps, strict=True))
    # bfloat16 is not a dtype Numba knows
    bits = array.view(wide if array.itemsize == 4 else np.uint16)
    return np.lib.stride_tricks.as_strided(bits, (end,), (array.itemsize,)), steps[:3]


@serial
def visible_ranges(visible):
    """First visible key, one beyond the last, and whether there are holes between: (B, T, 3)."""
    B, T, S = visible.shape
    ranges = np.empty((B, T, 3), np.int64)
    for b in range(B):
        for t in range(T):
            first = 0
            while first < S and not visible[b, t, first]:
                first += 1
            hole = first
            while hole < S and visible[b, t, hole]:
                hole += 1
            end = S
            while end > hole and not visible[b, t, end - 1]:
                end -= 1
            ranges[b, t, 0] = first
            # S .. 0 where nothing is visible: minima and maxima over several queries stay what they are
            ranges[b, t, 1] = end if first < S else 0
            ranges[b, t, 2] = hole < end
    return ranges


@inner
def task_at(number, worker, workers):
    """Return the task a worker does next: they take turns there and back, as later queries see more keys."""
    return number * workers + (worker if number % 2 == 0 else workers - 1 - worker)


@inner
def common_range(ranges, b, t_first, t_end, S):
    """First key that any of the queries sees, one beyond the last."""
    first, end = S, 0
    for t in range(t_first, t_end):
        if ranges[b, t, 0] < first:
            first = ranges[b, t, 0]
        if ranges[b, t, 1] > end:
            end = ranges[b, t, 1]
    return first, end


@inner
def split_task(task, K, blocks, chunks, ranges, S):
    """Batch row, KV head, chunk, first and end of the queries, first and end of the keys of a task."""
    T = ranges.shape[1]
    task, chunk = task // chunks, task % chunks
    task, block = task // blocks, task % blocks
    b, head = task // K, task % K
    t_first, t_end = block * T // blocks, (block + 1) * T // blocks
    s_blocks = -(-S // KEYS)
    s_first = KEYS * (chunk * s_blocks // chunks)
    s_end = min(KEYS * ((chunk + 1) * s_blocks // chunks), S)
    first, end = common_range(ranges, b, t_first, t_end, S)
    return b, head, chunk, t_first, t_end, max(first, s_first), min(end, s_end)


@serial
def combine(mixed, peaks, totals):
    """Put the chunks of every query together, in place of its first one."""
    chunks, B, T, H, D = mixed.shape
    for row in range(B * T * H):
        b, t, h = row // (T * H), row // H % T, row % H
        peak = peaks[0, b, t, h]
        for chunk in range(1, chunks):
            peak = max(peak, peaks[chunk, b, t, h])
        if peak == -np.inf:
            peak = np.float32(0)
        whole = np.float32(0)
        for chunk in range(chunks):
            totals[chunk, b, t, h] *= math.exp(peaks[chunk, b, t, h] - peak)
            whole += totals[chunk, b, t, h]
        for chunk in range(chunks):
            share = totals[chunk, b, t, h] / (whole if whole != 0 else np.float32(1))
            for d in range(D):
                before = mixed[0, b, t, h, d] if chunk else np.float32(0)
                mixed[0, b, t, h, d] = before + share * mixed[chunk, b, t, h, d]


@parallel
def _attend(q, k, k_steps, v, v_steps, K, visible, ranges, blocks, workers, mixed, peaks, totals):
    for worker in prange(workers):
        _work(
            np.int64(worker),
            workers,
            q,
            k,
            k_steps,
            v,
            v_steps,
            K,
            visible,
            ranges,
            blocks,
            mixed,
            peaks,
            totals,
        )


@inner
def _work(worker, workers, q, k, k_steps, v, v_steps, K, visible, ranges, blocks, mixed, peaks, totals):
    """Do every task of one worker."""
    chunks, B, D = mixed.shape[0], mixed.shape[1], mixed.shape[4]
    S, G = visible.shape[2], mixed.shape[3] // K
    # Keys are transposed; rows a power of two apart would compete for the same few lines of a CPU's cache.
    key_bits, value_bits = np.empty((D, KEYS + 16), np.uint32), np.empty((KEYS, D), np.uint32)
    keys, values = key_bits.view(np.float32), value_bits.view(np.float32)
    scores = np.empty(KEYS, np.float32)

    tasks = B * K * blocks * chunks
    for number in range(-(-tasks // workers)):
        task = task_at(number, worker, workers)
        if task >= tasks:
            continue
        b, head, chunk, t_first, t_end, s_first, s_end = split_task(task, K, blocks, chunks, ranges, S)
        k_at, v_at = b * k_steps[0] + head * k_steps[1], b * v_steps[0] + head * v_steps[1]
        mix, peak, total = mixed[chunk, b], peaks[chunk, b], totals[chunk, b]
        for t in range(t_first, t_end):
            for h in range(head * G, (head + 1) * G):
                peak[t, h], total[t, h] = -np.inf, 0
                for d in range(D):
                    mix[t, h, d] = 0
        for s in range(s_first, s_end, KEYS):
            count = min(KEYS, s_end - s)
            _copy_wide(k, k_at + s * k_steps[2], k_steps[2], count, key_bits.T)
            _copy_wide(v, v_at + s * v_steps[2], v_steps[2], count, value_bits)
            for t in range(t_first, t_end):
                if s < ranges[b, t, 1]:
                    seen = visible[b, t, s : s + count]
                    for h in range(head * G, (head + 1) * G):
                        _score(q[b, t, h], keys, scores[:count])
                        peak[t, h], total[t, h] = _mix(
                            scores, seen, values, peak[t, h], total[t, h], mix[t, h]
                        )
        for t in range(t_first, t_end):
            for h in range(head * G, (head + 1) * G):
                for d in range(D):
                    mix[t, h, d] /= total[t, h] if total[t, h] != 0 else np.float32(1)


@inner
def _copy_wide(source, at, step, count, bits):
    """Copy rows as the bits of float32, of which bfloat16 is the upper half."""
    shift = np.uint32(32 - 8 * source.itemsize)
    for i in range(count):
        row = source[at + i * step : at + i * step + bits.shape[1]]
        for d in range(len(row)):
            bits[i, d] = np.uint32(row[d]) << shift


@inner
def _score(query, keys, scores):
    """Scaled products of a query (D,) and keys (D, at least the number of scores)."""
    scale = np.float32(1 / math.sqrt(len(query)))
    for i in range(len(scores)):
        scores[i] = 0
    for d in range(0, len(query), 2):  # D is even: rotary positions turn pairs
        x, y = query[d] * scale, query[d + 1] * scale
        for i in range(len(scores)):
            scores[i] += x * keys[d, i] + y * keys[d + 1, i]


@inner
def _mix(scores, seen, values, peak, total, mix):
    """Add the seen values (count, D) to a query's mixture (D,), return its new peak and total."""
    before = peak
    for i in range(len(seen)):
        # a NaN is not larger: it reaches the total through exp, not the peak
        if seen[i] and scores[i] > peak:
            peak = scores[i]
    base = peak if peak > -np.inf else np.float32(0)
    shrink = np.float32(math.exp(before - base))
    total *= shrink
    for d in range(len(mix)):
        mix[d] *= shrink
    for i in range(len(seen)):
        if seen[i]:
            weight = np.float32(math.exp(scores[i] - base))
            total += weight
            for d in range(len(mix)):
                mix[d] += weight * values[i, d]
    return peak, total
