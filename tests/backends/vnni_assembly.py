"""Run by test_network.py for a CPU with AVX-512 VNNI and bfloat16: prints what is compiled for it."""

from numba import types

from minidecilm.backends.numba_backend import linear, registers
from tests.backends.kernels import SEPARATOR


def main():
    assert (registers.LANES, registers.VNNI, registers.BFLOAT16_DOTS) == (16, True, True)

    def array(element, dimensions):
        return types.Array(element, dimensions, "C")

    scales, x = array(types.uint16, 3), array(types.int8, 2)
    floats, ints, index = array(types.float32, 2), array(types.int32, 2), types.intp
    for codes in (array(types.int8, 4), array(types.uint8, 4)):
        arrays = codes, scales, index, index, x, floats, ints, floats
        linear._panels.compile((*arrays, index, index, types.boolean, index))
    pairs = array(types.uint32, 2)
    linear._few_tokens_rows.compile((pairs, pairs, floats, index, index, types.boolean, index))
    linear._many_tokens_rows.compile((pairs, array(types.uint32, 1), floats, index, index))
    for kernel in (linear._panels, linear._few_tokens_rows, linear._many_tokens_rows):
        for assembly in kernel.inspect_asm().values():
            print(assembly, end=SEPARATOR)


if __name__ == "__main__":
    main()
