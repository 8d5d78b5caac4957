"""The key-value cache: one K and V pair per layer, with that layer's own number of heads.

Slots are what memory holds, tokens are what counts: a padded slot holds no token. Lengths, positions and the
rotary base follow each row's own tokens.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt

from minidecilm.backends.host import HOST, Host
from minidecilm.config import Config
from minidecilm.ops import Array, Visible

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

    Made by :meth:`minidecilm.model.DeciLM.new_cache`. A cache belongs to one run: to start another text, make
    another cache, which also starts from the unscaled rotary base.

    Attributes
    ----------
    keys, values : list of (B, K, max_length, D) arrays
        One per layer; K is that layer's. Slots from `length` on are unused. Stored narrower than computed
        in, they are rounded when written, and what attends to them sees the rounded values.
    length : int
        Slots in use, padding included.
    row_lengths : (B,) int array
        Tokens of each row, padding not counted.
    rope_base : (B,) float array
        Rotary base of each row that the last call used.
    planned_lengths : (B,) int array
        Tokens each row is meant to reach; sets the base of the ``fixed`` rotary policy.

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
    ) -> None:
        if batch_size < 1 or max_length < 1:
            raise ValueError(
                f"a cache needs batch_size and max_length of at least 1, got {batch_size}, {max_length}"
            )
        D = config.head_dim
        shapes = [(batch_size, K, max_length, D) for K in config.num_key_value_heads_per_layer]
        storage = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
        device.check_cache(config, batch_size, max_length, np.dtype(storage).name)
        self._device = device
        self.keys = [device.zeros(shape, storage) for shape in shapes]
        self.values = [device.zeros(shape, storage) for shape in shapes]
        self.batch_size = batch_size
        self.max_length = max_length
        self.length = 0
        self.row_lengths = np.zeros(batch_size, np.int64)
        self.rope_base = np.full(batch_size, config.rope_theta)
        planned = max_length if planned_lengths is None else planned_lengths
        self.planned_lengths = np.broadcast_to(np.asarray(planned, np.int64), (batch_size,))
        self._real = np.zeros((batch_size, max_length), np.bool_)
        self._positions = np.zeros((batch_size, max_length), np.int64)

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
                f"make it with max_length={end} or more"
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
        self.rope_base = rope_base

    def past_mask(self) -> Array:
        """Which used slots hold a token: (B, length) bool."""
        return self._real[:, : self.length]
