"""Matrix products: our kernels for few tokens, cuBLAS for many."""

from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from minidecilm.backends.cupy_backend.device import Matrix, padded
from minidecilm.backends.cupy_backend.kernels import launch

_THREADS = 256
_ROWS = 16  # of a tile of weights, as linear.cu has it; a block takes two
_TOKEN_TILES = (1, 4, 8)  # of 8 tokens, that a block takes

_CUDA_R_32F, _CUDA_R_16BF = 0, 14  # cudaDataType
_COMPUTE_32F = 68  # cublasComputeType_t: sums of float32, no rounding to TF32
_DEFAULT = -1  # cublasGemmAlgo_t
_NO, _TRANSPOSE = 0, 1  # cublasOperation_t


def few(
    x: Any,
    weights: Sequence[Matrix],
    outputs: Sequence[Any],
    parts: int,
    norm: Any = None,
    eps: float = 0.0,
    residual: Any = None,
    rounded: Any = None,
) -> None:
    """Multiply up to three matrices by the same few tokens: weights are read once.

    Parameters
    ----------
    x : (N, in) float32 device array
    weights : sequence of Matrix
        bfloat16, or codes.
    outputs : sequence of (N, out) float32 device arrays
    parts : {1, 3}
    norm : (in,) float32 device array, optional
        RMSNorm's weights, if `x` is to be normalised first, with `eps`.
    residual : (N, out) device array, optional
        Is added to the one output, and may be the output itself.
    rounded : flat uint16 device array, optional
        Room for `x` in bfloat16; by default it is made where it is needed.
    """
    first = weights[0]
    matrices: list[Any] = []
    for weight, y in zip(weights, outputs, strict=True):
        matrices += [_raw(weight.data), weight.scales, y, len(weight)]
    matrices += [None, None, None, 0] * (3 - len(weights))
    blocks = -(-sum(-(-len(weight) // _ROWS) for weight in weights) // 2)
    N, columns = x.shape
    tiles = _token_tiles(N)
    if takes_rounded(N, parts):
        x, norm = _round(x, norm, eps, rounded), None
    launch(
        "linear", f"linear_{tiles}", (-(-N // (8 * tiles)), blocks), _THREADS,
        *matrices, x, norm, float(eps), residual, N, columns, first.stride,
        storage=first.storage, group=first.group, parts=parts,
    )  # fmt: skip


def gated(
    x: Any, gate: Matrix, up: Matrix, y: Any, parts: int, norm: Any, eps: float, rounded: Any = None
) -> None:
    """Compute silu(gate(x)) * up(x) of the normalised x for few tokens: (N, in) -> (N, out)."""
    N, columns = x.shape
    tiles = _token_tiles(N)
    if takes_rounded(N, parts):
        x, norm = _round(x, norm, eps, rounded), None
    launch(
        "linear", f"gated_{tiles}", (-(-N // (8 * tiles)), -(-len(gate) // _ROWS)), _THREADS,
        _raw(gate.data), gate.scales, _raw(up.data), up.scales, y, len(gate), x, norm, float(eps),
        N, columns, gate.stride, storage=gate.storage, group=gate.group, parts=parts,
    )  # fmt: skip


def takes_rounded(tokens: int, parts: int) -> bool:
    """Whether :func:`few` and :func:`gated` give their kernels activations in bfloat16."""
    return parts == 1 and _token_tiles(tokens) > 1


def _round(x: Any, norm: Any, eps: float, room: Any) -> Any:
    """Round (N, in), normalised where `norm` is given, to bfloat16 (N, padded in)."""
    N, columns = x.shape
    stride = padded(columns)
    y = (cupy.empty(N * stride, np.uint16) if room is None else room[: N * stride]).reshape(N, stride)
    launch("layer", "round_rows", (N,), _THREADS, x, norm, y, columns, stride, float(eps))
    return y


def many(x: Any, weight: Matrix, y: Any, parts: int) -> None:
    """Multiply many tokens: cuBLAS takes bfloat16 parts of x one after the other, the smallest first."""
    N, columns = x.shape
    stride = padded(columns)
    split = cupy.empty((parts, N, stride), np.uint16)
    launch(
        "linear", "split", (N, -(-stride // _THREADS)), _THREADS, x, split, N, columns, stride, parts=parts
    )
    values = weight.data if weight.storage == "bfloat16" else _dequantized(weight)
    for part in range(parts - 1, -1, -1):
        gemm(split[part], values, y, add=part < parts - 1)


def float32(x: Any, weight: Matrix, y: Any) -> None:
    """Multiply by a matrix that is stored in float32."""
    empty = weight.stride - x.shape[1]
    if empty:
        wide = cupy.zeros((len(x), weight.stride), np.float32)
        wide[:, :-empty] = x
        x = wide
    gemm(x, weight.data, y)


def gemm(x: Any, weight: Any, y: Any, add: bool = False) -> None:
    """Do y = x @ weight.T, or y += it, for a float32 y; x and weight both bfloat16, or both float32.

    cuBLAS counts columns first, so it is told y.T = weight @ x.T.
    """
    dtype = _CUDA_R_32F if x.dtype == np.float32 else _CUDA_R_16BF
    (N, stride), out = x.shape, len(weight)
    scalars = np.array([1, add], np.float32)  # of the product, of what y holds
    cupy.cuda.cublas.gemmEx(
        cupy.cuda.device.get_cublas_handle(), _TRANSPOSE, _NO, out, N, stride,
        scalars[:1].ctypes.data, weight.data.ptr, dtype, stride, x.data.ptr, dtype, stride,
        scalars[1:].ctypes.data, y.data.ptr, _CUDA_R_32F, out, _COMPUTE_32F, _DEFAULT,
    )  # fmt: skip


def _dequantized(weight: Matrix) -> Any:
    """Values of a packed matrix, rounded to bfloat16: (out, stride)."""
    rows, columns = weight.shape
    values = cupy.empty((rows, weight.stride), np.uint16)
    launch(
        "linear", "dequantize", (rows, -(-weight.stride // _THREADS)), _THREADS,
        _raw(weight.data), weight.scales, values, columns, weight.stride,
        storage=weight.storage, group=weight.group,
    )  # fmt: skip
    return values


def _token_tiles(tokens: int) -> int:
    return next((tiles for tiles in _TOKEN_TILES if tokens <= 8 * tiles), _TOKEN_TILES[-1])


def _raw(data: Any) -> Any:
    """Bytes of a matrix, which the kernels read as what they know it to be."""
    return data.view(np.uint8)
