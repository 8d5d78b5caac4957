"""The operations between matrix products, with explicit vectors: one pass over memory, by all threads."""

import numpy as np
from numba import prange

from minidecilm.backends.numba_backend import vectors
from minidecilm.backends.numba_backend.compiling import inner, parallel
from minidecilm.backends.numba_backend.registers import LANES
from minidecilm.ops import Array

_PIECE = 1 << 12  # elements of one item of work; a multiple of LANES


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


@parallel
def _swiglu(gate, up, mixed):
    for piece in prange((len(gate) + _PIECE - 1) // _PIECE):
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
