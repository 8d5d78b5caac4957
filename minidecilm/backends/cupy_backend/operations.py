"""The operations of :mod:`minidecilm.ops`, on arrays of the GPU; their meaning is stated there."""

from dataclasses import dataclass
from typing import Any

import cupy
import numpy as np

from minidecilm import ops
from minidecilm.backends.cupy_backend import products
from minidecilm.backends.cupy_backend.device import Gpu, Mask, Matrix, copy_heads, storage_of
from minidecilm.backends.cupy_backend.kernels import launch
from minidecilm.backends.host import on_host

#: Tokens up to which a product is made by our kernels, which read the weights once for each 64 of them;
#: beyond, cuBLAS is given bfloat16 matrices.
FEW_TOKENS = 64

# As attention.cu has them.
_EXACT_ROWS, _EXACT_KEYS, _FAST_KEYS = 16, 32, 64
_MAX_SPLITS, _THREADS = 64, 128
_BLOCKS_PER_PROCESSOR = 2


@dataclass(frozen=True)
class Operations:
    """What a :class:`minidecilm.backends.Backend` is made of.

    Attributes
    ----------
    gpu : Gpu
    parts : {3, 1}
        bfloat16 numbers that an activation is split into before tensor cores multiply it: 3 keep all of a
        float32, 1 rounds it.
    """

    gpu: Gpu
    parts: int

    def embedding(self, weight: Matrix, ids: Any, dtype: Any) -> Any:
        """Look up one row per token: (V, E), (B, T) -> (B, T, E)."""
        E = weight.shape[1]
        x = cupy.empty((*ids.shape, E), np.float32)
        ids = cupy.asarray(np.ascontiguousarray(ids, np.int32))
        name = f"embedding_{weight.storage}"
        launch("layer", name, (ids.size,), 256, weight.data, ids, x, E, weight.stride)
        return x

    def linear(self, x: Any, weight: Matrix) -> Any:
        """Apply ``y = x @ weight.T``: (..., in) -> (..., out)."""
        rows = cupy.ascontiguousarray(x.reshape(-1, x.shape[-1]))  # (N, in)
        y = cupy.empty((len(rows), len(weight)), np.float32)
        packed = weight.storage.startswith("int")
        if len(rows) == 0:
            pass
        elif weight.storage == "float32":
            products.float32(rows, weight, y)
        # cuBLAS would have to round what a code times its scale is.
        elif len(rows) <= FEW_TOKENS or (packed and self.parts > 1):
            products.few(rows, [weight], [y], self.parts)
        else:
            products.many(rows, weight, y, self.parts)
        return y.reshape(*x.shape[:-1], len(weight))

    def rms_norm(self, x: Any, weight: Any, eps: float) -> Any:
        """Divide by the root mean square, then scale: (..., E) -> (..., E)."""
        x = cupy.ascontiguousarray(x)
        E = x.shape[-1]
        y = cupy.empty_like(x)
        launch("layer", "rms_norm", (x.size // E,), 256, x, weight, y, E, float(eps))
        return y

    def rotate(self, x: Any, cos: Any, sin: Any) -> Any:
        """Turn pairs (x[i], x[i + D/2]) by their angles: (B, heads, T, D) -> (B, heads, T, D)."""
        turned = cupy.empty(x.shape, np.float32)
        angles = (cupy.ascontiguousarray(self.gpu.array(values)) for values in (cos, sin))
        copy_heads(x, turned, *angles)
        return turned

    def swiglu(self, gate: Any, up: Any) -> Any:
        """Gate `up` by silu(gate): (..., F), (..., F) -> (..., F)."""
        gate, up = cupy.ascontiguousarray(gate), cupy.ascontiguousarray(up)
        y = cupy.empty_like(gate)
        launch("layer", "swiglu", (-(-gate.size // 256),), 256, gate, up, y, np.int64(gate.size))
        return y

    def attention(self, q: Any, k: Any, v: Any, visible: Any) -> Any:
        """Mix values by what each query attends to: (B, H, T, D), (B, K, S, D) twice -> (B, H, T, D)."""
        mask = visible if isinstance(visible, Mask) else Mask.of(visible)
        if k.dtype != v.dtype:  # keys turned on reading are float32, whatever the cache holds
            k, v = _as_float32(k), _as_float32(v)
        S = k.shape[2]
        out, room = attention_room(q.shape, k.shape[1], S, self.fast(k))
        run_attention(q, k, v, mask.seen, mask.ordered, None, S, out, room, self.fast(k))
        return out.swapaxes(1, 2)  # (B, H, T, D)

    def attention_weights(self, q: Any, k: Any, visible: Any) -> Any:
        """Compute the softmax itself, for an observer, on the host: (B, H, T, S)."""
        dense = visible.dense() if isinstance(visible, Mask) else np.asarray(visible)
        return ops.attention_weights(on_host(q), on_host(_as_float32(k)), dense)

    def fast(self, k: Any) -> bool:
        """Whether tensor cores mix these keys: if rounding is allowed, and nothing else is stored."""
        return self.parts == 1 and k.dtype == np.uint16 and k.shape[-1] % 8 == 0


def _as_float32(cached: Any) -> Any:
    if cached.dtype == np.float32:
        return cached
    wide = cupy.empty(cached.shape, np.float32)
    copy_heads(cached, wide)
    return wide


@dataclass(frozen=True)
class Room:
    """What the blocks of one attention kernel need besides their arguments.

    Attributes
    ----------
    tile_rows : int
        Rows, of the G * T that share a KV head, that a block takes.
    grid : (int, int, int)
        Tiles of rows, rows of the batch times KV heads, splits of the context.
    partial, counter : device arrays or None
        Sums of the splits, and how many have finished.
    """

    tile_rows: int
    grid: tuple[int, int, int]
    partial: Any
    counter: Any


def attention_room(shape: tuple[int, ...], K: int, S: int, fast: bool) -> tuple[Any, Room]:
    """Make room for the result (B, T, H, D) of queries of `shape` (B, H, T, D) over up to S slots."""
    B, H, T, D = shape
    rows = H // K * T
    tile_rows = _EXACT_ROWS if not fast else next((n for n in (16, 32) if rows <= n), 64)
    tiles, heads = -(-rows // tile_rows), B * K
    splits = 1
    if tile_rows < 64:  # few tokens: their keys are shared out among blocks
        processors = cupy.cuda.Device().attributes["MultiProcessorCount"]
        wanted = -(-_BLOCKS_PER_PROCESSOR * processors // (heads * tiles))
        splits = max(1, min(wanted, -(-S // (_FAST_KEYS if fast else _EXACT_KEYS)), _MAX_SPLITS))
    partial = counter = None
    if splits > 1:
        partial = cupy.empty(heads * tiles * splits * tile_rows * (D + 2), np.float32)
        counter = cupy.zeros(heads * tiles, np.uint32)
    return cupy.empty((B, T, H, D), np.float32), Room(tile_rows, (tiles, heads, splits), partial, counter)


def run_attention(
    q: Any, k: Any, v: Any, seen: Any, ordered: bool, length: Any, S: int, out: Any, room: Room, fast: bool
) -> None:
    """Launch the kernel; `length` is S - T in device memory where that changes from launch to launch."""
    _, H, T, D = q.shape
    K = k.shape[1]
    if k.strides[2:] != (D * k.itemsize, k.itemsize) or k.strides != v.strides:
        k, v = cupy.ascontiguousarray(k), cupy.ascontiguousarray(v)
    if q.strides[3] != q.itemsize:
        q = cupy.ascontiguousarray(q)
    if fast:
        name = f"attention_fast_{room.tile_rows}"
        pitch = -(-D // 32) * 32 + 8
        shared = 2 * _FAST_KEYS * pitch * 2
    else:
        name = f"attention_exact_{storage_of(k)}"
        floats = _EXACT_ROWS * D + _EXACT_KEYS * (D + 1) + _EXACT_ROWS * (_EXACT_KEYS + 1)
        shared = 4 * max(floats, _EXACT_ROWS * (D + 2))
    q_strides = [np.int64(stride // q.itemsize) for stride in q.strides[:3]]
    kv_strides = [np.int64(stride // k.itemsize) for stride in k.strides[:2]]
    mask_strides = [np.int64(0), np.int64(0)]
    if seen is not None:
        mask_strides = [np.int64(seen.strides[0]), np.int64(seen.strides[1] if seen.ndim == 3 else 0)]
    launch(
        "attention", name, room.grid, _THREADS,
        q, *q_strides, k, v, *kv_strides, seen, *mask_strides, int(ordered), length,
        out, room.partial, room.counter, H, K, T, S, shared=shared, head_dim=D,
    )  # fmt: skip
