"""What kernels see stored numbers as, and how plain loops widen one; vectors are widened in :mod:`.vectors`.

Numba has no bfloat16 and next to no float16, so kernels are given their bits, as integers of a type of their
own: ``uint16`` means bfloat16, ``int16`` means float16. ``float32`` and ``float64`` stand for themselves.
"""

from typing import Any

import ml_dtypes
import numpy as np

from minidecilm.backends.numba_backend.compiling import inner
from minidecilm.ops import Array

#: By dtype of weights, keys or values.
SEEN_AS: dict[np.dtype[Any], type[np.generic]] = {
    np.dtype(np.float32): np.float32,
    np.dtype(np.float64): np.float64,
    np.dtype(ml_dtypes.bfloat16): np.uint16,
    np.dtype(np.float16): np.int16,
}


def seen(array: Array) -> Array:
    """See an array as kernels do."""
    return array.view(SEEN_AS[array.dtype])


def read_only(weight: Array) -> Array:
    """See weights as kernels are compiled for them: as a memory-mapped file gives them."""
    weight = np.ascontiguousarray(weight)
    weight = weight.view(SEEN_AS.get(weight.dtype, weight.dtype))
    weight.flags.writeable = False
    return weight


@inner
def widened(number):
    """Float32 value of a number as kernels see it."""
    if isinstance(number, np.uint16):  # bfloat16 is the upper half of a float32
        return np.uint32(np.uint32(number) << np.uint32(16)).view(np.float32)
    if isinstance(number, np.int16):  # float16, as ``vectors`` widens it
        wide = np.uint32(np.uint32(number) << np.uint32(13))
        size = np.uint32(wide & np.uint32(0x7FFF << 13))
        normal = np.float32(size.view(np.float32) * np.float32(2.0**112)).view(np.uint32)
        special = np.uint32(size | np.uint32(0xFF << 23))
        finite = size < np.uint32(0x7C00 << 13)
        sign = np.uint32(wide & np.uint32(1 << 31))
        return np.uint32(sign | (normal if finite else special)).view(np.float32)
    return np.float32(number)
