"""Attention in plain loops, for any CPU that Numba compiles for: the twin of :mod:`.attention`."""

import math

import numpy as np
from numba import prange

from minidecilm.backends.numba_backend.compiling import inner, parallel
from minidecilm.backends.numba_backend.storage import widened
from minidecilm.backends.numba_backend.tasks import KEYS, Job, split_task, task_at


@parallel
def attend(workers, *job):
    """Do all tasks of a :class:`.tasks.Job`."""
    for worker in prange(workers):
        _work(np.int64(worker), workers, Job(*job))


@inner
def _work(worker, workers, job):
    """Do every task of one worker."""
    q, k, k_steps, v, v_steps, K, visible, ranges, blocks, mixed, peaks, totals = job
    chunks, B, D = mixed.shape[0], mixed.shape[1], mixed.shape[4]
    G = mixed.shape[3] // K
    # Keys are transposed; rows a power of two apart would compete for the same few lines of a CPU's cache.
    keys, values = np.empty((D, KEYS + 16), np.float32), np.empty((KEYS, D), np.float32)
    scores = np.empty(KEYS, np.float32)

    tasks = B * K * blocks * chunks
    for number in range(-(-tasks // workers)):
        task = task_at(number, worker, workers)
        if task >= tasks:
            continue
        b, head, chunk, t_first, t_end, s_first, s_end = split_task(task, job)
        k_at, v_at = b * k_steps[0] + head * k_steps[1], b * v_steps[0] + head * v_steps[1]
        mix, peak, total = mixed[chunk, b], peaks[chunk, b], totals[chunk, b]
        for t in range(t_first, t_end):
            for h in range(head * G, (head + 1) * G):
                peak[t, h], total[t, h] = -np.inf, 0
                for d in range(D):
                    mix[t, h, d] = 0
        for s in range(s_first, s_end, KEYS):
            count = min(KEYS, s_end - s)
            _widen(k, k_at + s * k_steps[2], k_steps[2], count, keys.T)
            _widen(v, v_at + s * v_steps[2], v_steps[2], count, values)
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
def _widen(source, at, step, count, rows):
    """Copy rows as float32."""
    for i in range(count):
        row = source[at + i * step : at + i * step + rows.shape[1]]
        for d in range(len(row)):
            rows[i, d] = widened(row[d])


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
