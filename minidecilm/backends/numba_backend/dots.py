"""Dot products by instructions of the CPU itself: integers on AVX2 or AVX-512 VNNI, pairs of bfloat16.

They are the reason that ``registers.USABLE`` asks for AVX2; the portable kernels do without this module. As
in :mod:`.vectors`, offsets count elements and nothing is checked.
"""

from typing import Any

from llvmlite import ir
from numba import types

from minidecilm.backends.numba_backend.registers import (
    BYTE,
    FLOAT_LANES,
    FLOATS,
    INT,
    INT_LANES,
    INTS,
    LANES,
    VNNI,
    call,
    constant,
    in_all_lanes,
    operation,
)
from minidecilm.backends.numba_backend.vectors import CODES

_BYTES, _SHORTS = ir.VectorType(BYTE, 4 * LANES), ir.VectorType(ir.IntType(16), 2 * LANES)


class _Bfloat16(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat16, which llvmlite does not know."""

    def _to_string(self) -> str:
        return "bfloat"


_PAIRS = ir.VectorType(_Bfloat16(), 2 * LANES)


@operation(FLOATS, FLOATS, FLOATS, FLOATS)
def dot_bfloat16(builder, weights, x, total):
    """Add to every lane of `total` the products of its two bfloat16 weights and two bfloat16 activations.

    The CPU takes subnormal numbers for zero. Only where ``registers.BFLOAT16_DOTS``.
    """
    weights, x = builder.bitcast(weights, _PAIRS), builder.bitcast(x, _PAIRS)
    return _bfloat16(builder, total, weights, x)


def _bfloat16(builder: Any, total: Any, weights: Any, x: Any) -> Any:
    return call(builder, "llvm.x86.avx512bf16.dpbf16ps.512", FLOAT_LANES, total, weights, x)


@operation(INTS)
def zero_ints(builder):
    """All lanes 0."""
    return constant(0, INT_LANES)


@operation(INTS, CODES, types.intp)
def load_bytes(builder, array, offset):
    """4 * LANES bytes from `offset` on, of an int8 or uint8 array."""
    return array.load(offset, INT_LANES)


@operation(INTS, (types.int8,), types.intp)
def broadcast_bytes(builder, array, offset):
    """Repeat four bytes of an int8 array in every group of four."""
    return in_all_lanes(builder, array.load(offset, INT))


@operation(FLOATS, INTS)
def to_floats(builder, a):
    """Int32 lanes as float32."""
    return builder.sitofp(a, FLOAT_LANES)


@operation(INTS, INTS)
def low_nibbles(builder, a):
    """Lower four bits of every byte."""
    return builder.and_(a, constant(0x0F0F0F0F, INT_LANES))


@operation(INTS, INTS)
def high_nibbles(builder, a):
    """Upper four bits of every byte."""
    return builder.and_(builder.lshr(a, constant(4, INT_LANES)), constant(0x0F0F0F0F, INT_LANES))


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
        shifted = builder.xor(weights, constant(0x80808080 - (1 << 32), INT_LANES))
        return _vnni(builder, total, shifted, x)
    # Takes one side unsigned too, and adds pairs in 16 bits: 2 * 128 * 127 fits, 2 * 255 * 127 would not.
    # So the sign of a weight is given to its activation.
    weights, x = builder.bitcast(weights, _BYTES), builder.bitcast(x, _BYTES)
    signed = _avx2(builder, "psign.b", _BYTES, x, weights)
    unsigned = call(builder, f"llvm.abs.v{4 * LANES}i8", _BYTES, weights, ir.IntType(1)(0))
    pairs = _avx2(builder, "pmadd.ub.sw", _SHORTS, unsigned, signed)
    return builder.add(total, _avx2(builder, "pmadd.wd", INT_LANES, pairs, constant(1, _SHORTS)))


def _start(builder: Any, x_sums: Any, offset: Any, factor: int) -> Any:
    x_sum = x_sums.load(offset, INT, align=4)
    return in_all_lanes(builder, builder.mul(x_sum, INT(factor)))


@operation(INTS, (types.int32,), types.intp)
def int8_start(builder, x_sums, offset):
    """Where a sum of :func:`dot_int8` begins, given the sum of all its activations in an int32 array."""
    return _start(builder, x_sums, offset, -128) if VNNI else constant(0, INT_LANES)


@operation(INTS, (types.int32,), types.intp)
def uint4_start(builder, x_sums, offset):
    """Where the sum of weights stored 8 too large begins, given the sum of all its activations."""
    return _start(builder, x_sums, offset, -8)


@operation(INTS, INTS, INTS, INTS)
def dot_uint4(builder, total, weights, x):
    """Add to `total` the dot products of weights within 0 .. 15 and int8 activations.

    With AVX2 at most :data:`UINT4_DOTS` times from zeros on; then :func:`sum_uint4` gives the int32 lanes.
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
    """Add what :func:`dot_uint4` has gathered in `part`, in 16 bits, to the int32 lanes of `total`."""
    part = builder.bitcast(part, _SHORTS)
    return builder.add(total, _avx2(builder, "pmadd.wd", INT_LANES, part, constant(1, _SHORTS)))
