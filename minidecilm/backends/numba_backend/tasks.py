"""How attention is cut into tasks, and their results put together: what both kinds of kernels share.

Keys and values are read where the cache holds them, and never more than a block of scores is held. A task is
a row of the batch, one KV head, a block of query positions with all G query heads that read the head, and a
chunk of the keys. It keeps, for every query, the largest score so far, and the total and the mixture of the
values relative to it: when a larger score turns up, both are scaled down (the "online softmax" of Milakov and
Gimelshein, 2018, https://arxiv.org/abs/1805.02867). Chunks are put together by the same rule.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from minidecilm.backends.numba_backend.compiling import inner, serial
from minidecilm.backends.numba_backend.storage import seen
from minidecilm.ops import Array

# Keys are taken in blocks of so many: their scores stay in the innermost cache.
KEYS = 128
# A task has at most about so many queries. More would share each block of keys, fewer are easier to balance.
QUERIES = 256


class Job(NamedTuple):
    """What kernels are given: the arrays of one call, and how it is cut into tasks.

    Attributes
    ----------
    q : (B, T, H, D) array
        The heads of a group are neighbours.
    k, v : flat arrays
        Keys and values as kernels see them.
    k_steps, v_steps : (3,) int arrays
        Elements from one row of the batch, one head and one token to the next.
    K : int
    visible : (B, T, S) bool array
    ranges : (B, T, 3) int array
        From :func:`visible_ranges`.
    blocks : int
        Of query positions.
    mixed, peaks, totals : (chunks, B, T, H, D) array, and (chunks, B, T, H) twice
        The results.
    """

    q: Array
    k: Array
    k_steps: Array
    v: Array
    v_steps: Array
    K: int
    visible: Array
    ranges: Array
    blocks: int
    mixed: Array
    peaks: Array
    totals: Array


def attend_in_tasks(attend: Callable[..., None], q: Array, k: Array, v: Array, visible: Array) -> Array:
    """Mix values by :func:`minidecilm.ops.attention_weights`, keys and values read in place.

    Parameters
    ----------
    attend : compiled function
        Does all tasks of a job, by so many workers: :func:`.attention.attend`, or its portable twin.
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
    B, H, T, D = q.shape
    K, S = k.shape[1:3]
    blocks = min(T, -(-T * (H // K) // QUERIES))
    workers = numba.get_num_threads()
    tasks = B * K * blocks
    # So many chunks that all workers have the same number of tasks, unless there are many anyway.
    chunks = 1 if tasks >= 4 * workers else min(workers // math.gcd(tasks, workers), -(-S // KEYS))

    queries = np.ascontiguousarray(q.swapaxes(1, 2))  # (B, T, H, D)
    visible = np.ascontiguousarray(visible)
    mixed = np.empty((chunks, B, T, H, D), np.float32)
    peaks, totals = np.empty((2, chunks, B, T, H), np.float32)
    ranges = visible_ranges(visible)
    # One by one: Numba takes long to see what kind of named tuple it is given.
    attend(workers, *Job(queries, *_flat(k), *_flat(v), K, visible, ranges, blocks, mixed, peaks, totals))
    if chunks > 1:
        combine(mixed, peaks, totals)
    return np.asarray(mixed[0].swapaxes(1, 2))  # (B, H, T, D)


def _flat(array: Array) -> tuple[Array, Array]:
    """See keys or values as one row of elements; with the distance between rows, heads and tokens."""
    if min(array.strides) < 0:
        array = array.copy()
    steps = [stride // array.itemsize for stride in array.strides]
    whole = array.base  # such as a cache, of which this is the beginning
    if isinstance(whole, np.ndarray) and whole.flags.c_contiguous and _start(whole) == _start(array):
        return seen(whole).reshape(-1), np.array(steps[:3])  # made sooner than what follows
    end = 1 + sum((size - 1) * step for size, step in zip(array.shape, steps, strict=True))
    return np.lib.stride_tricks.as_strided(seen(array), (end,), (array.itemsize,)), np.array(steps[:3])


def _start(array: Array) -> Any:
    return array.dtype, array.__array_interface__["data"]


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
def split_task(task, job):
    """Batch row, KV head, chunk, first and end of the queries, first and end of the keys of a task."""
    chunks, (T, S) = job.mixed.shape[0], job.visible.shape[1:]
    task, chunk = task // chunks, task % chunks
    task, block = task // job.blocks, task % job.blocks
    b, head = task // job.K, task % job.K
    t_first, t_end = block * T // job.blocks, (block + 1) * T // job.blocks
    s_blocks = -(-S // KEYS)
    s_first = KEYS * (chunk * s_blocks // chunks)
    s_end = min(KEYS * ((chunk + 1) * s_blocks // chunks), S)
    first, end = common_range(job.ranges, b, t_first, t_end, S)
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
