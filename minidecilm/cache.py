"""The key-value cache: one K and V pair per layer, with that layer's own number of heads.

Slots are what memory holds, tokens are what counts: a padded slot holds no token. Lengths, positions and the
rotary base follow each row's own tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path

import ml_dtypes  # noqa: F401  registers bfloat16
import numpy as np
import numpy.typing as npt

from minidecilm import rope
from minidecilm.backends.host import HOST, Host, on_host
from minidecilm.config import Config
from minidecilm.ops import Array, Visible
from minidecilm.weights.cache_file import StoredCache, write_cache

#: Names of what keys and values may be stored as; "compute" stands for the compute dtype.
KV_CACHES = ("compute", "float32", "bfloat16")


@dataclass(frozen=True)
class Window:
    """What one call adds to a cache.

    Attributes
    ----------
    positions : (B, T) int array
        Of the new tokens, each row counting its own from 0; 0 on padding.
    slot_positions : (B, S) int array
        The same for every slot up to the newest.
    visible : Visible
        Whether new token t may attend to slot s.
    row_lengths : (B,) int array
        Tokens of each row after this call.
    """

    positions: Array
    slot_positions: Array
    visible: Visible
    row_lengths: Array


class KVCache:
    """Keys and values of every layer, for `batch_size` rows of up to `max_length` slots.

    Made by :meth:`minidecilm.model.DeciLM.new_cache`. To go on from a text in several ways, :meth:`fork` it;
    to go back in a text, :meth:`trim` it; to start another text, make another cache.

    Attributes
    ----------
    keys, values : list of (B, K, max_length, D) arrays
        One per layer; K is that layer's. Slots from `length` on are unused. Stored narrower than computed
        in, they are rounded when written, and what attends to them sees the rounded values.
    length : int
        Slots in use, padding included.
    row_lengths : (B,) int array
        Tokens of each row, padding not counted.
    planned_lengths : (B,) int array
        Tokens each row is meant to reach; sets the base of the ``fixed`` rotary policy.
    rope_policy : {"reference", "fixed", "exact"}
        How the keys were rotated before they were stored: see :mod:`minidecilm.rope`.
    dtype : dtype
        What keys and values are stored as.

    Examples
    --------
    >>> from minidecilm import preset
    >>> cache = KVCache(preset("decilm-6b"), batch_size=1, max_length=4096, dtype="float16")
    >>> cache.nbytes == 4096 * 25_600
    True
    """

    def __init__(
        self,
        config: Config,
        batch_size: int,
        max_length: int,
        dtype: npt.DTypeLike,
        planned_lengths: npt.ArrayLike | None = None,
        device: Host = HOST,
        rope_policy: str = "reference",
    ) -> None:
        if batch_size < 1 or max_length < 1:
            raise ValueError(
                f"a cache needs batch_size and max_length of at least 1, got {batch_size}, {max_length}"
            )
        D = config.head_dim
        shapes = [(batch_size, K, max_length, D) for K in config.num_key_value_heads_per_layer]
        self.dtype = np.dtype(dtype)
        device.check_cache(config, batch_size, max_length, self.dtype.name)
        self._config, self._device, self.rope_policy = config, device, rope_policy
        self.keys = [device.zeros(shape, self.dtype) for shape in shapes]
        self.values = [device.zeros(shape, self.dtype) for shape in shapes]
        self.batch_size = batch_size
        self.max_length = max_length
        self.length = 0
        self.row_lengths = np.zeros(batch_size, np.int64)
        planned = max_length if planned_lengths is None else planned_lengths
        self.planned_lengths = np.broadcast_to(np.asarray(planned, np.int64), (batch_size,))
        self._real = np.zeros((batch_size, max_length), np.bool_)
        self._positions = np.zeros((batch_size, max_length), np.int64)
        self._unscaled = 0  # slots that calls with the base of training wrote: the same however they were fed
        self.trims = 0  # how many there were: what mirrors a cache looks here

    def base_at(self, row_lengths: Array) -> Array:
        """Rotary base of every row when it has so many tokens, by the policy: (B,)."""
        lengths = self.planned_lengths if self.rope_policy == "fixed" else row_lengths
        return rope.dynamic_ntk_base(lengths, self._config)

    @property
    def rope_base(self) -> Array:
        """Rotary base in force for each row: (B,)."""
        return self.base_at(self.row_lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values that the cache has room for."""
        return sum(array.nbytes for array in (*self.keys, *self.values))

    @property
    def used_nbytes(self) -> int:
        """Bytes of keys and values in the slots in use."""
        return self.nbytes // self.max_length * self.length

    def open_window(self, real: Array) -> Window:
        """Lay out T new slots behind the used ones; they count only once :meth:`commit` is called.

        `real` is (B, T) bool, False on padding. Another batch size, or a lack of room, is a ValueError.
        """
        B, T = real.shape
        start, end = self.length, self.length + T
        if self.batch_size != B:
            raise ValueError(f"the cache was made for batch size {self.batch_size}, this call has {B} rows")
        if end > self.max_length:
            raise ValueError(
                f"the cache has room for {self.max_length} slots, {start} are used and this call adds {T}: "
                f"make it with max_length={end} or more, or fork it so"
            )
        positions = np.maximum(self.row_lengths[:, None] + np.cumsum(real, axis=1) - 1, 0)
        self._real[:, start:end] = real
        self._positions[:, start:end] = np.where(real, positions, 0)
        return Window(
            positions=self._positions[:, start:end],
            slot_positions=self._positions[:, :end],
            visible=Visible(self._real[:, :end], T),
            row_lengths=self.row_lengths + np.sum(real, axis=1),
        )

    def write(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Store (B, K, T, D) behind the used slots of a layer; return views of all its S slots."""
        end = self.length + k.shape[2]
        self._device.store(self.keys[layer][:, :, self.length : end], k)
        self._device.store(self.values[layer][:, :, self.length : end], v)
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def commit(self, window: Window, rope_base: Array) -> None:
        """Count the slots of a window as used, after every layer has written them."""
        self.length = window.slot_positions.shape[1]
        self.row_lengths = window.row_lengths
        if np.all(rope_base == self._config.rope_theta):  # beyond the context it never comes back
            self._unscaled = self.length

    def past_mask(self) -> Array:
        """Which used slots hold a token: (B, length) bool."""
        return self._real[:, : self.length]

    def fork(self, rows: Sequence[int] | None = None, max_length: int | None = None) -> "KVCache":
        """Make a copy that goes on by itself, with the same plan for each row.

        `rows` says which row each row of the copy goes on from, any of them more than once; default: all, in
        order. `max_length` is the room of the copy; default: as much. A row that the cache does not have, or
        less room than the used slots take, is a ValueError.

        Examples
        --------
        The beginning that three texts share is computed once:

        >>> import minidecilm
        >>> model = minidecilm.load("demo").model
        >>> cache = model.new_cache(batch_size=1, max_length=16)
        >>> logits = model([[1, 300, 301]], cache)
        >>> model([[5, 6], [7, 8], [9, 10]], cache.fork([0, 0, 0])).shape
        (3, 2, 2048)
        """
        sources = [index(row) for row in (range(self.batch_size) if rows is None else rows)]
        if not sources or min(sources) < 0 or max(sources) >= self.batch_size:
            raise ValueError(f"rows: expected some of 0 to {self.batch_size - 1}, found {sources}")
        size = self.max_length if max_length is None else max_length
        planned = self.planned_lengths[sources]
        copy = KVCache(self._config, len(sources), size, self.dtype, planned, self._device, self.rope_policy)
        arrays = (array[sources, :, : self.length] for array in (*self.keys, *self.values))
        copy.fill(self.past_mask()[sources], arrays, self._unscaled)
        return copy

    def trim(self, length: int) -> None:
        """Forget the slots from `length` on: the cache is as if they had never been fed.

        Under ``rope="reference"`` that is refused with a ValueError if keys before `length` were stored by a
        call that went beyond the context length: they keep the base of that call.
        """
        if not 0 <= index(length) <= self.length:
            raise ValueError(f"length: expected 0 to the {self.length} used slots, found {length}")
        if self.rope_policy == "reference" and self._unscaled < length < self.length:
            M = self._config.max_position_embeddings
            raise ValueError(
                f"rope='reference' cannot trim {self.length} slots to {length}: from {self._unscaled} on "
                f"they keep the rotary base of a call beyond the {M} tokens of the context; fork before such "
                "a call, feed the shorter text into a new cache, or load with rope='exact'"
            )
        self.length = length
        self.row_lengths = self.past_mask().sum(axis=1)
        self._unscaled = min(self._unscaled, length)
        self.trims += 1

    def save(self, path: str | Path) -> None:
        """Write the used slots to a file that :meth:`minidecilm.model.DeciLM.load_cache` reads."""
        used = (on_host(array[:, :, : self.length]) for array in (*self.keys, *self.values))
        arrays = (array.view(self.dtype) for array in used)  # a GPU keeps bfloat16 as its bits
        about = self.rope_policy, self.dtype.name, self.planned_lengths, self._unscaled
        write_cache(path, self._config, StoredCache(*about, self.past_mask(), arrays))

    def fill(self, real: Array, arrays: Iterable[Array], unscaled: int) -> None:
        """Take over the slots of another cache: which hold a token (B, S); all keys, then values."""
        window = self.open_window(real)
        self.commit(window, self.base_at(window.row_lengths))
        self._unscaled = unscaled
        for target, source in zip((*self.keys, *self.values), arrays, strict=True):
            target[:, :, : self.length] = self._device.array(source.view(target.dtype))
