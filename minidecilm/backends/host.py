"""Where arrays live: main memory, or what a backend puts in its place."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from minidecilm.config import Config
from minidecilm.ops import Array, Visible
from minidecilm.weights.packed import Weight


class Host:
    """Main memory. A backend that computes elsewhere has a device of its own with these methods."""

    def place(self, config: Config, weights: Mapping[str, Weight]) -> Mapping[str, Any]:
        """Bring a model's weights to where its operations read them."""
        return weights

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Make room for cached keys or values."""
        return np.zeros(shape, dtype)

    def store(self, target: Array, values: Array) -> None:
        """Round values to the dtype of a part of that room."""
        target[...] = values

    def array(self, values: Array) -> Array:
        """Bring what the host has computed to where the operations are."""
        return values

    def mask(self, visible: Visible) -> Any:
        """Bring a mask to where attention reads it."""
        return np.asarray(visible)

    def check_cache(self, config: Config, batch_size: int, max_length: int, dtype: str) -> None:
        """Refuse a cache that cannot fit, before any of it is allocated."""

    def check_call(self, config: Config, tokens: int, logits: int, turned: int = 0) -> None:
        """Refuse a call whose activations cannot fit; `turned` slots of keys are turned on reading."""


HOST = Host()


def on_host(array: Any) -> Array:
    """Return the NumPy array of what a backend has computed; one on a GPU is copied from there.

    Examples
    --------
    >>> on_host(np.array([1.5]))
    array([1.5])
    """
    return np.asarray(array.get() if hasattr(array, "get") else array)
