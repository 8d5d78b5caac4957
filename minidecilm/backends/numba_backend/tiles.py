"""Register tiles: the innermost loops of matrix products, with all their sums held in registers.

How many sums fit depends on the CPU's registers, so the tiles are made here for any size, by writing LLVM
code in a Python loop: a tile of 3 weight rows x 4 tokens is the same few lines as one of 4 x 1. Each function
``..._tile`` makes one; the kernels of :mod:`.linear` and :mod:`.attention` call them. As in :mod:`.vectors`,
offsets count elements and nothing is checked.
"""

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidecilm.backends.numba_backend import dots, vectors
from minidecilm.backends.numba_backend.registers import FLOATS, INTS, LANES, VNNI
from minidecilm.weights.packed import PANEL

PARTS = PANEL // LANES  # registers that hold a number for each row of a panel

_INDEX = ir.IntType(64)


class Writer:
    """Writes LLVM code: calls the intrinsics of :mod:`.vectors` and knows the arrays by name."""

    def __init__(self, context: Any, builder: Any, signature: Any, names: str, arguments: Any) -> None:
        self.context, self.builder = context, builder
        self.types = dict(zip(names.split(), signature.args, strict=True))
        self.values = dict(zip(names.split(), arguments, strict=True))

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def at(self, *terms: Any) -> Any:
        """Sum of offsets, each a number, a value, or a pair to be multiplied."""
        total = _INDEX(0)
        for term in terms:
            factors = term if isinstance(term, tuple) else (term,)
            product = _INDEX(1)
            for factor in factors:
                product = self.builder.mul(product, _INDEX(factor) if isinstance(factor, int) else factor)
            total = self.builder.add(total, product)
        return total

    def call(self, function: Any, *arguments: Any) -> Any:
        """Call an intrinsic on values (pairs of type and value) and named arrays."""
        kinds, values = [], []
        for argument in arguments:
            if isinstance(argument, str):
                kinds.append(self.types[argument])
                values.append(self.values[argument])
            elif isinstance(argument, _Value):
                kinds.append(argument.kind)
                values.append(argument.value)
            else:
                kinds.append(types.intp)
                values.append(argument)
        signature, generate = function._defn(None, *kinds)
        return _Value(signature.return_type, generate(self.context, self.builder, signature, values))

    def sums(self, count: int, kind: Any, start: Any = None) -> list["Sum"]:
        """Make sums that live in registers; they begin at zero or at `start`."""
        zero = vectors.zeros if kind == FLOATS else dots.zero_ints
        return [Sum(self, start or self.call(zero)) for _ in range(count)]

    def load_sums(self, array: str, count: int, at: Any = 0) -> list["Sum"]:
        """Make sums that begin at what lies side by side in an array."""
        return [Sum(self, self.call(vectors.load, array, self.at(at, i * LANES))) for i in range(count)]

    def store(self, array: str, values: Iterable["_Value"], at: Any = 0) -> None:
        """Write vectors side by side to an array."""
        for number, value in enumerate(values):
            self.call(vectors.store, array, self.at(at, number * LANES), value)

    def smaller(self, a: Any, b: Any) -> Any:
        """Smaller of two offsets."""
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def loop(self, count: Any, step: int = 1) -> Any:
        """Run the body for 0, step, 2 * step, ... below `count`; yields (index, number)."""
        return cgutils.for_range_slice(self.builder, _INDEX(0), count, _INDEX(step), _INDEX)


class _Value:
    def __init__(self, kind: Any, value: Any) -> None:
        self.kind, self.value = kind, value


class Sum:
    """A variable. LLVM keeps it in a register where one is free."""

    def __init__(self, writer: Writer, start: _Value) -> None:
        self.writer, self.kind = writer, start.kind
        self.place = cgutils.alloca_once(writer.builder, start.value.type)
        self.set(start)

    def get(self) -> _Value:
        """Read it."""
        return _Value(self.kind, self.writer.builder.load(self.place))

    def set(self, value: _Value) -> None:
        """Write it."""
        self.writer.builder.store(value.value, self.place)


def tile(names: str, write: Any) -> Any:
    """Make an intrinsic without result of a function that writes its code."""
    count = len(names.split())

    def typed(typing: Any, *arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            [packed] = values
            values = cgutils.unpack_tuple(builder, packed, count)
            write(Writer(context, builder, types.void(*arguments), names, values))
            return context.get_dummy_value()

        return types.void(types.StarArgTuple(arguments)), generate

    return intrinsic(typed)


def _multiply_add(code: Writer) -> Any:
    """Operation that adds products of `weights` to a sum: of two bfloat16 in a lane, or of a float32."""
    return dots.dot_bfloat16 if code.types["weights"].dtype == types.uint32 else vectors.fma


def dot_tile(rows: int, tokens: int) -> Any:
    """Make ``tile(weights, w, w_stride, x, x_offset, x_stride, y, y_offset, y_row, y_stride, count, ahead)``.

    Adds to y[token, row] the dot product of `rows` weight rows with `tokens` tokens over `count` columns, a
    multiple of 2 * LANES; rows of the weight lie `w_stride` apart, their results `y_row`. Columns lie in
    lanes, in the order of ``vectors.load_first`` and ``load_second``, which `x` has to follow. The line
    `ahead` elements further on is asked for.
    """

    def write(code: Writer) -> None:
        multiply_add = _multiply_add(code)
        sums = code.sums(rows * tokens, FLOATS)
        with code.loop(code["count"], 2 * LANES) as (column, _):
            places = [code.at(code["w"], (row, code["w_stride"]), column) for row in range(rows)]
            for place in places:
                code.call(vectors.prefetch, "weights", code.at(place, code["ahead"]))
            for half, load in enumerate((vectors.load_first, vectors.load_second)):
                loaded = [code.call(load, "weights", place) for place in places]
                for token in range(tokens):
                    at = code.at(code["x_offset"], (token, code["x_stride"]), column, half * LANES)
                    x = code.call(vectors.load, "x", at)
                    for row in range(rows):
                        total = sums[row * tokens + token]
                        total.set(code.call(multiply_add, loaded[row], x, total.get()))
        for row in range(rows):
            for token in range(tokens):
                at = code.at(code["y_offset"], (token, code["y_stride"]), (row, code["y_row"]))
                total = code.call(vectors.sum_lanes, sums[row * tokens + token].get())
                code.call(vectors.add_to, "y", at, total)

    return tile("weights w w_stride x x_offset x_stride y y_offset y_row y_stride count ahead", write)


def outer_tile(tokens: int, parts: int) -> Any:
    """Make ``tile(weights, w, x, x_offset, sums, s, count)``.

    Adds to sums[token, row] the products over `count` columns. Rows lie in lanes: `weights` holds `parts`
    registers of rows for every column, `x` the `tokens` values of every column side by side.
    """

    def write(code: Writer) -> None:
        multiply_add = _multiply_add(code)
        totals = code.load_sums("sums", tokens * parts, code["s"])
        with code.loop(code["count"]) as (column, _):
            loaded = [
                code.call(vectors.load, "weights", code.at(code["w"], (column, parts * LANES), part * LANES))
                for part in range(parts)
            ]
            for token in range(tokens):
                x = code.call(vectors.broadcast, "x", code.at(code["x_offset"], (column, tokens), token))
                for part in range(parts):
                    total = totals[token * parts + part]
                    total.set(code.call(multiply_add, loaded[part], x, total.get()))
        code.store("sums", [total.get() for total in totals], code["s"])

    return tile("weights w x x_offset sums s count", write)


def add_tile(rows: int, parts: int) -> Any:
    """Make ``tile(c, c_at, c_step, a, a_at, a_step, b, b_at, b_step, depth, ahead, ahead_at, ahead_step)``.

    Adds to a tile of `rows` by `parts` registers of c the product of (rows, depth) of a with (depth, parts
    registers) of b; meanwhile asks for a line of `ahead` for each of `depth`. Each matrix is an array, the
    offset where it begins, and the distance between its rows.
    """

    def write(code: Writer) -> None:
        within = [(row, part * LANES) for row in range(rows) for part in range(parts)]
        places = [code.at(code["c_at"], (row, code["c_step"]), column) for row, column in within]
        totals = [Sum(code, code.call(vectors.load, "c", place)) for place in places]
        with code.loop(code["depth"]) as (i, _):
            code.call(vectors.prefetch, "ahead", code.at(code["ahead_at"], (i, code["ahead_step"])))
            b_at = code.at(code["b_at"], (i, code["b_step"]))
            loaded = [code.call(vectors.load, "b", code.at(b_at, part * LANES)) for part in range(parts)]
            for row in range(rows):
                x = code.call(vectors.broadcast, "a", code.at(code["a_at"], (row, code["a_step"]), i))
                for part in range(parts):
                    total = totals[row * parts + part]
                    total.set(code.call(vectors.fma, x, loaded[part], total.get()))
        for place, total in zip(places, totals, strict=True):
            code.call(vectors.store, "c", place, total.get())

    return tile("c c_at c_step a a_at a_step b b_at b_step depth ahead ahead_at ahead_step", write)


def packed_tile(tokens: int, panels: int) -> Any:
    """Make ``tile(codes, scales, first, step, last, chunks, per_group, groups, x, ..., sums, ahead)``.

    Writes to sums[token, panel, row] the products of the rows of `panels` panels with `tokens` tokens. The
    panels are `step` apart from `first` on; in place of one beyond `last`, that one is taken again. `codes`
    is int8, or uint8 with two codes of 4 bits in a byte; a chunk has 4 or 8 columns, and every group of
    columns but the last has `per_group` chunks. `x` holds int8 activations; `x_scales` and `x_sums` have one
    scale and one sum for every group of the tokens, whose rows lie `groups` apart and begin at `g`. The line
    of codes `ahead` bytes further on is asked for.
    """

    def write(code: Writer) -> None:
        eight_bits = code.types["codes"].dtype == types.int8
        add_group = _add_int8 if eight_bits else _add_int4
        begin = dots.int8_start if eight_bits else dots.uint4_start
        taken = [
            code.smaller(code.at(code["first"], (panel, code["step"])), code["last"])
            for panel in range(panels)
        ]
        codes = [code.at((panel, code["chunks"], 4 * PANEL)) for panel in taken]
        parts = [(panel, part * LANES) for panel in range(panels) for part in range(PARTS)]
        sums = code.sums(tokens * len(parts), FLOATS)
        with code.loop(code["groups"]) as (group, _):
            first = code.at((group, code["per_group"]))
            count = code.smaller(code["per_group"], code.builder.sub(code["chunks"], first))
            g_at = [code.at(code["g"], (token, code["groups"]), group) for token in range(tokens)]
            totals = [
                total for at in g_at for total in code.sums(len(parts), INTS, code.call(begin, "x_sums", at))
            ]
            add_group(code, codes, totals, tokens, first, count)
            scales = [
                code.call(
                    vectors.load,
                    "scales",
                    code.at((code.at((taken[panel], code["groups"]), group), PANEL), row),
                )
                for panel, row in parts
            ]
            for token, at in enumerate(g_at):
                x_scale = code.call(vectors.broadcast, "x_scales", at)
                for number, scale in enumerate(scales, token * len(parts)):
                    total = code.call(dots.to_floats, totals[number].get())
                    scale = code.call(vectors.multiply, scale, x_scale)
                    sums[number].set(code.call(vectors.fma, total, scale, sums[number].get()))
        code.store("sums", [total.get() for total in sums])

    weights, activations = "codes scales first step last chunks per_group groups", "x x_offset x_stride"
    return tile(f"{weights} {activations} x_scales x_sums g sums ahead", write)


def _load_chunk(code: Writer, panels: list[Any], chunk: Any) -> list[_Value]:
    """Codes of a chunk of columns, one register for each part of each panel."""
    loaded = []
    for panel in panels:
        at = code.at(panel, (chunk, 4 * PANEL))
        code.call(vectors.prefetch, "codes", code.at(at, code["ahead"]))
        loaded += [
            code.call(dots.load_bytes, "codes", code.at(at, part * 4 * LANES)) for part in range(PARTS)
        ]
    return loaded


def _add_dots(
    code: Writer, dot: Any, totals: list[Sum], weights: list[_Value], tokens: int, *at: Any
) -> None:
    """Add the products of some weights with four activations of every token."""
    for token in range(tokens):
        x = code.call(dots.broadcast_bytes, "x", code.at(code["x_offset"], (token, code["x_stride"]), *at))
        own = totals[token * len(weights) : (token + 1) * len(weights)]
        for total, weight in zip(own, weights, strict=True):
            total.set(code.call(dot, total.get(), weight, x))


def _add_int8(
    code: Writer, panels: list[Any], totals: list[Sum], tokens: int, first: Any, count: Any
) -> None:
    """Add the products of `count` chunks of int8 codes to totals[token, panel, part]."""
    with code.loop(count) as (number, _):
        chunk = code.at(first, number)
        _add_dots(code, dots.dot_int8, totals, _load_chunk(code, panels, chunk), tokens, (chunk, 4))


def _add_int4(
    code: Writer, panels: list[Any], totals: list[Sum], tokens: int, first: Any, count: Any
) -> None:
    """Add the products of `count` chunks of 4-bit codes, where 16 bits gather them, as many as these hold."""

    def add_chunk(chunk: Any, totals: list[Sum]) -> None:
        pairs = _load_chunk(code, panels, chunk)
        for half, nibbles in enumerate((dots.low_nibbles, dots.high_nibbles)):
            weights = [code.call(nibbles, pair) for pair in pairs]
            _add_dots(code, dots.dot_uint4, totals, weights, tokens, (chunk, 8), 4 * half)

    if VNNI:
        with code.loop(count) as (number, _):
            add_chunk(code.at(first, number), totals)
        return

    def gather(start: Any, width: int) -> None:
        gathered = code.sums(len(totals), INTS)
        for number in range(width):
            add_chunk(code.at(first, start, number), gathered)
        for total, part_sum in zip(totals, gathered, strict=True):
            total.set(code.call(dots.sum_uint4, total.get(), part_sum.get()))

    together = dots.UINT4_DOTS // 2
    whole = code.builder.and_(count, _INDEX(-together))
    with code.loop(whole, together) as (start, _):
        gather(start, together)
    with code.loop(code.builder.sub(count, whole)) as (rest, _):
        gather(code.at(whole, rest), 1)
