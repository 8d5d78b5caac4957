"""Explicit vectors for Numba kernels: a register of LANES float32 or int32 values, and what is done to it.

LLVM vectorises plain loops, but not well enough where the weights of a model stream through: these functions
say what a register holds. Most are LLVM's own vector operations, which every CPU has. The integer dot
products are the CPU's: AVX2, or AVX-512 VNNI. They are the reason that ``registers.USABLE`` asks for AVX2;
the portable kernels do without this module.

An offset into an array counts its elements from the first one. Nothing is checked: the kernels are called by
functions that know the sizes.

What is loaded becomes float32 in the register, whatever it is stored as; :mod:`.storage` says what kernels
see that as.
"""

from typing import Any

from llvmlite import ir
from numba import types

from minidecilm.backends.numba_backend.registers import (
    BYTE,
    FEATURES,
    FLOAT,
    FLOAT_LANES,
    FLOATS,
    INT,
    INT_LANES,
    INTS,
    LANES,
    VNNI,
    ArrayCode,
    call,
    operation,
)

#: Types of the arrays that ``load`` and its like take.
STORED = (types.float32, types.float64, types.uint16, types.int16)
_CODES = (types.int8, types.uint8)

_BYTES, _SHORTS = ir.VectorType(BYTE, 4 * LANES), ir.VectorType(ir.IntType(16), 2 * LANES)


def _constant(value: float, kind: Any = FLOAT_LANES) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _lanes(numbers: list[int]) -> Any:
    """Lanes to take, for a shuffle of two vectors."""
    return ir.Constant(ir.VectorType(INT, len(numbers)), numbers)


def _splat(builder: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(ir.VectorType(scalar.type, 1), ir.Undefined), scalar, INT(0))
    return builder.shuffle_vector(one, one, _lanes([0] * LANES))


def _upper_halves(builder: Any, bits: Any) -> Any:
    """Float32 values of bfloat16 ones in the lower halves of int32 lanes: they are the upper halves."""
    floats = ir.VectorType(FLOAT, bits.type.count)
    return builder.bitcast(builder.shl(bits, _constant(16, bits.type)), floats)


def _load(array: ArrayCode, offset: Any, lanes: int = LANES) -> Any:
    """Load `lanes` elements as float32, whatever they are stored as."""
    bits = array.load(offset, ir.VectorType(array.element, lanes))
    return _widen(array.builder, array.dtype, bits)


def _widen(builder: Any, stored: types.Type, bits: Any) -> Any:
    """Make float32 of what was loaded from an array of a type of STORED."""
    if stored == types.float32:
        return bits
    lanes = bits.type.count
    floats, ints = ir.VectorType(FLOAT, lanes), ir.VectorType(INT, lanes)
    if stored == types.float64:
        return builder.fptrunc(bits, floats)
    if stored == types.uint16:
        return _upper_halves(builder, builder.zext(bits, ints))
    if "+f16c" in FEATURES:
        return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), lanes)), floats)
    # Exponent and fraction move to where float32 has them, which divides a number by 2**112; the product is
    # exact, of subnormal numbers too. Infinity and NaN get the largest exponent back.
    wide = builder.shl(builder.sext(bits, ints), _constant(13, ints))
    size = builder.and_(wide, _constant(0x7FFF << 13, ints))
    number = builder.bitcast(builder.fmul(builder.bitcast(size, floats), _constant(2.0**112, floats)), ints)
    special = builder.or_(size, _constant(0xFF << 23, ints))
    finite = builder.icmp_unsigned("<", size, _constant(0x7C00 << 13, ints))
    sign = builder.and_(wide, _constant(-(1 << 31), ints))
    return builder.bitcast(builder.or_(sign, builder.select(finite, number, special)), floats)


def _float_call(builder: Any, name: str, *arguments: Any) -> Any:
    """Call what LLVM has for every float32 lane."""
    return call(builder, f"llvm.{name}.v{LANES}f32", FLOAT_LANES, *arguments)


def _reduce(builder: Any, name: str, *arguments: Any, fastmath: Any = ()) -> Any:
    """Call what LLVM has for all lanes together."""
    return call(builder, f"llvm.vector.reduce.{name}.v{LANES}f32", FLOAT, *arguments, fastmath=fastmath)


@operation(FLOATS)
def zeros(builder):
    """All lanes 0.0."""
    return _constant(0.0)


@operation(INTS)
def zero_ints(builder):
    """All lanes 0."""
    return _constant(0, INT_LANES)


@operation(FLOATS, STORED, types.intp)
def load(builder, array, offset):
    """LANES values from `offset` on, of an array of one of the types STORED."""
    return _load(array, offset)


@operation(FLOATS, STORED, types.intp)
def load_first(builder, array, offset):
    """Half of 2 * LANES values: with :func:`load_second`, less work for bfloat16 than two of ``load``.

    Of bfloat16, these are the even ones and those the odd ones; of others, the first and the second half.
    """
    if array.dtype != types.uint16:
        return _load(array, offset)
    return _upper_halves(builder, array.load(offset, INT_LANES))  # two bfloat16 in an int: the lower one


@operation(FLOATS, STORED, types.intp)
def load_second(builder, array, offset):
    """Load the other half: see :func:`load_first`."""
    if array.dtype != types.uint16:
        return _load(array, builder.add(offset, offset.type(LANES)))
    pairs = array.load(offset, INT_LANES)
    return _upper_halves(builder, builder.lshr(pairs, _constant(16, INT_LANES)))


@operation(types.float32, STORED, types.intp)
def value(builder, array, offset):
    """One element as float32, of the arrays that ``load`` takes."""
    return builder.extract_element(_load(array, offset, lanes=1), INT(0))


@operation(types.void, (types.float32,), types.intp, FLOATS)
def store(builder, array, offset, values):
    """Write the lanes to a float32 array."""
    array.store(offset, values)


@operation(types.void, (types.float32,), types.intp, types.float32)
def add_to(builder, array, offset, value):
    """Add a number to one element of a float32 array."""
    array.store(offset, builder.fadd(array.load(offset, FLOAT, align=4), value), align=4)


@operation(types.void, STORED, types.intp, types.intp, (types.float32,), types.intp, types.intp)
def transpose(builder, source, at, step, target, to, to_step):
    """Copy a block of LANES by LANES elements transposed; its rows lie `step` and `to_step` apart."""
    rows = [
        _load(source, builder.add(at, builder.mul(step, ir.Constant(step.type, i)))) for i in range(LANES)
    ]
    distance = 1
    while distance < LANES:  # swap the off-diagonal quarters of every square of twice the distance
        lanes = range(LANES)
        upper = _lanes([lane if not lane & distance else LANES + lane - distance for lane in lanes])
        lower = _lanes([lane + distance if not lane & distance else LANES + lane for lane in lanes])
        for i in lanes:
            if not i & distance:
                a, b = rows[i], rows[i + distance]
                rows[i] = builder.shuffle_vector(a, b, upper)
                rows[i + distance] = builder.shuffle_vector(a, b, lower)
        distance *= 2
    for i, row in enumerate(rows):
        target.store(builder.add(to, builder.mul(to_step, ir.Constant(step.type, i))), row)


@operation(FLOATS, (types.float32,), types.intp)
def broadcast(builder, array, offset):
    """One float32 of an array in all lanes."""
    return _splat(builder, array.load(offset, FLOAT, align=4))


@operation(FLOATS, types.float32)
def splat(builder, value):
    """One number in all lanes."""
    return _splat(builder, value)


@operation(FLOATS, FLOATS, FLOATS, FLOATS)
def fma(builder, a, b, c):
    """Compute ``a * b + c``, rounded once."""
    return _float_call(builder, "fma", a, b, c)


@operation(FLOATS, FLOATS, FLOATS)
def add(builder, a, b):
    """Add ``a + b``."""
    return builder.fadd(a, b)


@operation(FLOATS, FLOATS, FLOATS)
def multiply(builder, a, b):
    """Multiply ``a * b``."""
    return builder.fmul(a, b)


@operation(FLOATS, FLOATS, FLOATS)
def divide(builder, a, b):
    """Divide ``a / b``."""
    return builder.fdiv(a, b)


@operation(FLOATS, FLOATS)
def negative(builder, a):
    """Negate ``a``."""
    return builder.fneg(a)


@operation(FLOATS, FLOATS, FLOATS, FLOATS)
def where_positive(builder, condition, a, b):
    """Take ``a`` in the lanes where `condition` is at least 0, else ``b``."""
    return builder.select(builder.fcmp_ordered(">=", condition, _constant(0.0)), a, b)


@operation(FLOATS, FLOATS, FLOATS)
def larger(builder, a, b):
    """Take ``a`` where it is larger than ``b``, else ``b``: a NaN in `a` is passed over."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@operation(FLOATS, FLOATS)
def absolute(builder, a):
    """``abs(a)``."""
    return _float_call(builder, "fabs", a)


@operation(FLOATS, FLOATS)
def nearest(builder, a):
    """Nearest integer, halves to the even one."""
    return _float_call(builder, "rint", a)


@operation(types.void, (types.int8,), types.intp, FLOATS)
def store_int8(builder, array, offset, values):
    """Write integers within -127 .. 127 to an int8 array."""
    array.store(offset, builder.trunc(builder.fptosi(values, INT_LANES), ir.VectorType(BYTE, LANES)))


@operation(types.float32, FLOATS)
def sum_lanes(builder, a):
    """Sum of all lanes, in an order of LLVM's choice."""
    return _reduce(builder, "fadd", FLOAT(0.0), a, fastmath=("reassoc",))


@operation(types.float32, FLOATS)
def max_lanes(builder, a):
    """Largest lane; NaN is passed over."""
    return _reduce(builder, "fmax", a)


@operation(types.void, (types.float32,), types.intp, FLOATS, FLOATS, FLOATS, FLOATS)
def store_sums(builder, array, offset, a, b, c, d):
    """Write the sums of the lanes of four vectors next to each other: fewer steps than four sums."""

    def add_neighbours(a: Any, b: Any) -> Any:
        """Of every four lanes: a0 + a1, a2 + a3, b0 + b1, b2 + b3."""
        fours = range(0, LANES, 4)
        first = _lanes([lane for i in fours for lane in (i, i + 2, LANES + i, LANES + i + 2)])
        second = _lanes([lane for i in fours for lane in (i + 1, i + 3, LANES + i + 1, LANES + i + 3)])
        return builder.fadd(builder.shuffle_vector(a, b, first), builder.shuffle_vector(a, b, second))

    total = add_neighbours(add_neighbours(a, b), add_neighbours(c, d))
    while total.type.count > 4:
        half = total.type.count // 2
        low, high = _lanes(list(range(half))), _lanes(list(range(half, 2 * half)))
        total = builder.fadd(
            builder.shuffle_vector(total, total, low), builder.shuffle_vector(total, total, high)
        )
    array.store(offset, total)


# exp(x) = 2**n * exp(r) with n = round(x / ln 2). r lies within half of ln 2; there this polynomial is right
# to 4e-9 (Taylor's of that degree: to 1.2e-7), so that an error is nearly all rounding, and stays below 2e-7.
# ln 2 is subtracted in two parts, the first of few bits, so that nothing is lost.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_EXP_TERMS = (1.381454e-3, 8.368745e-3, 4.166839e-2, 0.1666652, 0.49999993, 1.0, 1.0)


@operation(FLOATS, FLOATS)
def exp(builder, x):
    """``e**x`` for x up to 0; NaN stays NaN, and what is below -87 becomes 0."""
    lowest = _constant(-87.0)
    vanishing = builder.fcmp_ordered("<", x, lowest)
    x = builder.select(vanishing, lowest, x)
    n = _float_call(builder, "rint", builder.fmul(x, _constant(1.4426950408889634)))
    r = _float_call(builder, "fma", n, _constant(-_LN2_HIGH), x)
    r = _float_call(builder, "fma", n, _constant(-_LN2_LOW), r)
    result = _constant(_EXP_TERMS[0])
    for term in _EXP_TERMS[1:]:
        result = _float_call(builder, "fma", result, r, _constant(term))
    exponent = builder.add(builder.fptosi(n, INT_LANES), _constant(127, INT_LANES))
    power = builder.bitcast(builder.shl(exponent, _constant(23, INT_LANES)), FLOAT_LANES)
    return builder.select(vanishing, _constant(0.0), builder.fmul(result, power))


@operation(types.void, (*STORED, *_CODES), types.intp)
def prefetch(builder, array, offset):
    """Ask for the cache line of an element; any offset will do, also one beyond the array."""
    read, keep, data = INT(0), INT(3), INT(1)
    call(builder, "llvm.prefetch.p0", ir.VoidType(), array.pointer(offset, BYTE), read, keep, data)


@operation(INTS, _CODES, types.intp)
def load_bytes(builder, array, offset):
    """4 * LANES bytes from `offset` on, of an int8 or uint8 array."""
    return array.load(offset, INT_LANES)


@operation(INTS, (types.int8,), types.intp)
def broadcast_bytes(builder, array, offset):
    """Repeat four bytes of an int8 array in every group of four."""
    return _splat(builder, array.load(offset, INT))


@operation(FLOATS, INTS)
def to_floats(builder, a):
    """Int32 lanes as float32."""
    return builder.sitofp(a, FLOAT_LANES)


@operation(INTS, INTS)
def low_nibbles(builder, a):
    """Lower four bits of every byte."""
    return builder.and_(a, _constant(0x0F0F0F0F, INT_LANES))


@operation(INTS, INTS)
def high_nibbles(builder, a):
    """Upper four bits of every byte."""
    return builder.and_(builder.lshr(a, _constant(4, INT_LANES)), _constant(0x0F0F0F0F, INT_LANES))


def _vnni(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """Add four products of an unsigned and a signed byte to every int32 lane."""
    return call(builder, "llvm.x86.avx512.vpdpbusd.512", INT_LANES, total, unsigned, signed)


def _avx2(builder: Any, name: str, result: Any, a: Any, b: Any) -> Any:
    return call(builder, f"llvm.x86.avx2.{name}", result, a, b)


@operation(INTS, INTS, INTS, INTS)
def dot_int8(builder, total, weights, x):
    """Add to every lane of `total` the dot product of its four int8 weights and four int8 activations.

    Activations lie within -127 .. 127. With VNNI a lane of `total` has to begin at :func:`int8_start`.
    """
    if VNNI:  # takes one side unsigned: 128 is added to the weights here and taken off in int8_start
        shifted = builder.xor(weights, _constant(0x80808080 - (1 << 32), INT_LANES))
        return _vnni(builder, total, shifted, x)
    # Takes one side unsigned too, and adds pairs in 16 bits: 2 * 128 * 127 fits, 2 * 255 * 127 would not.
    # So the sign of a weight is given to its activation.
    weights, x = builder.bitcast(weights, _BYTES), builder.bitcast(x, _BYTES)
    signed = _avx2(builder, "psign.b", _BYTES, x, weights)
    unsigned = call(builder, f"llvm.abs.v{4 * LANES}i8", _BYTES, weights, ir.IntType(1)(0))
    pairs = _avx2(builder, "pmadd.ub.sw", _SHORTS, unsigned, signed)
    return builder.add(total, _avx2(builder, "pmadd.wd", INT_LANES, pairs, _constant(1, _SHORTS)))


def _start(builder: Any, x_sums: Any, offset: Any, factor: int) -> Any:
    x_sum = x_sums.load(offset, INT, align=4)
    return _splat(builder, builder.mul(x_sum, INT(factor)))


@operation(INTS, (types.int32,), types.intp)
def int8_start(builder, x_sums, offset):
    """Where a sum of :func:`dot_int8` begins, given the sum of all its activations in an int32 array."""
    return _start(builder, x_sums, offset, -128) if VNNI else _constant(0, INT_LANES)


@operation(INTS, (types.int32,), types.intp)
def uint4_start(builder, x_sums, offset):
    """Where the sum of weights stored 8 too large begins, given the sum of all its activations."""
    return _start(builder, x_sums, offset, -8)


@operation(INTS, INTS, INTS, INTS)
def dot_uint4(builder, total, weights, x):
    """Add to `total` the dot products of weights within 0 .. 15 and int8 activations.

    At most :data:`UINT4_DOTS` times from zeros on; then :func:`sum_uint4` gives the int32 lanes.
    """
    if VNNI:
        return _vnni(builder, total, weights, x)
    weights, x = builder.bitcast(weights, _BYTES), builder.bitcast(x, _BYTES)
    pairs = _avx2(builder, "pmadd.ub.sw", _SHORTS, weights, x)
    return builder.bitcast(builder.add(builder.bitcast(total, _SHORTS), pairs), INT_LANES)


#: In 16 bits, sums of pairs have room for this many: 8 * 2 * 15 * 127 < 2**15.
UINT4_DOTS = 8


@operation(INTS, INTS, INTS)
def sum_uint4(builder, total, part):
    """Add what :func:`dot_uint4` has gathered in `part` to the int32 lanes of `total`."""
    if not VNNI:
        part = builder.bitcast(part, _SHORTS)
        part = _avx2(builder, "pmadd.wd", INT_LANES, part, _constant(1, _SHORTS))
    return builder.add(total, part)
