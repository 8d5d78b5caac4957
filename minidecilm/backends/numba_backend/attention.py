"""Attention with explicit vectors: the tasks of :mod:`.tasks`, their products in registers.

A matrix product is cut into tiles of 4 rows by 2 vectors, which stay in registers while they are added up.
Keys have to be transposed for it. Where few queries share a key that costs more than it brings: they take
keys and values as the cache holds them, and scores are dot products.
"""

import math

import numpy as np
from numba import prange

from minidecilm.backends.numba_backend.compiling import inner, parallel
from minidecilm.backends.numba_backend.registers import LANES
from minidecilm.backends.numba_backend.tasks import KEYS, Job, common_range, split_task, task_at
from minidecilm.backends.numba_backend.tiles import add_tile
from minidecilm.backends.numba_backend.vectors import (
    add,
    exp,
    fma,
    larger,
    load,
    max_lanes,
    multiply,
    prefetch,
    splat,
    store,
    store_sums,
    sum_lanes,
    transpose,
    value,
    zeros,
)

ROWS, WIDTH = 4, 2 * LANES  # of a tile
GROUP = 32  # queries whose scores are held at a time
# Elements from one strip of packed values to the next: one row more than a strip has, because addresses a
# power of two apart compete for the same few lines of a CPU's cache.
STRIP = (KEYS + 1) * WIDTH
FEW = 8  # at most so many queries take keys and values as they lie

_add_tile = add_tile(ROWS, WIDTH // LANES)


@parallel
def attend(workers, *job):
    """Do all tasks of a :class:`.tasks.Job`."""
    for worker in prange(workers):
        _work(np.int64(worker), workers, Job(*job))


@inner
def _round_up(count, unit):
    return -(-count // unit) * unit


@inner
def _work(worker, workers, job):
    """Do every task of one worker."""
    q, k, k_steps, v, v_steps, K, visible, ranges, blocks, mixed, peaks, totals = job
    chunks, B, T, H, D = mixed.shape
    S, G = visible.shape[2], H // K
    Dp = _round_up(D, WIDTH)
    most = _round_up(-(-T // blocks) * G, ROWS)  # queries of a task
    few = most <= FEW and D % WIDTH == 0
    queries, mix = np.zeros((most, Dp), np.float32), np.empty((most, Dp), np.float32)
    peak, total = np.empty(most, np.float32), np.empty(most, np.float32)
    scores = np.zeros((GROUP, KEYS), np.float32)
    keys = np.empty(0 if few else KEYS * Dp, np.float32)
    values = np.zeros(0 if few else Dp // WIDTH * STRIP, np.float32)

    tasks = B * K * blocks * chunks
    for number in range(-(-tasks // workers)):
        task = task_at(number, worker, workers)
        if task >= tasks:
            continue
        b, head, chunk, t_first, t_end, s_first, s_end = split_task(task, job)
        k_at, v_at = b * k_steps[0] + head * k_steps[1], b * v_steps[0] + head * v_steps[1]
        rows = (t_end - t_first) * G
        _gather(q, b, t_first, rows, head * G, G, queries)
        for r in range(most):
            peak[r], total[r] = -np.inf, 0
            for d in range(Dp):
                mix[r, d] = 0
        for s in range(s_first, s_end, KEYS):
            count = min(KEYS, s_end - s)
            k_block, v_block = (k, k_at + s * k_steps[2], k_steps[2]), (v, v_at + s * v_steps[2], v_steps[2])
            if not few:
                _pack_keys(k_block, count, D, keys)
                _pack_values(v_block, count, D, values)
            for row in range(0, rows, GROUP):
                group = min(GROUP, _round_up(rows - row, ROWS))
                # keys that any query of the group sees, counted from s
                t_end_of_group = min(t_first + (row + group - 1) // G + 1, t_end)
                first, end = common_range(ranges, b, t_first + row // G, t_end_of_group, S)
                first, end = max(first - s, 0) // WIDTH * WIDTH, min(end - s, count)
                if first >= end:
                    continue
                if few:
                    _dot_keys(queries, group, k_block, first, end, scores, v_block)
                else:
                    _multiply_keys(queries, row, group, keys, D, first, end, scores, v_block)
                for r in range(row, min(row + group, rows)):
                    t = t_first + r // G
                    _hide(scores, r - row, first, end, s, ranges[b, t], visible[b, t])
                    _soften(scores, r - row, first, end, peak, total, mix, r)
                if few:
                    _mix(scores, group, first, end, v_block, WIDTH, mix, row, k_block)
                else:
                    _mix(scores, group, first, end, (values, 0, WIDTH), STRIP, mix, row, k_block)
        for r in range(rows):
            t, h = t_first + r // G, head * G + r % G
            if peak[r] == -np.inf:
                total[r] *= 0  # unless it is NaN
            peaks[chunk, b, t, h], totals[chunk, b, t, h] = peak[r], total[r]
            for d in range(D):
                mixed[chunk, b, t, h, d] = mix[r, d] / total[r] if total[r] != 0 else 0


@inner
def _gather(q, b, t_first, rows, h_first, G, queries):
    """Lay the scaled queries of a task (rows, D) below each other, those of one position together."""
    D = q.shape[3]
    scale = np.float32(1 / math.sqrt(D))
    for r in range(rows):
        for d in range(D):
            queries[r, d] = q[b, t_first + r // G, h_first + r % G, d] * scale


@inner
def _pack_keys(k, count, D, keys):
    """Lay keys side by side in strips of WIDTH: (count, D) -> (strips, D, WIDTH)."""
    k, at, step = k
    for i in range(0, count, LANES):
        to = i // WIDTH * WIDTH * D + i % WIDTH
        whole = D // LANES * LANES if i + LANES <= count else 0
        for d in range(0, whole, LANES):
            transpose(k, at + i * step + d, step, keys, to + d * WIDTH, WIDTH)
        for j in range(min(LANES, count - i)):
            for d in range(whole, D):
                keys[to + d * WIDTH + j] = value(k, at + (i + j) * step + d)


@inner
def _pack_values(v, count, D, values):
    """Cut values into strips of WIDTH columns: (count, D) -> (strips, KEYS, WIDTH)."""
    v, at, step = v
    whole = D // WIDTH * WIDTH
    for i in range(count):
        source, to = at + i * step, i * WIDTH
        for d in range(0, whole, WIDTH):
            store(values, to, load(v, source + d))
            store(values, to + LANES, load(v, source + d + LANES))
            to += STRIP
        for d in range(whole, D):
            values[to + d - whole] = value(v, source + d)


@inner
def _multiply_keys(queries, row, group, keys, D, first, end, scores, v):
    """Scores of a group of queries, from packed keys; meanwhile fetch the next block of values."""
    Dp = queries.shape[1]
    v, v_at, v_step = v
    for i in range(first, end, WIDTH):
        ahead = v_at + (KEYS + i) * v_step
        for r in range(0, group, ROWS):
            for j in range(r, r + ROWS):
                store(scores, j * KEYS + i, zeros())
                store(scores, j * KEYS + i + LANES, zeros())
            at, to = (row + r) * Dp, r * KEYS + i
            _add_tile(scores, to, KEYS, queries, at, Dp, keys, i * D, WIDTH, D, v, ahead, WIDTH)


@inner
def _mix(scores, group, first, end, values, strip_step, mix, row, k):
    """Add values, weighted by the scores of a group of queries, to their mixtures; fetch the next keys."""
    Dp = mix.shape[1]
    values, at, step = values
    k, k_at, k_step = k
    for d in range(0, Dp, WIDTH):
        strip = at + first * step + d // WIDTH * strip_step
        ahead = k_at + KEYS * (k_step + d)
        for r in range(0, group, ROWS):
            weights, to = r * KEYS + first, (row + r) * Dp + d
            _add_tile(mix, to, Dp, scores, weights, KEYS, values, strip, step, end - first, k, ahead, WIDTH)


@inner
def _dot_keys(queries, group, k, first, end, scores, v):
    """Scores of a group of queries, from keys as they lie; meanwhile fetch the next block of values."""
    D = queries.shape[1]
    k, at, step = k
    v, v_at, v_step = v
    for i in range(first, end, 4):
        k0, k1 = at + i * step, at + min(i + 1, end - 1) * step
        k2, k3 = at + min(i + 2, end - 1) * step, at + min(i + 3, end - 1) * step
        for r in range(0, group, 2):
            ahead = v_at + (KEYS + i + r // 2) * v_step
            _dot_tile(queries, r * D, D, k, k0, k1, k2, k3, scores, r * KEYS + i, v, ahead)


@inner
def _dot_tile(q, at, D, k, k0, k1, k2, k3, scores, to, v, ahead):
    """Scores of 2 queries and 4 keys."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zeros()
    for d in range(0, D, LANES):
        prefetch(v, ahead + d)
        a, b = load(q, at + d), load(q, at + D + d)
        key = load(k, k0 + d)
        a0, b0 = fma(a, key, a0), fma(b, key, b0)
        key = load(k, k1 + d)
        a1, b1 = fma(a, key, a1), fma(b, key, b1)
        key = load(k, k2 + d)
        a2, b2 = fma(a, key, a2), fma(b, key, b2)
        key = load(k, k3 + d)
        a3, b3 = fma(a, key, a3), fma(b, key, b3)
    store_sums(scores, to, a0, a1, a2, a3)
    store_sums(scores, to + KEYS, b0, b1, b2, b3)


@inner
def _hide(scores, r, first, end, s, span, visible):
    """Make the scores of keys that query r of a group does not see -inf; key i of the block is s + i."""
    padded = _round_up(end, LANES)
    row_first, row_end, holes = span[0] - s, span[1] - s, span[2]
    for i in range(first, min(row_first, padded)):
        scores[r, i] = -np.inf
    for i in range(max(min(row_end, end), first), padded):
        scores[r, i] = -np.inf
    if holes:
        for i in range(first, end):
            if not visible[s + i]:
                scores[r, i] = -np.inf


@inner
def _soften(scores, r, first, end, peak, total, mix, query):
    """Turn the scores of query r of a group into weights, relative to the peak of all scores so far."""
    start, stop = r * KEYS + first, r * KEYS + end
    tops = splat(peak[query])
    for i in range(start, stop, LANES):
        tops = larger(load(scores, i), tops)  # a NaN is passed over here, and reaches the total through exp
    top = max_lanes(tops)
    base = top if top > -np.inf else np.float32(0)
    shift, sums = splat(-base), zeros()
    for i in range(start, stop, LANES):
        weights = exp(add(load(scores, i), shift))
        store(scores, i, weights)
        sums = add(sums, weights)
    if top > peak[query]:
        shrink = exp(splat(peak[query] - base))
        peak[query] = top
        total[query] *= max_lanes(shrink)
        width = mix.shape[1]
        for d in range(query * width, (query + 1) * width, LANES):
            store(mix, d, multiply(load(mix, d), shrink))
    total[query] += sum_lanes(sums)
