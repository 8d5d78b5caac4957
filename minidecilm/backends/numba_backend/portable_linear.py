"""Matrix products of the Numba backend in plain loops: the twin of :mod:`.linear` for CPUs without AVX2.

The same arithmetic, the rounding of activations included; LLVM vectorises it as well as it can.
"""

from collections.abc import Sequence

import numpy as np
from numba import prange

from minidecilm.backends.numba_backend.choosing import Choice
from minidecilm.backends.numba_backend.compiling import IN_PARALLEL, njit, parallel
from minidecilm.backends.numba_backend.storage import read_only, widened
from minidecilm.ops import Array
from minidecilm.weights.packed import BFLOAT16, PackedWeight

_LET_SUMS_BE_VECTORS = {"reassoc", "contract", "nsz"}  # NaN and infinity keep their meaning


def linear_stored(x: Array, weights: Sequence[Array], rounding: bool, choice: Choice) -> list[Array]:
    """Multiply float32 activations with matrices as stored; see :func:`.linear.linear_stored`."""
    if rounding:
        x = x.astype(BFLOAT16).astype(np.float32)
    ys = [np.empty((len(x), len(weight)), np.float32) for weight in weights]
    for weight, y in zip(weights, ys, strict=True):
        stored(read_only(weight), x, y)
    return ys


def linear_packed(x: Array, weights: Sequence[PackedWeight], choice: Choice) -> list[Array]:
    """Multiply float32 activations with packed weights; see :func:`.linear.linear_packed`."""
    groups, group, bits = weights[0].scales.shape[1], weights[0].group, weights[0].bits
    rounded = _round_activations(x, groups, group)
    ys = [np.empty((len(x), weight.shape[0]), np.float32) for weight in weights]
    for weight, y in zip(weights, ys, strict=True):
        _packed(read_only(weight.codes), read_only(weight.scales), group, bits, *rounded, y)
    return ys


@njit(**IN_PARALLEL, fastmath=_LET_SUMS_BE_VECTORS)
def stored(weight, x, y):
    """Write x @ weight.T to y: a row of the weight is widened once and used for every token."""
    for row in prange(len(weight)):
        wide = np.empty(weight.shape[1], np.float32)
        for column in range(len(wide)):
            wide[column] = widened(weight[row, column])
        for token in range(len(x)):
            total = np.float32(0)
            for column in range(len(wide)):
                total += x[token, column] * wide[column]
            y[token, row] = total


def _round_activations(x: Array, groups: int, group: int) -> tuple[Array, Array, Array]:
    """Round to int8 by groups of columns: codes (N, groups, group), scales and sums (N, groups)."""
    padded = np.zeros((len(x), groups * group), np.float32)
    padded[:, : x.shape[1]] = x
    grouped = padded.reshape(len(x), groups, group)
    peak = np.abs(grouped).max(axis=-1)  # NaN where one is; it reaches the result by way of the scale
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(peak > 1e-36, np.float32(127) / peak, np.float32(0))
        codes = np.rint(grouped * inverse[..., None])
    codes = np.nan_to_num(codes).astype(np.int8)
    scales = peak / np.float32(127) + grouped.sum(axis=-1) * np.float32(0)
    return codes, scales, codes.sum(axis=-1, dtype=np.int32)


@parallel
def _packed(codes, scales, group, bits, x_codes, x_scales, x_sums, y):
    panels, chunks, height = codes.shape[:3]
    tokens, rows = y.shape
    columns = 4 if bits == 8 else 8  # of a chunk
    for panel in prange(panels):
        dots = np.empty(height, np.int32)
        sums = np.empty(height, np.float32)
        for token in range(tokens):
            sums[:] = 0
            for g in range(scales.shape[1]):
                dots[:] = 0 if bits == 8 else -8 * x_sums[token, g]
                first = g * group // columns
                for chunk in range(first, min(first + group // columns, chunks)):
                    at = (chunk - first) * columns
                    for row in range(height):
                        dot = np.int32(0)
                        for j in range(4):
                            code = np.int32(codes[panel, chunk, row, j])
                            if bits == 8:
                                dot += np.int32(code * x_codes[token, g, at + j])
                            else:
                                dot += np.int32((code & 15) * x_codes[token, g, at + j])
                                dot += np.int32((code >> 4) * x_codes[token, g, at + 4 + j])
                        dots[row] += dot
                for row in range(height):
                    scale = widened(scales[panel, g, row]) * x_scales[token, g]
                    sums[row] += np.float32(dots[row]) * scale
            for row in range(min(height, rows - panel * height)):
                y[token, panel * height + row] = sums[row]
