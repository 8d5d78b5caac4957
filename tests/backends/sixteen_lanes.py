"""Run by test_network.py: the kernels with 16 lanes, VNNI and products of bfloat16, on a CPU without them.

LLVM splits vectors that are too wide for the CPU. The two instructions that it cannot replace are written out
in operations that every CPU has. Their definitions are Intel's: vpdpbusd adds four products of an unsigned
and a signed byte to each int32 lane, without saturation; vdpbf16ps adds two products of bfloat16 numbers to
each float32 lane (and takes subnormal numbers for zero, which is left out here).
"""

from unittest import mock

import numpy as np
from llvmlite import ir
from numba.core.registry import cpu_target

LANES = 16


def vpdpbusd(builder, total, unsigned, signed):
    byte, wide = ir.VectorType(ir.IntType(8), 4 * LANES), ir.VectorType(ir.IntType(32), 4 * LANES)
    products = builder.mul(
        builder.zext(builder.bitcast(unsigned, byte), wide), builder.sext(builder.bitcast(signed, byte), wide)
    )
    for i in range(4):
        every_fourth = [4 * lane + i for lane in range(LANES)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), every_fourth)
        total = builder.add(total, builder.shuffle_vector(products, products, mask))
    return total


def vdpbf16ps(builder, total, a, b):
    ints = ir.VectorType(ir.IntType(32), LANES)
    sixteen, upper = (ir.Constant(ints, [number] * LANES) for number in (16, -1 << 16))

    def halves(pairs):
        bits = builder.bitcast(pairs, ints)
        return (
            builder.bitcast(half, total.type)
            for half in (builder.shl(bits, sixteen), builder.and_(bits, upper))
        )

    for x, y in zip(halves(a), halves(b), strict=True):
        total = builder.fadd(total, builder.fmul(x, y))
    return total


def main():
    codegen = cpu_target.target_context.codegen()
    triple, name, features = codegen.magic_tuple()
    features += ",+avx512f,+avx512bw,+avx512vnni,+avx512bf16"
    with mock.patch.object(type(codegen), "magic_tuple", return_value=(triple, name, features)):
        from minidecilm.backends.numba_backend import dots, registers  # before anything else loads it

    assert (registers.LANES, registers.VNNI, registers.BFLOAT16_DOTS) == (LANES, True, True)
    dots._vnni, dots._bfloat16 = vpdpbusd, vdpbf16ps
    from minidecilm.backends import create_backend

    # These ask which kernels this CPU has.
    from tests.backends.test_linear import (
        SHAPES,
        assert_product,
        in_bfloat16,
        packed_weight,
        random_x,
        rounded,
        stored_weight,
    )

    backend, rounding = create_backend("numba"), create_backend("numba", dtype="bfloat16")
    for shape in SHAPES:
        for tokens in (1, 5, 30):
            x = random_x(tokens, shape[1])
            for storage in ("bfloat16", "float16"):
                weight = stored_weight(shape, storage)
                assert_product(backend.linear(x, weight), x, weight)
                assert_product(rounding.linear(x, weight), in_bfloat16(x), weight)
            for bits in (8, 4):
                packed = packed_weight(shape, bits, 32)
                assert_product(backend.linear(x, packed), rounded(x, 32), packed[:])
    check_attention(backend)
    print(f"{registers.LANES} lanes")


def check_attention(backend):
    from minidecilm import ops

    generator = np.random.default_rng(0)
    for T, S in ((1, 70), (40, 70)):
        q = generator.standard_normal((2, 6, T, 24), np.float32)
        k, v = (generator.standard_normal((2, 2, S, 24), np.float32) for _ in range(2))
        visible = np.broadcast_to(np.tri(T, S, k=S - T, dtype=bool), (2, T, S))
        expected = ops.attention(*(a.astype(np.float64) for a in (q, k, v)), visible)
        np.testing.assert_allclose(backend.attention(q, k, v, visible), expected, atol=2e-6)


if __name__ == "__main__":
    main()
