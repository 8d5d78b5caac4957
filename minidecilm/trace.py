"""What a run did, as data: one record per step of generation."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from minidecilm.ops import Array


@dataclass(frozen=True)
class Step:
    """What one step of generation did; lists have one entry per row of the batch.

    Attributes
    ----------
    tokens : list of int or None
        The token each row chose; None for a row that had ended before.
    log_probabilities : list of float or None
        Of that token, in nats, under the model's own distribution before temperature and filters.
    alternatives : list of list of (int, float)
        The most likely tokens with their log-probabilities, best first.
    finished : list of str or None
        Why a row has ended: "eos", "stop" or "length"; None while it goes on.
    rope_base : list of float
        Rotary base in force.
    cache_nbytes : int
        Bytes of keys and values in the slots in use.
    layer_seconds : list of float
        Time of each layer; the first also holds the work before it.
    seconds : float
        Time of the whole step.
    """

    tokens: list[int | None]
    log_probabilities: list[float | None]
    alternatives: list[list[tuple[int, float]]]
    finished: list[str | None]
    rope_base: list[float]
    cache_nbytes: int
    layer_seconds: list[float]
    seconds: float


class LayerClock:
    """An observer that times every layer, and calls `on_layer` with 1 after each."""

    def __init__(self, on_layer: Callable[[int], Any]) -> None:
        self.stages: Collection[str] = ("hidden_states",)
        self.started = self._last = perf_counter()
        self.layer_seconds: list[float] = []
        self._on_layer = on_layer

    def __call__(self, layer: int | None, stage: str, value: Array) -> None:
        """Note the time a layer took."""
        now = perf_counter()
        self.layer_seconds.append(now - self._last)
        self._last = now
        self._on_layer(1)


def likeliest(log_p: Array, count: int = 5) -> list[tuple[int, float]]:
    """Return the likeliest tokens of a (V,) distribution, best first."""
    count = min(count, len(log_p))
    best = np.argpartition(log_p, -count)[-count:]
    best = best[np.argsort(-log_p[best], kind="stable")]
    return [(int(token), float(log_p[token])) for token in best]
