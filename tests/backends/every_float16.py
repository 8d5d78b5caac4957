"""Run by test_linear.py for several CPUs: every float16 there is, widened by every kernel that does it."""

import numba
import numpy as np

from minidecilm.backends.numba_backend import storage, vectors
from minidecilm.backends.numba_backend.registers import LANES


@numba.njit
def widen(bits, wide):
    for i in range(0, len(bits), 2 * LANES):
        vectors.store(wide[0], i, vectors.load(bits, i))
        vectors.store(wide[0], i + LANES, vectors.load(bits, i + LANES))
        vectors.store(wide[1], i, vectors.load_first(bits, i))
        vectors.store(wide[1], i + LANES, vectors.load_second(bits, i))
    for i in range(0, len(bits), LANES * LANES):
        vectors.transpose(bits, i, LANES, wide[2], i, LANES)
    for i in range(len(bits)):
        wide[3, i] = vectors.value(bits, i)
        wide[4, i] = storage.widened(bits[i])


def main():
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    wide = np.empty((5, len(values)), np.float32)
    widen(values.view(np.int16), wide)
    wide[2] = wide[2].reshape(-1, LANES, LANES).swapaxes(1, 2).reshape(-1)
    with np.errstate(invalid="ignore"):
        expected = values.astype(np.float32)
    for found in wide:
        np.testing.assert_array_equal(found, expected)  # takes one NaN for another, and 0 for -0
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    print("exact", "+f16c" in vectors.FEATURES)


if __name__ == "__main__":
    main()
