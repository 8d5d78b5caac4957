"""Run by test_network.py for a CPU with AVX-512 VNNI: prints what is compiled for it."""

from numba import types

from minidecilm.backends.numba_backend import linear, vectors
from tests.backends.kernels import SEPARATOR


def main():
    assert (vectors.LANES, vectors.VNNI) == (16, True)

    def array(element, dimensions):
        return types.Array(element, dimensions, "C")

    scales, x = array(types.uint16, 3), array(types.int8, 2)
    floats, ints, index = array(types.float32, 2), array(types.int32, 2), types.intp
    for codes in (array(types.int8, 4), array(types.uint8, 4)):
        linear._panels.compile((codes, scales, index, index, x, floats, ints, floats, index, index))
    for assembly in linear._panels.inspect_asm().values():
        print(assembly, end=SEPARATOR)


if __name__ == "__main__":
    main()
