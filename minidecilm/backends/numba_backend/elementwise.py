"""The operations between matrix products, with explicit vectors: one pass over memory, by all threads."""

import numpy as np
from numba import prange

from minidecilm.backends.numba_backend import vectors
from minidecilm.backends.numba_backend.compiling import inner, parallel
from minidecilm.backends.numba_backend.registers import LANES
from minidecilm.ops import Array

_PIECE = 1 << 12  # elements of one item of work; a multiple of LANES
_FEW = 4  # items of work that take less time than to call the other threads


def swiglu(gate: Array, up: Array) -> Array:
    """Gate `up` by silu(gate), as :func:`minidecilm.ops.swiglu`: float32 (..., F), (..., F) -> (..., F)."""
    mixed = np.empty(gate.shape, np.float32)
    _swiglu(np.ravel(gate), np.ravel(up), mixed.reshape(-1))
    return mixed


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """Normalise as :func:`minidecilm.ops.rms_norm`: float32 (..., E) -> (..., E)."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    normalised = np.empty(rows.shape, np.float32)
    _rms_norm(rows, weight.astype(np.float32), np.float32(eps), normalised)
    return normalised.reshape(x.shape)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turn pairs as :func:`minidecilm.ops.rotate`: float32 (B, heads, T, D) -> (B, heads, T, D)."""
    B, heads, T, D = x.shape
    rows = np.ascontiguousarray(x.swapaxes(1, 2), np.float32).reshape(B * T, heads, D)
    cos, sin = (np.ascontiguousarray(table.reshape(B * T, D // 2)) for table in (cos, sin))
    turned = np.empty_like(rows)
    _rotate(rows, cos, sin, turned)
    return turned.reshape(B, T, heads, D).swapaxes(1, 2)


@parallel
def _rotate(x, cos, sin, turned):
    if len(x) <= _FEW:
        for row in range(len(x)):
            _rotate_row(x[row], cos[row], sin[row], turned[row])
    else:
        for row in prange(len(x)):
            _rotate_row(x[row], cos[row], sin[row], turned[row])


@inner
def _rotate_row(x, cos, sin, turned):
    half = len(cos)
    for head in range(len(x)):
        for i in range(half):
            first, second = x[head, i], x[head, half + i]
            turned[head, i] = first * cos[i] - second * sin[i]
            turned[head, half + i] = second * cos[i] + first * sin[i]


@parallel
def _swiglu(gate, up, mixed):
    pieces = (len(gate) + _PIECE - 1) // _PIECE
    if pieces <= _FEW:
        _swiglu_piece(gate, up, mixed, 0, len(gate))
    else:
        for piece in prange(pieces):
            _swiglu_piece(gate, up, mixed, piece * _PIECE, min((piece + 1) * _PIECE, len(gate)))


@inner
def _swiglu_piece(gate, up, mixed, start, stop):
    whole = stop - (stop - start) % LANES
    for i in range(start, whole, LANES):
        vectors.store(mixed, i, _gated(vectors.load(gate, i), vectors.load(up, i)))
    if whole < stop:
        last = np.zeros((3, LANES), np.float32)
        for i in range(whole, stop):
            last[0, i - whole], last[1, i - whole] = gate[i], up[i]
        vectors.store(last, 2 * LANES, _gated(vectors.load(last, 0), vectors.load(last, LANES)))
        for i in range(whole, stop):
            mixed[i] = last[2, i - whole]


@inner
def _gated(gate, up):
    """``gate * sigmoid(gate) * up``, where sigmoid is taken from e**-|gate|, which never overflows."""
    one = vectors.splat(np.float32(1))
    decay = vectors.exp(vectors.negative(vectors.absolute(gate)))
    above = vectors.where_positive(gate, one, decay)
    return vectors.multiply(vectors.multiply(gate, up), vectors.divide(above, vectors.add(one, decay)))


@parallel
def _rms_norm(x, weight, eps, normalised):
    if len(x) <= _FEW:
        for row in range(len(x)):
            _rms_norm_row(x[row], weight, eps, normalised[row])
    else:
        for row in prange(len(x)):
            _rms_norm_row(x[row], weight, eps, normalised[row])


@inner
def _rms_norm_row(x, weight, eps, normalised):
    whole = len(x) - len(x) % LANES
    squares = vectors.zeros()
    for i in range(0, whole, LANES):
        values = vectors.load(x, i)
        squares = vectors.fma(values, values, squares)
    total = vectors.sum_lanes(squares)
    for i in range(whole, len(x)):
        total += x[i] * x[i]
    inverse = np.float32(1) / np.sqrt(total / np.float32(len(x)) + eps)
    for i in range(len(x)):
        normalised[i] = weight[i] * (x[i] * inverse)
