"""Explicit vectors for Numba kernels: a register of LANES float32 or int32 values, and what is done to it.

LLVM vectorises plain loops, but not well enough where the weights of a model stream through: these functions
say what a register holds. They are LLVM's own vector operations, which every CPU has; :mod:`.dots` has the
CPU's own.

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
    LANES,
    ArrayCode,
    call,
    constant,
    in_all_lanes,
    lanes,
    operation,
)

#: Types of the arrays that ``load`` and its like take; uint32 is two bfloat16, which stay what they are.
STORED = (types.float32, types.float64, types.uint16, types.int16, types.uint32)
#: Types of what is copied as it is: a float32, or two bfloat16.
WHOLE = (types.float32, types.uint32)
#: Types of packed weights and of what they are multiplied with.
CODES = (types.int8, types.uint8)


def _upper_halves(builder: Any, bits: Any) -> Any:
    """Float32 values of bfloat16 ones in the lower halves of int32 lanes: they are the upper halves."""
    floats = ir.VectorType(FLOAT, bits.type.count)
    return builder.bitcast(builder.shl(bits, constant(16, bits.type)), floats)


def _load(array: ArrayCode, offset: Any, count: int = LANES) -> Any:
    """Load `count` elements as float32, whatever they are stored as."""
    bits = array.load(offset, ir.VectorType(array.element, count))
    return _widen(array.builder, array.dtype, bits)


def _widen(builder: Any, stored: types.Type, bits: Any) -> Any:
    """Make float32 of what was loaded from an array of a type of STORED."""
    if stored == types.float32:
        return bits
    count = bits.type.count
    floats, ints = ir.VectorType(FLOAT, count), ir.VectorType(INT, count)
    if stored == types.uint32:
        return builder.bitcast(bits, floats)
    if stored == types.float64:
        return builder.fptrunc(bits, floats)
    if stored == types.uint16:
        return _upper_halves(builder, builder.zext(bits, ints))
    if "+f16c" in FEATURES:
        return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), count)), floats)
    # Exponent and fraction move to where float32 has them, which divides a number by 2**112; the product is
    # exact, of subnormal numbers too. Infinity and NaN get the largest exponent back.
    wide = builder.shl(builder.sext(bits, ints), constant(13, ints))
    size = builder.and_(wide, constant(0x7FFF << 13, ints))
    number = builder.bitcast(builder.fmul(builder.bitcast(size, floats), constant(2.0**112, floats)), ints)
    special = builder.or_(size, constant(0xFF << 23, ints))
    finite = builder.icmp_unsigned("<", size, constant(0x7C00 << 13, ints))
    sign = builder.and_(wide, constant(-(1 << 31), ints))
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
    return constant(0.0)


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
    return _upper_halves(builder, builder.lshr(pairs, constant(16, INT_LANES)))


@operation(types.float32, STORED, types.intp)
def value(builder, array, offset):
    """One element as float32, of the arrays that ``load`` takes."""
    return builder.extract_element(_load(array, offset, count=1), INT(0))


@operation(types.void, (types.float32,), types.intp, FLOATS)
def store(builder, array, offset, values):
    """Write the lanes to a float32 array."""
    array.store(offset, values)


@operation(types.void, (types.float32,), types.intp, types.float32)
def add_to(builder, array, offset, value):
    """Add a number to one element of a float32 array."""
    array.store(offset, builder.fadd(array.load(offset, FLOAT, align=4), value), align=4)


@operation(types.void, STORED, types.intp, types.intp, WHOLE, types.intp, types.intp)
def transpose(builder, source, at, step, target, to, to_step):
    """Copy a block of LANES by LANES elements transposed; its rows lie `step` and `to_step` apart."""
    rows = [
        _load(source, builder.add(at, builder.mul(step, ir.Constant(step.type, i)))) for i in range(LANES)
    ]
    distance = 1
    while distance < LANES:  # swap the off-diagonal quarters of every square of twice the distance
        numbers = range(LANES)
        upper = lanes([lane if not lane & distance else LANES + lane - distance for lane in numbers])
        lower = lanes([lane + distance if not lane & distance else LANES + lane for lane in numbers])
        for i in numbers:
            if not i & distance:
                a, b = rows[i], rows[i + distance]
                rows[i] = builder.shuffle_vector(a, b, upper)
                rows[i + distance] = builder.shuffle_vector(a, b, lower)
        distance *= 2
    for i, row in enumerate(rows):
        target.store(builder.add(to, builder.mul(to_step, ir.Constant(step.type, i))), row)


@operation(FLOATS, WHOLE, types.intp)
def broadcast(builder, array, offset):
    """One element of an array in all lanes."""
    return in_all_lanes(builder, array.load(offset, FLOAT, align=4))


@operation(FLOATS, types.float32)
def splat(builder, value):
    """One number in all lanes."""
    return in_all_lanes(builder, value)


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
    return builder.select(builder.fcmp_ordered(">=", condition, constant(0.0)), a, b)


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
        first = lanes([lane for i in fours for lane in (i, i + 2, LANES + i, LANES + i + 2)])
        second = lanes([lane for i in fours for lane in (i + 1, i + 3, LANES + i + 1, LANES + i + 3)])
        return builder.fadd(builder.shuffle_vector(a, b, first), builder.shuffle_vector(a, b, second))

    total = add_neighbours(add_neighbours(a, b), add_neighbours(c, d))
    while total.type.count > 4:
        half = total.type.count // 2
        low, high = lanes(list(range(half))), lanes(list(range(half, 2 * half)))
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
    lowest = constant(-87.0)
    vanishing = builder.fcmp_ordered("<", x, lowest)
    x = builder.select(vanishing, lowest, x)
    n = _float_call(builder, "rint", builder.fmul(x, constant(1.4426950408889634)))
    r = _float_call(builder, "fma", n, constant(-_LN2_HIGH), x)
    r = _float_call(builder, "fma", n, constant(-_LN2_LOW), r)
    result = constant(_EXP_TERMS[0])
    for term in _EXP_TERMS[1:]:
        result = _float_call(builder, "fma", result, r, constant(term))
    exponent = builder.add(builder.fptosi(n, INT_LANES), constant(127, INT_LANES))
    power = builder.bitcast(builder.shl(exponent, constant(23, INT_LANES)), FLOAT_LANES)
    return builder.select(vanishing, constant(0.0), builder.fmul(result, power))


@operation(types.void, (*STORED, *CODES), types.intp)
def prefetch(builder, array, offset):
    """Ask for the cache line of an element; any offset will do, also one beyond the array."""
    read, keep, data = INT(0), INT(3), INT(1)
    call(builder, "llvm.prefetch.p0", ir.VoidType(), array.pointer(offset, BYTE), read, keep, data)
