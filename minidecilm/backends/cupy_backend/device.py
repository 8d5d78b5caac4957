"""The GPU's memory: weights, caches, and a plan that refuses what will not fit before it is allocated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cupy
import ml_dtypes
import numpy as np
import numpy.typing as npt

from minidecilm import costs
from minidecilm.backends.cupy_backend.kernels import launch
from minidecilm.backends.host import Host
from minidecilm.config import Config
from minidecilm.ops import Visible
from minidecilm.progress import progress_bar
from minidecilm.weights.packed import BFLOAT16, PackedWeight, Weight

#: Left free for CUDA graphs, cuBLAS and what the allocator cannot reuse.
RESERVED = 512 << 20

#: Of that, what the activations of a call leave free: a packed matrix that is widened for cuBLAS is in it.
KEPT = RESERVED // 2

_MOST_BLOCKS = 65_535  # of a grid in its second and third direction: every CUDA device

ALIGNMENT = 8  # columns of a matrix: 16 bytes of bfloat16


@dataclass(frozen=True, eq=False)
class Matrix:
    """A weight on the GPU.

    Attributes
    ----------
    storage : {"float32", "bfloat16", "int8", "int4"}
    data : device array
        (out, stride) float32, or bfloat16 as its bits, with zeros in columns beyond `in`; or the codes of a
        :class:`minidecilm.weights.packed.PackedWeight` as they lie in the file.
    shape : tuple of int
        (out, in).
    scales : device array, optional
        Of codes, as bits of bfloat16.
    group : int
        Columns that share a scale.
    """

    storage: str
    data: Any
    shape: tuple[int, ...]
    scales: Any = None
    group: int = 64

    @property
    def stride(self) -> int:
        """Columns from one row to the next."""
        return padded(self.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return int(self.data.nbytes + (0 if self.scales is None else self.scales.nbytes))

    def __len__(self) -> int:
        return self.shape[0]


class Gpu(Host):
    """The memory of one GPU.

    A bfloat16 array is kept as uint16: CuPy moves the bits, the kernels know what they mean.
    """

    def place(self, config: Config, weights: Mapping[str, Weight]) -> dict[str, Any]:
        """Copy a model's weights to the GPU, in their storage: matrices as :class:`Matrix`, norms as float32.

        What is there already stays where it is.

        Raises
        ------
        ValueError
            If they do not fit, saying what would; or for a storage that no kernel reads.
        """
        placed: dict[str, Any] = dict(weights)
        to_copy = {n: w for n, w in weights.items() if not isinstance(w, Matrix | cupy.ndarray)}
        self._check_weights(config, to_copy)
        with progress_bar(len(to_copy), "copying to the GPU", "tensor", None) as bar:
            for name, weight in to_copy.items():
                placed[name] = self.matrix(weight) if len(weight.shape) == 2 else self._vector(weight[:])
                bar.update(1)
        # Copies go through pinned memory as large as each tensor, which CuPy would keep.
        cupy.get_default_pinned_memory_pool().free_all_blocks()
        return placed

    def matrix(self, weight: Weight) -> Matrix:
        """Copy one matrix to the GPU."""
        if isinstance(weight, PackedWeight):
            codes, scales = cupy.asarray(weight.codes), cupy.asarray(_bits(weight.scales))
            return Matrix(str(weight.dtype), codes, weight.shape, scales, weight.group)
        if weight.dtype == BFLOAT16:
            storage, values = "bfloat16", _bits(weight)
        elif weight.dtype.itemsize <= 4:
            storage, values = "float32", weight.astype(np.float32, copy=False)
        else:
            raise ValueError(
                f"weights of {weight.dtype}: the cupy backend stores float32, bfloat16, int8 or int4"
            )
        empty = padded(values.shape[1]) - values.shape[1]
        whole = np.pad(values, ((0, 0), (0, empty))) if empty else values
        return Matrix(storage, cupy.asarray(whole), weight.shape)

    def _vector(self, weight: npt.NDArray[Any]) -> Any:
        return cupy.asarray(weight.astype(np.float32))

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """Make room for cached keys or values."""
        return cupy.zeros(shape, np.uint16 if dtype == ml_dtypes.bfloat16 else dtype)

    def store(self, target: Any, values: Any) -> None:
        """Round (B, heads, T, D) float32 values into a part of a cache."""
        copy_heads(values, target)

    def array(self, values: Any) -> Any:
        """Copy a host array to the GPU; leave a device array where it is."""
        return values if isinstance(values, cupy.ndarray) else cupy.asarray(np.ascontiguousarray(values))

    def mask(self, visible: Visible) -> Any:
        """Bring a mask to the GPU: which slots are real says the same as all pairs, in B * S bytes."""
        return Mask.of(visible)

    def _check_weights(self, config: Config, weights: Mapping[str, Weight]) -> None:
        needed = sum(_bytes_on_device(weight) for weight in weights.values())
        free, total = free_bytes()
        if needed + RESERVED <= free:
            return
        smaller = [
            f"{storage} ({_gb(costs.weight_bytes(config, storage))})"
            for storage in ("bfloat16", "int8", "int4")
            if costs.weight_bytes(config, storage) < needed
            and costs.weight_bytes(config, storage) + RESERVED <= free
        ]
        remedy = f"load it with weights={' or '.join(smaller)}" if smaller else "use another backend"
        raise ValueError(
            f"the weights take {_gb(needed)} and {_gb(RESERVED)} of workspace, the GPU has {_gb(free)} of "
            f"{_gb(total)} free: {remedy}"
        )

    def check_cache(self, config: Config, batch_size: int, max_length: int, dtype: str) -> None:
        """Refuse a cache that does not fit beside what is there, with what a step needs, and say what would.

        Raises
        ------
        ValueError
        """
        heads = max(config.num_key_value_heads_per_layer)
        if batch_size * heads > _MOST_BLOCKS:
            raise ValueError(
                f"a cache of {batch_size} rows: a layer has {heads} KV heads, and the kernels take "
                f"{_MOST_BLOCKS} at once: at most {_MOST_BLOCKS // heads} rows"
            )
        free, _ = free_bytes()
        cache = costs.kv_cache_bytes(config, batch_size, max_length, dtype)
        per_row = step_bytes(config)
        workspace = RESERVED + batch_size * per_row
        if cache + workspace <= free:
            return
        rows = max(0, free - RESERVED) // (cache // batch_size + per_row)
        tokens = max(0, free - workspace) // costs.kv_cache_bytes(config, batch_size, 1, dtype)
        narrower = ", or kv_cache='bfloat16'" if dtype == "float32" else ""
        raise ValueError(
            f"a cache of {batch_size} x {max_length} tokens in {dtype} takes {_gb(cache)} and "
            f"{_gb(workspace)} of workspace, the GPU has {_gb(free)} free: at most {rows} rows of "
            f"{max_length} tokens or {batch_size} rows of {tokens} fit{narrower}"
        )

    def check_call(self, config: Config, tokens: int, logits: int, turned: int = 0) -> None:
        """Refuse a call whose activations do not fit, and say how many tokens would.

        Keys that are turned on reading are widened to float32, and their values with them: `turned` slots.

        Raises
        ------
        ValueError
        """
        free, _ = free_bytes()
        per_token = activation_bytes(config)
        heads = max(config.num_key_value_heads_per_layer)
        turning = turned * heads * config.head_dim * 2 * 4
        fixed = KEPT + turning + min(logits, tokens) * 4 * config.vocab_size
        needed = fixed + tokens * per_token
        if needed <= free:
            return
        fewer = max(0, free - fixed) // per_token
        keys = f", {_gb(turning)} of it for cached keys that rope='exact' turns" if turned else ""
        raise ValueError(
            f"the activations of {tokens} new tokens take {_gb(needed)} with workspace{keys}, the GPU has "
            f"{_gb(free)} free: feed at most {fewer} tokens at a time (rows x new tokens), "
            "or set last_only where they are many"
        )


@dataclass(frozen=True, eq=False)
class Mask:
    """Which slots each new token may see, as kernels read it.

    Attributes
    ----------
    seen : uint8 device array (B, S) or (B, T, S), or None
        0 hides a slot; None hides none.
    ordered : bool
        Whether a token sees no slot after its own.
    dense : callable
        Makes the (B, T, S) bool array, on the host.
    """

    seen: Any
    ordered: bool
    dense: Any

    @classmethod
    def of(cls, visible: Any) -> "Mask":
        """Take a :class:`minidecilm.ops.Visible`, or any (B, T, S) bool array."""
        if isinstance(visible, Visible):
            seen = None if visible.real.all() else cupy.asarray(visible.real.astype(np.uint8))
            return cls(seen, True, lambda: np.asarray(visible))
        dense = np.asarray(visible)
        return cls(cupy.asarray(np.ascontiguousarray(dense, np.uint8)), False, lambda: dense)

    def __getitem__(self, part: tuple[slice, slice]) -> "Mask":
        return Mask.of(self.dense()[part])


def copy_heads(source: Any, target: Any, cos: Any = None, sin: Any = None) -> None:
    """Copy (B, heads, T, D) between float32 and bfloat16, turned by (B, 1, T, D/2) angles where given."""
    B, heads, T, D = source.shape
    strides = [np.int64(array.strides[i] // array.itemsize) for array in (source, target) for i in range(3)]
    if not _adjacent(source) or not _adjacent(target):
        raise ValueError("copy_heads: the elements of a head must be neighbours")
    launch(
        "layer", f"copy_{storage_of(source)}_{storage_of(target)}", (T, heads, B), 64,
        source, *strides[:3], target, *strides[3:], cos, sin, T, head_dim=D,
    )  # fmt: skip


_STORAGES = {np.dtype(np.float32): "float32", np.dtype(np.uint16): "bfloat16"}


def storage_of(array: Any) -> str:
    """Name what a device array of activations, keys or values holds, as kernels are named by it."""
    return _STORAGES[array.dtype]


def padded(columns: int) -> int:
    """Columns of a row in memory, of which kernels read 16 bytes at a time."""
    return -(-columns // ALIGNMENT) * ALIGNMENT


def _adjacent(array: Any) -> bool:
    return bool(array.shape[-1] == 1 or array.strides[-1] == array.itemsize)


def free_bytes() -> tuple[int, int]:
    """Bytes of the GPU that are free, those that CuPy's pool keeps included; and all of them."""
    free, total = cupy.cuda.runtime.memGetInfo()
    return int(free + cupy.get_default_memory_pool().free_bytes()), int(total)


def activation_bytes(config: Config) -> int:
    """Bytes that one new token takes at most while a layer is computed: float32, and parts for cuBLAS.

    The residual stream, its norm and a projection (E); queries, keys, values and their turned copies; gate,
    up and their product (F), the last in three bfloat16 parts as well.
    """
    heads = max(config.num_key_value_heads_per_layer)
    E, F = config.hidden_size, max(layer.intermediate_size for layer in config.layers)
    return 4 * (3 * E + 3 * (E + 2 * heads * config.head_dim) + 3 * F) + 6 * F


def step_bytes(config: Config) -> int:
    """Bytes that one row takes at most in a recorded step: activations, logits and their copy."""
    return activation_bytes(config) + 2 * 4 * config.vocab_size


def _bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    return np.ascontiguousarray(values).view(np.uint16)


def _bytes_on_device(weight: Weight) -> int:
    if isinstance(weight, PackedWeight) or len(weight.shape) == 1:
        return int(weight.nbytes)
    rows, columns = weight.shape
    return int(rows * padded(columns) * (2 if weight.dtype == BFLOAT16 else 4))


def _gb(nbytes: float) -> str:
    return f"{nbytes / 1e9:.2f} GB"
