"""Explicit vectors for Numba kernels: a register of LANES float32 or int32 values, and what is done to it.

LLVM vectorises plain loops, but not well enough where the weights of a model stream through: these functions
say what a register holds. Most are LLVM's own vector operations, which every CPU has. The integer dot
products are the CPU's: AVX2, or AVX-512 VNNI. They are the reason that :data:`USABLE` asks for AVX2; the
portable kernels do without this module.

An offset into an array counts its elements from the first one. Nothing is checked: the kernels are called by
functions that know the sizes. ``float32`` arrays, and ``uint16`` arrays that hold the bits of bfloat16, are
loaded by the same ``load``.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

# Numba's own description of the CPU it compiles for: part of the key under which it caches compiled code, so
# what follows from it can be a constant of that code.
FEATURES = frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))
VNNI = {"+avx512f", "+avx512bw", "+avx512vnni"} <= FEATURES
#: Whether this CPU has what the explicit kernels need.
USABLE = {"+avx2", "+fma"} <= FEATURES
LANES = 16 if VNNI else 8

_FLOAT, _INT, _BYTE, _SHORT = ir.FloatType(), ir.IntType(32), ir.IntType(8), ir.IntType(16)
_FLOATS, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)
_BYTES, _SHORTS = ir.VectorType(_BYTE, 4 * LANES), ir.VectorType(_SHORT, 2 * LANES)


class Floats(types.Type):
    """LANES float32 values."""


class Ints(types.Type):
    """LANES int32 values, or 4 * LANES bytes."""


FLOATS, INTS = Floats(f"float32x{LANES}"), Ints(f"int32x{LANES}")


@register_model(Floats)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: types.Type) -> None:
        super().__init__(manager, kind, _FLOATS)


@register_model(Ints)
class _IntsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: types.Type) -> None:
        super().__init__(manager, kind, _INTS)


def _pointer(context: Any, builder: Any, array: types.Array, value: Any, offset: Any, *, to: Any) -> Any:
    """Pointer to what `to` describes, at an element of an array."""
    data = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [offset]), to.as_pointer())


def _constant(value: float, kind: Any = _FLOATS) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _lanes(numbers: list[int]) -> Any:
    """Lanes to take, for a shuffle of two vectors."""
    return ir.Constant(ir.VectorType(_INT, len(numbers)), numbers)


def _splat(builder: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(ir.VectorType(scalar.type, 1), ir.Undefined), scalar, _INT(0))
    return builder.shuffle_vector(one, one, _lanes([0] * LANES))


def _load(context: Any, builder: Any, array: types.Array, value: Any, offset: Any) -> Any:
    """LANES elements as float32, whatever they are stored as."""
    if array.dtype == types.float32:
        return builder.load(_pointer(context, builder, array, value, offset, to=_FLOATS), align=1)
    halves = ir.VectorType(_SHORT, LANES)
    bits = builder.load(_pointer(context, builder, array, value, offset, to=halves), align=1)
    # bfloat16 is the upper half of a float32.
    wide = builder.shl(builder.zext(bits, _INTS), _constant(16, _INTS))
    return builder.bitcast(wide, _FLOATS)


def _call(builder: Any, name: str, result: Any, *arguments: Any, fastmath: Any = ()) -> Any:
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, arguments, fastmath=fastmath)


def _of_floats(name: str) -> str:
    return f"llvm.{name}.v{LANES}f32"


@intrinsic
def zeros(typing: Any) -> Any:
    """All lanes 0.0."""
    return FLOATS(), lambda context, builder, signature, arguments: _constant(0.0)


@intrinsic
def zero_ints(typing: Any) -> Any:
    """All lanes 0."""
    return INTS(), lambda context, builder, signature, arguments: _constant(0, _INTS)


@intrinsic
def load(typing: Any, array: Any, offset: Any) -> Any:
    """LANES values from `offset` on, of a float32 array or of a uint16 array of bfloat16 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(context, builder, array, *arguments)

    if array.dtype in (types.float32, types.uint16):
        return FLOATS(array, types.intp), generate
    return None


def _load_half(second: bool) -> Any:
    def typed(typing: Any, array: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            where, at = arguments
            if array.dtype == types.float32:
                at = builder.add(at, at.type(LANES * second))
                return builder.load(_pointer(context, builder, array, where, at, to=_FLOATS), align=1)
            # Two bfloat16 in an int: the upper one is a float32 once the lower bits are cleared.
            pairs = builder.load(_pointer(context, builder, array, where, at, to=_INTS), align=1)
            if second:
                return builder.bitcast(builder.and_(pairs, _constant(-65536, _INTS)), _FLOATS)
            return builder.bitcast(builder.shl(pairs, _constant(16, _INTS)), _FLOATS)

        if array.dtype in (types.float32, types.uint16):
            return FLOATS(array, types.intp), generate
        return None

    return intrinsic(typed)


#: ``load_first(array, offset)`` and ``load_second(array, offset)`` load 2 * LANES values between them, with
#: less work for bfloat16 than ``load``: the even and the odd ones; of float32, the first and second half.
load_first, load_second = _load_half(False), _load_half(True)


@intrinsic
def value(typing: Any, array: Any, offset: Any) -> Any:
    """One element as float32, of the arrays that ``load`` takes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if array.dtype == types.float32:
            return builder.load(_pointer(context, builder, array, *arguments, to=_FLOAT))
        bits = builder.zext(builder.load(_pointer(context, builder, array, *arguments, to=_SHORT)), _INT)
        return builder.bitcast(builder.shl(bits, _INT(16)), _FLOAT)

    if array.dtype in (types.float32, types.uint16):
        return types.float32(array, types.intp), generate
    return None


@intrinsic
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write the lanes to a float32 array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where, at, what = arguments
        builder.store(what, _pointer(context, builder, array, where, at, to=_FLOATS), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, FLOATS), generate


@intrinsic
def transpose(typing: Any, source: Any, at: Any, step: Any, target: Any, to: Any, to_step: Any) -> Any:
    """Copy a block of LANES by LANES elements transposed; its rows lie `step` and `to_step` apart."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        origin, at, step, goal, to, to_step = arguments
        rows = []
        for i in range(LANES):
            offset = builder.add(at, builder.mul(step, ir.Constant(step.type, i)))
            rows.append(_load(context, builder, source, origin, offset))
        distance = 1
        while distance < LANES:  # swap the off-diagonal quarters of every square of twice the distance
            for i in range(LANES):
                if not i & distance:
                    a, b = rows[i], rows[i + distance]
                    upper = [
                        lane if not lane & distance else LANES + lane - distance for lane in range(LANES)
                    ]
                    lower = [
                        lane + distance if not lane & distance else LANES + lane for lane in range(LANES)
                    ]
                    rows[i] = builder.shuffle_vector(a, b, _lanes(upper))
                    rows[i + distance] = builder.shuffle_vector(a, b, _lanes(lower))
            distance *= 2
        for i, row in enumerate(rows):
            offset = builder.add(to, builder.mul(to_step, ir.Constant(step.type, i)))
            builder.store(row, _pointer(context, builder, target, goal, offset, to=_FLOATS), align=1)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate


@intrinsic
def broadcast(typing: Any, array: Any, offset: Any) -> Any:
    """One float32 of an array in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, array, *arguments, to=_FLOAT)
        return _splat(builder, builder.load(pointer, align=4))

    return FLOATS(array, types.intp), generate


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """One number in all lanes."""
    return FLOATS(types.float32), lambda context, builder, signature, arguments: _splat(builder, arguments[0])


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Compute ``a * b + c``, rounded once."""
    return FLOATS(FLOATS, FLOATS, FLOATS), lambda context, builder, signature, arguments: _call(
        builder, _of_floats("fma"), _FLOATS, *arguments
    )


@intrinsic
def add(typing: Any, a: Any, b: Any) -> Any:
    """Add ``a + b``."""
    return FLOATS(FLOATS, FLOATS), lambda context, builder, signature, arguments: builder.fadd(*arguments)


@intrinsic
def multiply(typing: Any, a: Any, b: Any) -> Any:
    """Multiply ``a * b``."""
    return FLOATS(FLOATS, FLOATS), lambda context, builder, signature, arguments: builder.fmul(*arguments)


@intrinsic
def divide(typing: Any, a: Any, b: Any) -> Any:
    """Divide ``a / b``."""
    return FLOATS(FLOATS, FLOATS), lambda context, builder, signature, arguments: builder.fdiv(*arguments)


@intrinsic
def negative(typing: Any, a: Any) -> Any:
    """Negate ``a``."""
    return FLOATS(FLOATS), lambda context, builder, signature, arguments: builder.fneg(arguments[0])


@intrinsic
def where_positive(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """Take ``a`` in the lanes where `condition` is at least 0, else ``b``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        condition, a, b = arguments
        return builder.select(builder.fcmp_ordered(">=", condition, _constant(0.0)), a, b)

    return FLOATS(FLOATS, FLOATS, FLOATS), generate


@intrinsic
def larger(typing: Any, a: Any, b: Any) -> Any:
    """Take ``a`` where it is larger than ``b``, else ``b``: a NaN in `a` is passed over."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, second = arguments
        return builder.select(builder.fcmp_ordered(">", first, second), first, second)

    return FLOATS(FLOATS, FLOATS), generate


@intrinsic
def absolute(typing: Any, a: Any) -> Any:
    """``abs(a)``."""
    return FLOATS(FLOATS), lambda context, builder, signature, arguments: _call(
        builder, _of_floats("fabs"), _FLOATS, *arguments
    )


@intrinsic
def nearest(typing: Any, a: Any) -> Any:
    """Nearest integer, halves to the even one."""
    return FLOATS(FLOATS), lambda context, builder, signature, arguments: _call(
        builder, _of_floats("rint"), _FLOATS, *arguments
    )


@intrinsic
def store_int8(typing: Any, array: Any, offset: Any, a: Any) -> Any:
    """Write integers within -127 .. 127 to an int8 array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where, at, value = arguments
        narrow = ir.VectorType(_BYTE, LANES)
        value = builder.trunc(builder.fptosi(value, _INTS), narrow)
        builder.store(value, _pointer(context, builder, array, where, at, to=narrow), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, FLOATS), generate


@intrinsic
def sum_lanes(typing: Any, a: Any) -> Any:
    """Sum of all lanes, in an order of LLVM's choice."""
    return types.float32(FLOATS), lambda context, builder, signature, arguments: _call(
        builder, _of_floats("vector.reduce.fadd"), _FLOAT, _FLOAT(0.0), arguments[0], fastmath=("reassoc",)
    )


@intrinsic
def store_sums(typing: Any, array: Any, offset: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Write the sums of the lanes of four vectors next to each other: fewer steps than four sums."""

    def add_neighbours(builder: Any, a: Any, b: Any) -> Any:
        """Of every four lanes: a0 + a1, a2 + a3, b0 + b1, b2 + b3."""
        fours = range(0, LANES, 4)
        first = _lanes([lane for i in fours for lane in (i, i + 2, LANES + i, LANES + i + 2)])
        second = _lanes([lane for i in fours for lane in (i + 1, i + 3, LANES + i + 1, LANES + i + 3)])
        return builder.fadd(builder.shuffle_vector(a, b, first), builder.shuffle_vector(a, b, second))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where, at, a, b, c, d = arguments
        total = add_neighbours(builder, add_neighbours(builder, a, b), add_neighbours(builder, c, d))
        while total.type.count > 4:
            half = total.type.count // 2
            low, high = _lanes(list(range(half))), _lanes(list(range(half, 2 * half)))
            total = builder.fadd(
                builder.shuffle_vector(total, total, low), builder.shuffle_vector(total, total, high)
            )
        builder.store(total, _pointer(context, builder, array, where, at, to=total.type), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, FLOATS, FLOATS, FLOATS, FLOATS), generate


@intrinsic
def max_lanes(typing: Any, a: Any) -> Any:
    """Largest lane; NaN is passed over."""
    return types.float32(FLOATS), lambda context, builder, signature, arguments: _call(
        builder, _of_floats("vector.reduce.fmax"), _FLOAT, arguments[0]
    )


# exp(x) = 2**n * exp(r) with n = round(x / ln 2). r lies within half of ln 2. There this polynomial is right
# to 4e-9 (Taylor's of that degree: to 1.2e-7), so an error is nearly all rounding, and stays below 2e-7. ln 2
# is subtracted in two parts, the first of few bits, so that nothing is lost.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_EXP_TERMS = (1.381454e-3, 8.368745e-3, 4.166839e-2, 0.1666652, 0.49999993, 1.0, 1.0)


@intrinsic
def exp(typing: Any, x: Any) -> Any:
    """``e**x`` for x up to 0; NaN stays NaN, and what is below -87 becomes 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        [x] = arguments
        lowest = _constant(-87.0)
        vanishing = builder.fcmp_ordered("<", x, lowest)
        x = builder.select(vanishing, lowest, x)
        n = _call(builder, _of_floats("rint"), _FLOATS, builder.fmul(x, _constant(1.4426950408889634)))
        r = _call(builder, _of_floats("fma"), _FLOATS, n, _constant(-_LN2_HIGH), x)
        r = _call(builder, _of_floats("fma"), _FLOATS, n, _constant(-_LN2_LOW), r)
        result = _constant(_EXP_TERMS[0])
        for term in _EXP_TERMS[1:]:
            result = _call(builder, _of_floats("fma"), _FLOATS, result, r, _constant(term))
        exponent = builder.add(builder.fptosi(n, _INTS), _constant(127, _INTS))
        power = builder.bitcast(builder.shl(exponent, _constant(23, _INTS)), _FLOATS)
        return builder.select(vanishing, _constant(0.0), builder.fmul(result, power))

    return FLOATS(FLOATS), generate


@intrinsic
def prefetch(typing: Any, array: Any, offset: Any) -> Any:
    """Ask for the cache line of an element; any offset will do, also one beyond the array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, array, *arguments, to=_BYTE)
        read, keep, data = _INT(0), _INT(3), _INT(1)
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), pointer, read, keep, data)
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def load_bytes(typing: Any, array: Any, offset: Any) -> Any:
    """4 * LANES bytes from `offset` on, of an int8 or uint8 array."""
    return INTS(array, types.intp), lambda context, builder, signature, arguments: builder.load(
        _pointer(context, builder, array, *arguments, to=_INTS), align=1
    )


@intrinsic
def broadcast_bytes(typing: Any, array: Any, offset: Any) -> Any:
    """Repeat four bytes of an int8 array in every group of four."""
    return INTS(array, types.intp), lambda context, builder, signature, arguments: _splat(
        builder, builder.load(_pointer(context, builder, array, *arguments, to=_INT), align=1)
    )


@intrinsic
def to_floats(typing: Any, a: Any) -> Any:
    """Int32 lanes as float32."""
    return FLOATS(INTS), lambda context, builder, signature, arguments: builder.sitofp(arguments[0], _FLOATS)


@intrinsic
def low_nibbles(typing: Any, a: Any) -> Any:
    """Lower four bits of every byte."""
    return INTS(INTS), lambda context, builder, signature, arguments: builder.and_(
        arguments[0], _constant(0x0F0F0F0F, _INTS)
    )


@intrinsic
def high_nibbles(typing: Any, a: Any) -> Any:
    """Upper four bits of every byte."""
    return INTS(INTS), lambda context, builder, signature, arguments: builder.and_(
        builder.lshr(arguments[0], _constant(4, _INTS)), _constant(0x0F0F0F0F, _INTS)
    )


def _vnni(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """Add four products of an unsigned and a signed byte to every int32 lane."""
    return _call(builder, "llvm.x86.avx512.vpdpbusd.512", _INTS, total, unsigned, signed)


def _avx2(builder: Any, name: str, result: Any, a: Any, b: Any) -> Any:
    return _call(builder, f"llvm.x86.avx2.{name}", result, a, b)


@intrinsic
def dot_int8(typing: Any, total: Any, weights: Any, x: Any) -> Any:
    """Add to every lane of `total` the dot product of its four int8 weights and four int8 activations.

    Activations lie within -127 .. 127. With VNNI a lane of `total` has to begin at :func:`int8_start`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, weights, x = arguments
        if VNNI:  # takes one side unsigned: 128 is added to the weights here and taken off in int8_start
            shifted = builder.xor(weights, _constant(0x80808080 - (1 << 32), _INTS))
            return _vnni(builder, total, shifted, x)
        # Takes one side unsigned too, and adds pairs in 16 bits: 2 * 128 * 127 fits, 2 * 255 * 127 would not.
        # So the sign of a weight is given to its activation.
        weights, x = builder.bitcast(weights, _BYTES), builder.bitcast(x, _BYTES)
        signed = _avx2(builder, "psign.b", _BYTES, x, weights)
        unsigned = _call(builder, f"llvm.abs.v{4 * LANES}i8", _BYTES, weights, ir.IntType(1)(0))
        pairs = _avx2(builder, "pmadd.ub.sw", _SHORTS, unsigned, signed)
        quads = _avx2(builder, "pmadd.wd", _INTS, pairs, _constant(1, _SHORTS))
        return builder.add(total, quads)

    return INTS(INTS, INTS, INTS), generate


def _start(builder: Any, context: Any, array: Any, arguments: Any, factor: int) -> Any:
    x_sum = builder.load(_pointer(context, builder, array, *arguments, to=_INT), align=4)
    return _splat(builder, builder.mul(x_sum, _INT(factor)))


@intrinsic
def int8_start(typing: Any, x_sums: Any, offset: Any) -> Any:
    """Where a sum of :func:`dot_int8` begins, given the sum of all its activations in an int32 array."""
    return (
        INTS(x_sums, types.intp),
        lambda context, builder, signature, arguments: (
            _start(builder, context, x_sums, arguments, -128) if VNNI else _constant(0, _INTS)
        ),
    )


@intrinsic
def uint4_start(typing: Any, x_sums: Any, offset: Any) -> Any:
    """Where the sum of weights stored 8 too large begins, given the sum of all its activations."""
    return INTS(x_sums, types.intp), lambda context, builder, signature, arguments: _start(
        builder, context, x_sums, arguments, -8
    )


@intrinsic
def dot_uint4(typing: Any, total: Any, weights: Any, x: Any) -> Any:
    """Add to `total` the dot products of weights within 0 .. 15 and int8 activations.

    At most :data:`UINT4_DOTS` times from zeros on; then :func:`sum_uint4` gives the int32 lanes.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, weights, x = arguments
        if VNNI:
            return _vnni(builder, total, weights, x)
        weights, x, total = (
            builder.bitcast(value, kind) for value, kind in ((weights, _BYTES), (x, _BYTES), (total, _SHORTS))
        )
        pairs = _avx2(builder, "pmadd.ub.sw", _SHORTS, weights, x)
        return builder.bitcast(builder.add(total, pairs), _INTS)

    return INTS(INTS, INTS, INTS), generate


#: In 16 bits, sums of pairs have room for this many: 8 * 2 * 15 * 127 < 2**15.
UINT4_DOTS = 8


@intrinsic
def sum_uint4(typing: Any, total: Any, part: Any) -> Any:
    """Add what :func:`dot_uint4` has gathered in `part` to the int32 lanes of `total`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, part = arguments
        if not VNNI:
            part = builder.bitcast(part, _SHORTS)
            part = _avx2(builder, "pmadd.wd", _INTS, part, _constant(1, _SHORTS))
        return builder.add(total, part)

    return INTS(INTS, INTS), generate
