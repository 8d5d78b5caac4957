"""A weight matrix of 8- or 4-bit codes with one scale per group of columns, laid out as kernels read it.

``value = code * scale``. Rows are taken in panels of 16: the codes of 16 rows and a few neighbouring columns
lie together, so that a kernel whose vector lanes are output rows reads one sequential stream and needs no sum
across lanes. A file holds these very arrays, so it is memory-mapped and multiplied as it is.

With P = ceil(out / 16) panels and r = 0..15 the row within panel p:

- 8 bits: ``codes`` is int8 (P, 2 * ceil(in / 8), 16, 4); ``codes[p, c, r, j]`` is the code -127..127 of row
  16p + r, column 4c + j.
- 4 bits: ``codes`` is uint8 (P, ceil(in / 8), 16, 4); ``codes[p, c, r, j]`` holds two codes -8..7 of row
  16p + r, each plus 8: column 8c + j in its low half, column 8c + 4 + j in its high half.

``scales`` is bfloat16 (P, ceil(in / group), 16): ``scales[p, g, r]`` belongs to columns ``g * group`` to
``(g + 1) * group`` of row 16p + r; the last group may be cut short by the edge. Rows and columns beyond the
matrix have code 0. A scale may be negative: codes of 4 bits are -8..7, so its sign says which side of zero
reaches further.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from minidecilm.ops import Array

GROUPS = (32, 64, 128)
PANEL = 16  # rows of a panel

BFLOAT16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
CODE_DTYPES: dict[int, np.dtype[Any]] = {8: np.dtype(np.int8), 4: np.dtype(np.uint8)}
_STORAGE: dict[int, np.dtype[Any]] = {8: np.dtype(np.int8), 4: np.dtype(ml_dtypes.int4)}

_LOW_HALVES = np.uint32(0x0F0F0F0F)  # of four codes at once
_BLOCK = 1 << 20  # weights widened at a time


def packed_shapes(shape: tuple[int, ...], bits: int, group: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of ``codes`` and ``scales`` of a matrix; other bits or groups than there are are a ValueError.

    Examples
    --------
    >>> packed_shapes((20, 100), bits=8, group=64)
    ((2, 26, 16, 4), (2, 2, 16))
    >>> packed_shapes((20, 100), bits=4, group=64)
    ((2, 13, 16, 4), (2, 2, 16))
    """
    if bits not in CODE_DTYPES or group not in GROUPS:
        known = f"{(*CODE_DTYPES,)} and {GROUPS}"
        raise ValueError(f"packed weight: {bits} bits in groups of {group}: choose from {known}")
    rows, columns = shape
    panels = -(-rows // PANEL)
    return (panels, -(-columns // 8) * bits // 4, PANEL, 4), (panels, -(-columns // group), PANEL)


def packed_nbytes(shape: tuple[int, ...], bits: int, group: int) -> int:
    """Bytes of ``codes`` and ``scales`` of a matrix.

    Examples
    --------
    >>> packed_nbytes((20, 100), bits=8, group=64)
    3456
    """
    codes, scales = packed_shapes(shape, bits, group)
    return prod(codes) * CODE_DTYPES[bits].itemsize + prod(scales) * BFLOAT16.itemsize


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """An (out, in) matrix of group-wise codes that takes the place of a float matrix in ``ops.linear``.

    Attributes
    ----------
    codes : int8 (P, 2 * ceil(in / 8), 16, 4) or uint8 (P, ceil(in / 8), 16, 4) array
        8-bit, or two 4-bit codes each; see the head of this module.
    scales : bfloat16 (P, ceil(in / group), 16) array
    shape : (int, int)
        (out, in) of the matrix.
    group : {32, 64, 128}
        Columns that share a scale.

    Examples
    --------
    >>> codes = np.array([[1, -8, 7], [2, 3, -4]], np.int8)
    >>> weight = PackedWeight.from_codes(codes, np.array([[0.5], [0.25]]), bits=4, group=32)
    >>> weight[0:2]
    array([[ 0.5 , -4.  ,  3.5 ],
           [ 0.5 ,  0.75, -1.  ]], dtype=float32)
    >>> weight.shape, str(weight.dtype), weight.nbytes
    ((2, 3), 'int4', 96)
    """

    codes: Array
    scales: Array
    shape: tuple[int, int]
    group: int

    def __post_init__(self) -> None:
        shapes = packed_shapes(self.shape, self.bits, self.group)
        expected = (*zip(shapes, (CODE_DTYPES[self.bits], BFLOAT16), strict=True),)
        found = ((self.codes.shape, self.codes.dtype), (self.scales.shape, self.scales.dtype))
        if found != expected:
            raise ValueError(f"packed weight of {self.shape}: expected arrays {expected}, found {found}")

    @classmethod
    def from_codes(cls, codes: Array, scales: Array, bits: int, group: int) -> "PackedWeight":
        """Pack codes (out, in) of -127..127 or -8..7, and their scales (out, ceil(in / group))."""
        rows, columns = codes.shape
        padding = ((0, -rows % PANEL), (0, -columns % 8))
        return cls(
            pack_codes(np.pad(codes.astype(np.int8), padding), bits),
            pack_scales(np.pad(scales, (padding[0], (0, 0)))),
            (rows, columns),
            group,
        )

    @property
    def bits(self) -> int:
        """Bits of a code: 8 or 4."""
        return 8 if self.codes.dtype == np.int8 else 4

    @property
    def dtype(self) -> np.dtype[Any]:
        """Storage dtype, int8 or int4: equal to no float dtype."""
        return _STORAGE[self.bits]

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        if not isinstance(rows, slice):
            raise TypeError(f"packed weight: expected a slice of rows, found {type(rows).__name__}")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise TypeError(f"packed weight: expected neighbouring rows, found a step of {step}")
        return self.dequantize(start, stop)

    def dequantize(self, start: int, stop: int) -> Array:
        """Values of rows `start` to `stop`: (stop - start, in) float32, which holds every product exactly."""
        first, last = start // PANEL, -(-stop // PANEL)
        values = unpack_codes(self.codes[first:last], self.bits).astype(np.float32)  # (rows, columns)
        scales = unpack_scales(self.scales[first:last])  # (rows, groups)
        whole = values.shape[1] // self.group
        edge = whole * self.group
        groups = values[:, :edge].reshape(len(values), whole, self.group)
        np.multiply(groups, scales[:, :whole, None], out=values[:, :edge].reshape(groups.shape, copy=False))
        values[:, edge:] *= scales[:, whole:]
        return values[start - first * PANEL : stop - first * PANEL, : self.shape[1]]

    def astype(self, dtype: npt.DTypeLike) -> Array:
        """Widen the whole matrix: (out, in) array of `dtype`."""
        whole = np.empty(self.shape, dtype)
        step = max(1, _BLOCK // self.shape[1])
        for start in range(0, len(self), step):
            whole[start : start + step] = self[start : start + step]
        return whole


#: What a model's weight is: an array in storage dtype, or codes with scales.
Weight = Array | PackedWeight


def pack_codes(codes: Array, bits: int) -> Array:
    """Lay int8 codes (R, C) out in panels; R must be a multiple of 16 and C of 8.

    Four neighbouring codes move as one 32-bit word, whose bytes are never told apart.
    """
    words = (codes if bits == 8 else codes.view(np.uint8) + np.uint8(8)).view(np.uint32)
    if bits == 4:
        words = words[:, ::2] | words[:, 1::2] << np.uint32(4)
    panels = words.reshape(-1, PANEL, words.shape[1]).swapaxes(1, 2)  # (P, C / 4 or C / 8, 16)
    return np.ascontiguousarray(panels).view(CODE_DTYPES[bits]).reshape(*panels.shape, 4)


def unpack_codes(codes: Array, bits: int) -> Array:
    """Undo :func:`pack_codes`: int8 (R, C)."""
    words = codes.view(np.uint32)[..., 0].swapaxes(1, 2)  # (P, 16, C / 4 or C / 8)
    if bits == 8:
        return np.ascontiguousarray(words).reshape(-1, words.shape[2]).view(np.int8)
    halves = np.empty((*words.shape, 2), np.uint32)
    halves[..., 0] = words & _LOW_HALVES
    halves[..., 1] = words >> np.uint32(4) & _LOW_HALVES
    return halves.view(np.int8).reshape(len(codes) * PANEL, 8 * words.shape[2]) - np.int8(8)


def pack_scales(scales: Array) -> Array:
    """Lay scales (R, groups) out in panels, as bfloat16 (R / 16, groups, 16)."""
    panels = scales.reshape(-1, PANEL, scales.shape[1]).swapaxes(1, 2)
    return np.ascontiguousarray(panels, BFLOAT16)


def unpack_scales(scales: Array) -> Array:
    """Undo :func:`pack_scales`: float32 (R, groups)."""
    return scales.swapaxes(1, 2).astype(np.float32).reshape(-1, scales.shape[1])
