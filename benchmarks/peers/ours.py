"""minidecilm as a contestant."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

import minidecilm
from benchmarks.peers import scenarios
from benchmarks.peers.scenarios import Array
from minidecilm import costs
from minidecilm.backends import create_backend


class Model(scenarios.Model):
    """A checkpoint, memory-mapped if its weights are taken as stored; keys and values as `dtype` has them."""

    def __init__(
        self,
        models: Path,
        folder: str,
        backend: str = "numba",
        weights: str = "stored",
        dtype: str = "float32",
    ) -> None:
        loaded = minidecilm.load(models / folder, backend=backend, weights=weights, dtype=dtype)
        self.model = loaded.model
        self.vocab_size = self.model.config.vocab_size
        self.kernels = self.model.backend.kernels
        streamed = costs.streamed_weights(self.model.config)
        self.streamed_bytes = sum(self.model.weights[name].nbytes for name in streamed)

    def start(self, batch: int, room: int) -> None:
        """Make a new cache."""
        self.cache = self.model.new_cache(batch, room)

    def feed(self, ids: Array) -> Array:
        """Run the network."""
        return self.model(ids, cache=self.cache, last_only=True)[:, -1]


class Attention(scenarios.Attention):
    """A backend's attention, with the mask that the network gives it; `cache` is what it holds."""

    def __init__(self, backend: str, cache: str) -> None:
        chosen = create_backend(backend)
        self.kernels, self.attention = chosen.kernels, chosen.attention
        self.cache = np.dtype(cache)

    def prepare(self, q: Array, k: Array, v: Array) -> Callable[[], Array]:
        """Only keys and values are converted."""
        T, S = q.shape[2], k.shape[2]
        visible = np.tri(T, S, S - T, dtype=np.bool_)[None]
        keys, values = k.astype(self.cache), v.astype(self.cache)
        return lambda: self.attention(q, keys, values, visible)
