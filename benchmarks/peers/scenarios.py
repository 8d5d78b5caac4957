"""What is timed: the same calls in the same order for every contestant."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from minidecilm import Config, costs

THREADS = 2
HEADS, KV_HEADS, HEAD_DIM = 32, 4, 128  # of the attention calls

Array = npt.NDArray[Any]


class Contestant:
    """What takes part in some of the scenarios.

    Attributes
    ----------
    kernels : str
        Which instructions its library uses here, in the library's own words.
    """

    kernels: str

    def to_numpy(self, result: Any) -> Array:
        """Make a float32 array of what a call returned."""
        return np.asarray(result, np.float32)


class Model(Contestant, ABC):
    """A language model, loaded.

    Attributes
    ----------
    vocab_size : int
    streamed_bytes : int
        Size of the matrices that every decoded token reads: all but the embedding, of which it reads a row.
    """

    vocab_size: int
    streamed_bytes: int

    @abstractmethod
    def start(self, batch: int, room: int) -> None:
        """Forget what was fed; prepare for `batch` rows of up to `room` tokens."""

    @abstractmethod
    def feed(self, ids: Array) -> Array:
        """Add (B, T) tokens to what was fed; return the logits after the last one: (B, V) float32."""


class Attention(Contestant, ABC):
    """A way to call a library's attention."""

    @abstractmethod
    def prepare(self, q: Array, k: Array, v: Array) -> Callable[[], Any]:
        """Convert (1, heads, tokens, D) float32 arrays as the library wants them; return the call to time.

        The last query sees every key, the one before it all but the last, and so on.
        """


class Scenario(ABC):
    """Something to time."""

    @abstractmethod
    def calls(self, contestant: Any) -> list[Callable[[], Any]]:
        """Prepare the calls of one round, to be made in order."""

    @property
    @abstractmethod
    def tokens_per_call(self) -> int:
        """New tokens of one call, in all rows together."""

    @abstractmethod
    def needs(self, config: Config) -> dict[str, int]:
        """Count the ``operations`` of a call, and the ``cache_bytes`` of float32 keys and values it reads."""

    def run(self, contestant: Contestant) -> tuple[float, Array]:
        """Make the calls of one round; return the median of their durations, and the last result."""
        times = []
        for call in self.calls(contestant):
            start = time.perf_counter()
            result = call()
            times.append(time.perf_counter() - start)
        return median(times), contestant.to_numpy(result)


@dataclass(frozen=True)
class Feeding(Scenario):
    """`steps` timed calls with `tokens` new tokens in each of `batch` rows, after `past` tokens."""

    batch: int
    past: int
    tokens: int
    steps: int

    def calls(self, contestant: Model) -> list[Callable[[], Array]]:
        """Feed what is not timed. Taking the logits out of the library belongs to a call."""
        room = self.past + self.steps * self.tokens
        ids = np.random.default_rng(0).integers(3, contestant.vocab_size, (self.batch, room))
        contestant.start(self.batch, room)
        if self.past:
            contestant.feed(ids[:, : self.past])
        chunks = [ids[:, at : at + self.tokens] for at in range(self.past, room, self.tokens)]
        return [partial(contestant.feed, chunk) for chunk in chunks]

    @property
    def tokens_per_call(self) -> int:
        """Of all rows."""
        return self.batch * self.tokens

    def needs(self, config: Config) -> dict[str, int]:
        """Of the call in the middle."""
        past = self.past + (self.steps - 1) * self.tokens // 2
        return {
            "operations": costs.forward_flops(config, self.batch, self.tokens, past),
            "cache_bytes": costs.kv_cache_bytes(config, self.batch, past + self.tokens, "float32"),
        }


@dataclass(frozen=True)
class Attending(Scenario):
    """`steps` timed calls with `queries` new tokens at the end of `keys` tokens.

    They go round `caches` different inputs: as the layers of a model, these fill more than a CPU's own cache.
    """

    queries: int
    keys: int
    steps: int
    caches: int

    def calls(self, contestant: Attention) -> list[Callable[[], Any]]:
        """Convert the inputs, which is not timed."""
        generator = np.random.default_rng(0)
        shapes = [(HEADS, self.queries), (KV_HEADS, self.keys), (KV_HEADS, self.keys)]
        prepared = [
            contestant.prepare(
                *(generator.standard_normal((1, *shape, HEAD_DIM), np.float32) for shape in shapes)
            )
            for _ in range(self.caches)
        ]
        return [prepared[step % self.caches] for step in range(self.steps)]

    @property
    def tokens_per_call(self) -> int:
        """Of the one row."""
        return self.queries

    def needs(self, config: Config) -> dict[str, int]:
        """Every query meets the keys up to its own; the network has no part in it."""
        pairs = int(np.tri(self.queries, self.keys, self.keys - self.queries).sum())
        return {
            "operations": 4 * HEADS * HEAD_DIM * pairs,
            "cache_bytes": 2 * self.keys * KV_HEADS * HEAD_DIM * 4,
        }


ONE, EIGHT, PREFILL = "decode, batch 1", "decode, batch 8", "prefill, 512 tokens"
FEEDING: dict[str, Scenario] = {
    ONE: Feeding(batch=1, past=8, tokens=1, steps=12),
    EIGHT: Feeding(batch=8, past=8, tokens=1, steps=6),
    PREFILL: Feeding(batch=1, past=0, tokens=512, steps=1),
}
ATTENDING: dict[str, Scenario] = {
    "attention, 1 token on 4096": Attending(queries=1, keys=4096, steps=48, caches=8),
    "attention, 512 tokens, causal": Attending(queries=512, keys=512, steps=8, caches=8),
    "attention, 2048 tokens, causal": Attending(queries=2048, keys=2048, steps=3, caches=3),
}
SCENARIOS = FEEDING | ATTENDING
