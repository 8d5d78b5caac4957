"""Matrix products of the Numba backend with explicit vectors: ``y = x @ weight.T`` for weights as stored.

Three cases, by the number of tokens N. One token: every weight is used once, so the memory sets the speed,
and all there is to do is to keep it busy. A few tokens: the same, but each weight that arrives is used for
all of them. Many tokens: arithmetic sets the speed; weights are widened once, 16 or 32 rows side by side, and
used for several tokens at a time.

Packed weights (int8 and int4, see :mod:`minidecilm.weights.packed`) meet activations rounded to int8, with
one scale per token and group of columns: products of integers are what CPUs multiply fastest.
"""

from collections.abc import Sequence

import numpy as np
from numba import get_num_threads, prange

from minidecilm.backends.numba_backend import tiles, vectors
from minidecilm.backends.numba_backend.choosing import Choice
from minidecilm.backends.numba_backend.compiling import inner, parallel, serial
from minidecilm.backends.numba_backend.registers import BFLOAT16_DOTS, LANES
from minidecilm.backends.numba_backend.storage import read_only
from minidecilm.ops import Array
from minidecilm.weights.packed import BFLOAT16, PANEL, PackedWeight

#: From this many tokens on, widening the weights once, in a new order, pays.
MANY_TOKENS = 24
#: Weights that one call multiplies with the same activations; fewer are filled up with empty ones.
TOGETHER = 3

_BLOCK = 2 * LANES  # columns that a tile takes in one step
_TOKENS = 4  # of a tile
_ROWS = 2 if LANES == 8 else 4  # with them: as many sums as registers hold beside weights and activations
_ROWS_ALONE = 4  # for one token: as many streams keep memory busiest
_TALL = PANEL if LANES == 8 else 2 * PANEL  # rows whose weights are widened side by side
_MANY_COLUMNS = (1 << 13) // _TALL  # of one block: its widened weights stay near too
_OUTER_TOKENS = 6 if LANES == 8 else 12  # fill the registers, together with the weights they meet
_PARALLEL_ROUNDING = 4  # tokens from which threads share the rounding of activations

_dot, _dot_2, _dot_1 = (tiles.dot_tile(_ROWS, tokens) for tokens in (_TOKENS, 2, 1))
_dot_alone, _dot_1x1 = tiles.dot_tile(_ROWS_ALONE, 1), tiles.dot_tile(1, 1)
_outer = tiles.outer_tile(_OUTER_TOKENS, _TALL // LANES)
_PANELS_1, _PANELS_4 = (3, 1) if LANES == 8 else (4, 4)
_packed_1, _packed_4 = tiles.packed_tile(1, _PANELS_1), tiles.packed_tile(_TOKENS, _PANELS_4)
_packed_alone = tiles.packed_tile(1, 1)


def linear_stored(x: Array, weights: Sequence[Array], rounding: bool, choice: Choice) -> list[Array]:
    """Multiply float32 activations with float matrices as they lie in the file.

    Parameters
    ----------
    x : (N, in) float32 array
        C-contiguous.
    weights : 1 to 3 (out, in) arrays
        All of one dtype of :data:`.storage.SEEN_AS`.
    rounding : bool
        Whether activations are rounded to bfloat16 first.
    choice : Choice
        How weights are read.

    Returns
    -------
    list of (N, out) float32 array
    """
    matrices = [read_only(weight) for weight in weights]
    if rounding:
        x = x.astype(BFLOAT16)
        if BFLOAT16_DOTS and weights[0].dtype == BFLOAT16 and x.shape[1] % 2 == 0:
            x, matrices = x.view(np.uint32), [matrix.view(np.uint32) for matrix in matrices]  # pairs
        else:
            x = x.astype(np.float32)
    ys = [np.zeros((len(x), len(matrix)), np.float32) for matrix in matrices]
    threads, arguments = get_num_threads(), (_filled(matrices), x, _filled(ys))
    if len(x) < MANY_TOKENS:
        few_tokens(*arguments, threads, choice.together, choice.ahead // matrices[0].itemsize)
    else:
        arranged = np.empty(-(-len(x) // _OUTER_TOKENS) * _OUTER_TOKENS * x.shape[1], x.dtype)
        for arranging in (True, False):
            _many_tokens(*arguments, threads, arranged, arranging)
    return ys


def linear_packed(x: Array, weights: Sequence[PackedWeight], choice: Choice) -> list[Array]:
    """Multiply float32 activations, rounded to int8, with packed int8 or int4 weights.

    Parameters
    ----------
    x : (N, in) float32 array
        C-contiguous. Every group of columns of every token is rounded with a scale of its own.
    weights : 1 to 3 PackedWeight
        (out, in), all of the same bits and groups.
    choice : Choice
        How weights are read.

    Returns
    -------
    list of (N, out) float32 array
    """
    ys = [np.empty((len(x), weight.shape[0]), np.float32) for weight in weights]
    codes = _filled([read_only(weight.codes) for weight in weights])
    scales = _filled([read_only(weight.scales) for weight in weights])
    _packed(codes, scales, weights[0].group, weights[0].bits, x, _filled(ys), get_num_threads(), *choice)
    return ys


def side_by_side(packed: bool, choice: Choice) -> int:
    """Count the rows, or panels of packed weights, that are read at a time for one token."""
    return (_PANELS_1 if packed else _ROWS_ALONE) if choice.together else 1


def _filled(arrays: Sequence[Array]) -> tuple[Array, ...]:
    """Make TOGETHER of them: kernels are compiled for so many."""
    return *arrays, *(arrays[0][:0],) * (TOGETHER - len(arrays))


@serial
def share_of(thread, threads, count, step):
    """First and last + 1 of the items of one thread, in whole steps: (start, stop)."""
    steps = (count + step - 1) // step
    start = steps * thread // threads * step
    return start, min(steps * (thread + 1) // threads * step, count)


@parallel
def few_tokens(weights, x, ys, threads, together, ahead):
    """Add x @ weight.T to every y, which holds zeros: every thread has its own rows of each weight."""
    ordered = _in_order_of_loads(x, weights[0])
    for thread in prange(threads):
        for i in range(len(weights)):
            start, stop = share_of(thread, threads, len(weights[i]), _ROWS_ALONE)
            _few_tokens_rows(weights[i], ordered, ys[i], start, stop, together, ahead)


@inner
def _in_order_of_loads(x, weight):
    """Lay activations as tiles load weights: of bfloat16, even columns first; zeros fill the last block."""
    tokens, columns = x.shape
    ordered = np.zeros((tokens, (columns + _BLOCK - 1) // _BLOCK * _BLOCK), x.dtype)
    by_turns = isinstance(weight[0, 0], np.uint16)
    for token in range(tokens):
        for first in range(0, columns, _BLOCK):
            for i in range(min(_BLOCK, columns - first)):
                to = i // 2 + i % 2 * LANES if by_turns else i
                ordered[token, first + to] = x[token, first + i]
    return ordered


@inner
def _few_tokens_rows(weight, x, y, start, stop, together, ahead):
    """Write y[:, start:stop]: rows of several long streams side by side, so that memory is kept busy."""
    tokens, stride = x.shape
    rows, columns = y.shape[1], weight.shape[1]
    whole = columns - columns % _BLOCK
    side = _ROWS_ALONE if tokens == 1 else _ROWS
    length = (stop - start) // side if together or tokens > 1 else 0  # rows of a stream
    step = length * columns
    for row in range(start, start + length):
        w, token, soon = row * columns, 0, ahead
        if tokens == 1:
            _dot_alone(weight, w, step, x, 0, 0, y, row, length, 0, whole, soon)
            token = 1
        while token + _TOKENS <= tokens:
            at, to = token * stride, token * rows + row
            _dot(weight, w, step, x, at, stride, y, to, length, rows, whole, soon)
            token, soon = token + _TOKENS, 0
        while token + 2 <= tokens:
            at, to = token * stride, token * rows + row
            _dot_2(weight, w, step, x, at, stride, y, to, length, rows, whole, soon)
            token, soon = token + 2, 0
        while token < tokens:
            at, to = token * stride, token * rows + row
            _dot_1(weight, w, step, x, at, 0, y, to, length, 0, whole, soon)
            token, soon = token + 1, 0
    for row in range(start + side * length, stop):
        for token in range(tokens):
            at, to = token * stride, token * rows + row
            _dot_1x1(weight, row * columns, 0, x, at, 0, y, to, 0, 0, whole, ahead)
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
            _dot_1x1(last, 0, 0, x, at, 0, y, to, 0, 0, _BLOCK, 0)


@parallel
def _many_tokens(weights, x, ys, threads, arranged, arranging):
    """Lay activations in the order of use; then multiply: in one loop, as each takes seconds to compile."""
    blocks = (len(x) + _OUTER_TOKENS - 1) // _OUTER_TOKENS
    for thread in prange(threads):
        if arranging:
            for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
                _arrange(x, block, blocks, arranged)
        else:
            for i in range(len(weights)):
                start, stop = share_of(thread, threads, len(weights[i]), _TALL)
                _many_tokens_rows(weights[i], arranged, ys[i], start, stop)


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
    """Write y[:, start:stop], rows whose weights are widened side by side at a time."""
    tokens, columns = len(y), weight.shape[1]
    blocks = (tokens + _OUTER_TOKENS - 1) // _OUTER_TOKENS
    widened = np.zeros((_MANY_COLUMNS, _TALL), arranged.dtype)
    sums = np.empty((blocks, _OUTER_TOKENS, _TALL), np.float32)
    for row in range(start, stop, _TALL):
        count = min(_TALL, stop - row)
        sums[:] = 0
        for first in range(0, columns, _MANY_COLUMNS):
            width = min(_MANY_COLUMNS, columns - first)
            _widen(weight, row, count, first, width, widened)
            for block in range(blocks):
                at = (first * blocks + block * width) * _OUTER_TOKENS
                _outer(widened, 0, arranged, at, sums, block * _OUTER_TOKENS * _TALL, width)
        for token in range(tokens):
            for i in range(count):
                y[token, row + i] = sums[token // _OUTER_TOKENS, token % _OUTER_TOKENS, i]


@inner
def _widen(weight, row, count, first, width, widened):
    """Lay `count` rows of some columns side by side as float32: widened[column, row]."""
    columns = weight.shape[1]
    whole = (width - width % LANES) if count == _TALL else 0
    for column in range(0, whole, LANES):
        for part in range(0, _TALL, LANES):
            source = (row + part) * columns + first + column
            vectors.transpose(weight, source, columns, widened, column * _TALL + part, _TALL)
    # What fills no square of LANES x LANES goes by way of one that is filled up with zeros.
    square = np.zeros((LANES, LANES), weight.dtype)
    for column in range(whole, width, LANES):
        for part in range(0, _TALL, LANES):
            square[:] = 0
            for i in range(min(LANES, count - part)):
                for j in range(min(LANES, width - column)):
                    square[i, j] = weight[row + part + i, first + column + j]
            vectors.transpose(square, 0, LANES, widened, column * _TALL + part, _TALL)


@parallel
def _packed(codes, scales, group, bits, x, ys, threads, together, ahead):
    tokens, groups = len(x), scales[0].shape[1]
    x_codes = np.empty((tokens, groups * group), np.int8)
    x_scales = np.empty((tokens, groups), np.float32)
    x_sums = np.empty((tokens, groups), np.int32)
    if tokens < _PARALLEL_ROUNDING:  # takes less time than to call the other threads
        for token in range(tokens):
            _round_token(x, token, group, x_codes, x_scales, x_sums)
    else:
        for token in prange(tokens):
            _round_token(x, token, group, x_codes, x_scales, x_sums)
    for thread in prange(threads):
        for i in range(len(codes)):
            start, stop = share_of(thread, threads, len(codes[i]), 1)
            _panels(
                codes[i], scales[i], group, 32 // bits, x_codes, x_scales, x_sums, ys[i], start, stop,
                together, ahead,
            )  # fmt: skip


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
def _panels(codes, scales, group, columns, x, x_scales, x_sums, y, start, stop, together, ahead):
    """Write the rows of these panels, whose chunks have so many columns: four tokens at a time, or one."""
    (tokens, stride), groups = x.shape, scales.shape[1]
    chunks, per_group, last = codes.shape[1], group // columns, stop - 1
    sums = np.empty(_TOKENS * max(_PANELS_1, _PANELS_4) * PANEL, np.float32)
    side = _PANELS_1 if together else 1
    if tokens >= _TOKENS:
        side = _PANELS_4
    length = (stop - start + side - 1) // side  # panels of a stream
    for panel in range(start, start + length):
        token = 0
        while token < tokens:
            at, g, soon, count = token * stride, token * groups, 0 if token else ahead, 1
            if token + _TOKENS <= tokens:
                count = _TOKENS
                _packed_4(
                    codes, scales, panel, length, last, chunks, per_group, groups,
                    x, at, stride, x_scales, x_sums, g, sums, soon,
                )  # fmt: skip
            elif side > 1:
                _packed_1(
                    codes, scales, panel, length, last, chunks, per_group, groups,
                    x, at, stride, x_scales, x_sums, g, sums, soon,
                )  # fmt: skip
            else:
                _packed_alone(
                    codes, scales, panel, length, last, chunks, per_group, groups,
                    x, at, stride, x_scales, x_sums, g, sums, soon,
                )  # fmt: skip
            for i in range(count):
                for stream in range(side):
                    taken = min(panel + stream * length, last)
                    for row in range(min(PANEL, y.shape[1] - taken * PANEL)):
                        y[token + i, taken * PANEL + row] = sums[(i * side + stream) * PANEL + row]
            token += count
