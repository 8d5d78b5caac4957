"""Matrix products of the Numba backend with explicit vectors: ``y = x @ weight.T`` for weights as stored.

Three cases, by the number of tokens N. One token: every weight is used once, so the memory sets the speed,
and all there is to do is to keep it busy. A few tokens: the same, but each weight that arrives is used for
all of them. Many tokens: arithmetic sets the speed; weights are widened once, 16 rows side by side, and used
for several tokens at a time.

Packed weights (int8 and int4, see :mod:`minidecilm.weights.packed`) meet activations rounded to int8, with
one scale per token and group of columns: products of integers are what CPUs multiply fastest.
"""

import numpy as np
from numba import get_num_threads, prange

from minidecilm.backends.numba_backend import tiles, vectors
from minidecilm.backends.numba_backend.compiling import inner, parallel, serial
from minidecilm.backends.numba_backend.registers import LANES
from minidecilm.ops import Array
from minidecilm.weights.packed import PANEL, PackedWeight

#: From this many tokens on, widening the weights once, in a new order, pays.
MANY_TOKENS = 24

_BLOCK = 2 * LANES  # columns that a tile takes in one step
_FEW_FLOATS = 1 << 15  # activations of the columns taken together: they stay in the second-level cache
_MANY_COLUMNS = 512  # of one block: its widened weights stay there too
_OUTER_TOKENS = 6 if LANES == 8 else 12  # fill the registers, together with the weights they meet
_AHEAD = 2048  # bytes of packed weights that are asked for early

_dot_4x2, _dot_4x1, _dot_1x1 = tiles.dot_tile(4, 2), tiles.dot_tile(4, 1), tiles.dot_tile(1, 1)
_dot_4x2_again = tiles.dot_tile(4, 2, prefetching=False)
_outer = tiles.outer_tile(_OUTER_TOKENS, tiles.PARTS)
_packed_1, _packed_4 = tiles.packed_tile(1), tiles.packed_tile(4)


def linear_stored(x: Array, weight: Array) -> Array:
    """Multiply float32 activations with a float matrix as it lies in the file.

    Parameters
    ----------
    x : (N, in) float32 array
        C-contiguous.
    weight : (out, in) array
        C-contiguous, as :mod:`.storage` lets kernels see it.

    Returns
    -------
    (N, out) float32 array
    """
    y = np.zeros((len(x), len(weight)), np.float32)
    if len(x) < MANY_TOKENS:
        few_tokens(weight, x, y, get_num_threads())
    else:
        _many_tokens(weight, x, y, get_num_threads())
    return y


def linear_packed(x: Array, codes: Array, scales: Array, weight: PackedWeight) -> Array:
    """Multiply float32 activations, rounded to int8, with packed int8 or int4 weights.

    Parameters
    ----------
    x : (N, in) float32 array
        C-contiguous. Every group of columns of every token is rounded with a scale of its own.
    codes, scales : arrays
        Those of the weight, the scales as uint16.
    weight : PackedWeight
        (out, in).

    Returns
    -------
    (N, out) float32 array
    """
    y = np.empty((len(x), weight.shape[0]), np.float32)
    _packed(codes, scales, weight.group, weight.bits, x, y, get_num_threads())
    return y


@serial
def share_of(thread, threads, count, step):
    """First and last + 1 of the items of one thread, in whole steps: (start, stop)."""
    steps = (count + step - 1) // step
    start = steps * thread // threads * step
    return start, min(steps * (thread + 1) // threads * step, count)


@parallel
def few_tokens(weight, x, y, threads):
    """Add x @ weight.T to y, which holds zeros: every thread has its own rows of the weight."""
    ordered = _in_order_of_loads(x, weight)
    for thread in prange(threads):
        start, stop = share_of(thread, threads, len(weight), 4)
        _few_tokens_rows(weight, ordered, y, start, stop)


@inner
def _in_order_of_loads(x, weight):
    """Lay activations as tiles load weights: of bfloat16, even columns first; zeros fill the last block."""
    tokens, columns = x.shape
    ordered = np.zeros((tokens, (columns + _BLOCK - 1) // _BLOCK * _BLOCK), np.float32)
    for token in range(tokens):
        for column in range(columns):
            to = column
            if isinstance(weight[0, 0], np.uint16):
                to = column // _BLOCK * _BLOCK + column % 2 * LANES + column % _BLOCK // 2
            ordered[token, to] = x[token, column]
    return ordered


@inner
def _few_tokens_rows(weight, x, y, start, stop):
    """Write y[:, start:stop]: four rows at a time, the next four asked for early."""
    tokens, stride = x.shape
    rows, columns = y.shape[1], weight.shape[1]
    whole = columns - columns % _BLOCK
    width = max(_BLOCK * 8, _FEW_FLOATS // tokens // _BLOCK * _BLOCK)
    for first in range(0, whole, width):
        count = min(width, whole - first)
        for row in range(start, stop - 3, 4):
            w, ahead = row * columns + first, 4 * columns
            for token in range(0, tokens, 2):
                at, to = token * stride + first, token * rows + row
                if token == tokens - 1:
                    _dot_4x1(weight, w, columns, x, at, 0, y, to, 0, count, ahead)
                elif token == 0:
                    _dot_4x2(weight, w, columns, x, at, stride, y, to, rows, count, ahead)
                else:
                    _dot_4x2_again(weight, w, columns, x, at, stride, y, to, rows, count, ahead)
        for row in range(stop - (stop - start) % 4, stop):
            for token in range(tokens):
                at, to = token * stride + first, token * rows + row
                _dot_1x1(weight, row * columns + first, 0, x, at, 0, y, to, 0, count, columns)
    _add_last_columns(weight, x, y, start, stop)


@inner
def _add_last_columns(weight, x, y, start, stop):
    """Add the columns that fill no block, by way of one that is filled up with zeros."""
    columns = weight.shape[1]
    rest = columns % _BLOCK
    if rest == 0:
        return
    last = np.zeros((1, _BLOCK), weight.dtype)
    for row in range(start, stop):
        for i in range(rest):  # a slice would be assigned with checks that take seconds to compile
            last[0, i] = weight[row, columns - rest + i]
        for token in range(len(x)):
            at, to = token * x.shape[1] + columns - rest, token * y.shape[1] + row
            _dot_1x1(last, 0, 0, x, at, 0, y, to, 0, _BLOCK, 0)


@parallel
def _many_tokens(weight, x, y, threads):
    blocks = (len(x) + _OUTER_TOKENS - 1) // _OUTER_TOKENS
    arranged = np.empty(blocks * x.shape[1] * _OUTER_TOKENS, np.float32)
    for block in prange(blocks):
        _arrange(x, block, blocks, arranged)
    for thread in prange(threads):
        start, stop = share_of(thread, threads, len(weight), PANEL)
        _many_tokens_rows(weight, arranged, y, start, stop)


@inner
def _arrange(x, block, blocks, arranged):
    """Lay a block of tokens in the order of use: (range of columns, block, column, token), without a gap.

    Tokens beyond the last one are zero.
    """
    tokens, columns = x.shape
    for first in range(0, columns, _MANY_COLUMNS):
        width = min(_MANY_COLUMNS, columns - first)
        at = (first * blocks + block * width) * _OUTER_TOKENS
        for i in range(_OUTER_TOKENS):
            token = block * _OUTER_TOKENS + i
            for j in range(width):
                arranged[at + j * _OUTER_TOKENS + i] = x[token, first + j] if token < tokens else 0


@inner
def _many_tokens_rows(weight, arranged, y, start, stop):
    """Write y[:, start:stop], 16 rows at a time."""
    tokens, columns = len(y), weight.shape[1]
    blocks = (tokens + _OUTER_TOKENS - 1) // _OUTER_TOKENS
    widened = np.zeros((_MANY_COLUMNS, PANEL), np.float32)
    sums = np.empty((blocks, _OUTER_TOKENS, PANEL), np.float32)
    for row in range(start, stop, PANEL):
        count = min(PANEL, stop - row)
        sums[:] = 0
        for first in range(0, columns, _MANY_COLUMNS):
            width = min(_MANY_COLUMNS, columns - first)
            _widen(weight, row, count, first, width, widened)
            for block in range(blocks):
                at = (first * blocks + block * width) * _OUTER_TOKENS
                _outer(widened, 0, arranged, at, sums, block * _OUTER_TOKENS * PANEL, width)
        for token in range(tokens):
            for i in range(count):
                y[token, row + i] = sums[token // _OUTER_TOKENS, token % _OUTER_TOKENS, i]


@inner
def _widen(weight, row, count, first, width, widened):
    """Lay `count` rows of some columns side by side as float32: widened[column, row]."""
    columns = weight.shape[1]
    whole = (width - width % LANES) if count == PANEL else 0
    for column in range(0, whole, LANES):
        for part in range(0, PANEL, LANES):
            source = (row + part) * columns + first + column
            vectors.transpose(weight, source, columns, widened, column * PANEL + part, PANEL)
    # What fills no square of LANES x LANES goes by way of one that is filled up with zeros.
    square = np.zeros((LANES, LANES), weight.dtype)
    for column in range(whole, width, LANES):
        for part in range(0, PANEL, LANES):
            square[:] = 0
            for i in range(min(LANES, count - part)):
                for j in range(min(LANES, width - column)):
                    square[i, j] = weight[row + part + i, first + column + j]
            vectors.transpose(square, 0, LANES, widened, column * PANEL + part, PANEL)


@parallel
def _packed(codes, scales, group, bits, x, y, threads):
    tokens, groups = len(x), scales.shape[1]
    x_codes = np.empty((tokens, groups * group), np.int8)
    x_scales = np.empty((tokens, groups), np.float32)
    x_sums = np.empty((tokens, groups), np.int32)
    for token in prange(tokens):
        _round_token(x, token, group, x_codes, x_scales, x_sums)
    for thread in prange(threads):
        start, stop = share_of(thread, threads, len(codes), 1)
        _panels(codes, scales, group, 32 // bits, x_codes, x_scales, x_sums, y, start, stop)


@inner
def _round_token(x, token, group, codes, scales, sums):
    """Round the activations of a token to int8: value = code * scale, one scale per group of columns."""
    columns = x.shape[1]
    padded = np.zeros(codes.shape[1], np.float32)
    for column in range(columns):
        padded[column] = x[token, column]
    for g in range(scales.shape[1]):
        largest = wrong = vectors.zeros()
        for i in range(g * group, (g + 1) * group, LANES):
            values = vectors.load(padded, i)
            largest = vectors.larger(vectors.absolute(values), largest)
            # Zero, unless a value is NaN or infinite: then NaN, which is to reach the result.
            wrong = vectors.fma(values, vectors.zeros(), wrong)
        peak = vectors.max_lanes(largest)
        # What is smaller than this, 127 / peak overflows for; it rounds to zero beside anything else.
        inverse = np.float32(127) / peak if peak > np.float32(1e-36) else np.float32(0)
        total = vectors.zeros()
        for i in range(g * group, (g + 1) * group, LANES):
            code = vectors.nearest(vectors.multiply(vectors.load(padded, i), vectors.splat(inverse)))
            vectors.store_int8(codes, token * codes.shape[1] + i, code)
            total = vectors.add(total, code)
        scales[token, g] = peak / np.float32(127) + vectors.sum_lanes(wrong)
        sums[token, g] = np.int32(vectors.sum_lanes(total))


@inner
def _panels(codes, scales, group, columns, x, x_scales, x_sums, y, start, stop):
    """Write the rows of these panels, whose chunks have so many columns: four tokens at a time, or one."""
    (tokens, stride), groups = x.shape, scales.shape[1]
    rows, chunks = y.shape[1], codes.shape[1]
    sums = np.empty((4, PANEL), np.float32)
    per_group = group // columns
    for panel in range(start, stop):
        c, s = panel * chunks * 4 * PANEL, panel * groups * PANEL
        token = 0
        while token < tokens:
            at, g = token * stride, token * groups
            if token + 4 <= tokens:
                count = 4
                _packed_4(
                    codes, c, chunks, per_group, scales, s, groups,
                    x, at, stride, x_scales, x_sums, g, sums, 0 if token else _AHEAD,
                )  # fmt: skip
            else:
                count = 1
                _packed_1(
                    codes, c, chunks, per_group, scales, s, groups,
                    x, at, stride, x_scales, x_sums, g, sums, 0 if token else _AHEAD,
                )  # fmt: skip
            for i in range(count):
                for row in range(min(PANEL, rows - panel * PANEL)):
                    y[token + i, panel * PANEL + row] = sums[i, row]
            token += count
