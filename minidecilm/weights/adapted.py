"""Weights of a model with an adapter: whole ones replaced, matrices with their change beside them.

Such a matrix is used in two ways. Its rows are merged where weights are written, quantised or converted: in
float64, and rounded once. Or it stays as it is, mapped or packed, and a product with it takes two small ones
more: :func:`minidecilm.backends.beside.beside`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minidecilm.config import Config
from minidecilm.errors import CheckpointError
from minidecilm.ops import Array
from minidecilm.weights.adapters import LowRank, read_adapter
from minidecilm.weights.packed import Weight
from minidecilm.weights.safetensors_file import forget_pages
from minidecilm.weights.scheme import EMBEDDING, HEAD

_BLOCK = 1 << 18  # weights merged at a time


@dataclass(frozen=True, eq=False)
class AdaptedWeight:
    """An (out, in) matrix and its change, which takes the place of a matrix in ``linear``.

    Attributes
    ----------
    base : array or PackedWeight
    update : LowRank
    where : str
        What an error message calls it.

    Examples
    --------
    >>> update = LowRank(A=np.array([[1.0, 0.0]]), B=np.array([[1.0], [2.0]]), scale=10.0)
    >>> weight = AdaptedWeight(np.ones((2, 2), np.float32), update, "weight")
    >>> weight[0:2]
    array([[11.,  1.],
           [21.,  1.]])
    """

    base: Weight
    update: LowRank
    where: str
    _parts: dict[str, tuple[Array, Array, Array | None]] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(out, in)."""
        return self.base.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Storage dtype of the matrix that is changed."""
        return self.base.dtype

    @property
    def size(self) -> int:
        """Number of weights once it is merged."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix and of its change."""
        return self.base.nbytes + self.update.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        """Merge some rows: (rows, in) float64."""
        merged, factors = self._sum(rows)
        return merged if factors is None else merged * factors[:, None]

    def blocks(self, dtype: npt.DTypeLike) -> Iterator[Array]:
        """Yield some merged rows at a time in a dtype; what is not finite there is a CheckpointError.

        Pages of a mapped matrix are given back once read, so they do not add up.
        """
        for rows in self._row_blocks():
            yield narrowed(self[rows], dtype, self.where)
            if isinstance(self.base, np.ndarray):
                forget_pages(self.base)

    def astype(self, dtype: npt.DTypeLike) -> Array:
        """Merge the whole matrix: (out, in) array of `dtype`."""
        merged = np.empty(self.shape, dtype)
        for rows, block in zip(self._row_blocks(), self.blocks(dtype), strict=True):
            merged[rows] = block
        return merged

    def parts(self, dtype: npt.DTypeLike) -> tuple[Array, Array, Array | None]:
        """Return A, scale * B, and what DoRA multiplies every output with, which the first call computes.

        That takes a pass over the matrix; without DoRA it is None, and takes none.
        """
        key = str(np.dtype(dtype))
        if key not in self._parts:
            factors = None
            if self.update.magnitude is not None:
                factors = np.concatenate([self._sum(rows)[1] for rows in self._row_blocks()]).astype(dtype)
            up = self.update.scale * self.update.B.astype(np.float64)
            self._parts[key] = self.update.A.astype(dtype), up.astype(dtype), factors
        return self._parts[key]

    def _row_blocks(self) -> Iterator[slice]:
        step = max(1, _BLOCK // self.shape[1])
        return (slice(start, start + step) for start in range(0, len(self), step))

    def _sum(self, rows: slice) -> tuple[Array, Array | None]:
        """W + scale * B @ A of some rows in float64, and what gives them the length that DoRA has learnt."""
        total = self.update.B[rows].astype(np.float64) @ self.update.A.astype(np.float64)
        total *= self.update.scale
        total += self.base[rows].astype(np.float64)
        if self.update.magnitude is None:
            return total, None
        lengths = np.linalg.norm(total, axis=1)
        if not lengths.all():
            row = (rows.start or 0) + int(np.argmin(lengths))
            raise CheckpointError(
                f"{self.where}: expected rows that DoRA can give a length, found zeros alone in row {row}; "
                "give the model that the adapter was trained for"
            )
        return total, self.update.magnitude[rows] / lengths


def narrowed(values: Array, dtype: npt.DTypeLike, where: str) -> Array:
    """Round to a dtype; what is not finite in it is a CheckpointError."""
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    if not np.isfinite(rounded).all():
        raise CheckpointError(
            f"{where}: expected values that are finite in {np.dtype(dtype)} with the adapter, found NaN or "
            "infinity; give the model that it was trained for"
        )
    return rounded


def with_adapter(
    config: Config, weights: Mapping[str, Weight], folder: str | Path | None
) -> tuple[Config, dict[str, Any]]:
    """Put the adapter of a folder on a model's weights, without merging any of it.

    Parameters
    ----------
    config : Config
    weights : mapping of str to array or PackedWeight
    folder : str or Path, optional
        As for :func:`minidecilm.weights.adapters.read_adapter`; None leaves all as it is.

    Returns
    -------
    config : Config
        A head that was the embedding, and is changed, has weights of its own.
    weights : dict of str to array, PackedWeight or AdaptedWeight
        A weight that is replaced takes the float dtype of the one before.
    """
    changed: dict[str, Any] = dict(weights)
    if folder is None:
        return config, changed
    adapter = read_adapter(folder, config)
    if not adapter.config.tie_word_embeddings:
        changed.setdefault(HEAD, changed[EMBEDDING])
    for name, new in adapter.replaced.items():
        old = changed[name]
        dtype = old.dtype if isinstance(old, np.ndarray) else new.dtype
        changed[name] = narrowed(new, dtype, f"{folder}: tensor {name}")
    for name, update in adapter.updates.items():
        changed[name] = AdaptedWeight(changed[name], update, f"{folder}: tensor {name}")
    return adapter.config, changed
