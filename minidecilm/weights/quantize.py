"""Float weights to int8 and int4: symmetric codes, one scale per group of columns, no calibration data.

A scale is rounded to bfloat16 before the codes are computed with it, so no error comes from storing it. For
int8 it is the group's largest magnitude over 127. For int4 a few are tried and the one of least squared error
is kept: the largest value of a group gets code -7 or -8, or one beyond that is cut off to -8 for the good of
the others; the scale's sign follows from that. What stays as it is, and why:
:mod:`minidecilm.weights.scheme`.

In a folder, a packed matrix ``NAME`` becomes two tensors in the layout of :mod:`minidecilm.weights.packed`:
``NAME.codes`` (I8, or U8 for int4) and ``NAME.scales`` (BF16); config.json gets a ``quantization_config``.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minidecilm.errors import CheckpointError
from minidecilm.ops import Array
from minidecilm.progress import progress_bar
from minidecilm.weights.adapted import with_adapter
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.checkpoint_writer import MAX_SHARD_BYTES, companions_of, write_checkpoint
from minidecilm.weights.packed import (
    BFLOAT16,
    CODE_DTYPES,
    PANEL,
    PackedWeight,
    Weight,
    pack_codes,
    pack_scales,
    packed_shapes,
)
from minidecilm.weights.safetensors_file import TensorSource, forget_pages, format_name
from minidecilm.weights.scheme import Scheme

# Codes that the largest value of a group may get, before they are cut off at -8. Measured on normal, Laplace
# and t-distributed weights: within 0.8 % of the squared error of the best of 200 scales of both signs.
_LARGEST = np.arange(7.0, 10.5, 0.5, dtype=np.float32)

_LIMITS = {8: (-127, 127), 4: (-8, 7)}
_SMALLEST_SCALE = np.finfo(np.float32).tiny  # of bfloat16's normal numbers too
_BLOCK = 1 << 16  # weights at a time, which with what is computed of them fit a CPU's cache


def quantize_weight(matrix: Array, bits: int, group: int = 64, name: str = "matrix") -> PackedWeight:
    """Pack a float matrix; a value of NaN or infinity is a CheckpointError.

    Parameters
    ----------
    matrix : (out, in) array
        Any float dtype.
    bits : {8, 4}
    group : {32, 64, 128}
        Columns that share a scale.
    name : str
        What an error message calls it.

    Returns
    -------
    PackedWeight

    Examples
    --------
    >>> weight = quantize_weight(np.array([[1.0, -4.0, 2.5]]), bits=4)
    >>> weight[:]
    array([[ 1. , -4. ,  2.5]], dtype=float32)
    """
    rows, columns = matrix.shape
    codes_shape, scales_shape = packed_shapes(matrix.shape, bits, group)
    codes, scales = np.empty(codes_shape, CODE_DTYPES[bits]), np.empty(scales_shape, BFLOAT16)
    panel = 0
    for block_codes, block_scales in _quantized_blocks(matrix, bits, group, name):
        block = slice(panel, panel + len(block_codes))
        codes[block], scales[block] = block_codes, block_scales
        panel = block.stop
    return PackedWeight(codes, scales, (rows, columns), group)


def quantize_weights(
    weights: Mapping[str, Any], scheme: Scheme, progress: bool | None = None
) -> dict[str, Weight]:
    """Pack the weights of a model in memory, as the scheme says; the others are handed through.

    An adapter on them, :class:`minidecilm.weights.adapted.AdaptedWeight`, is merged.
    """
    packed: dict[str, Weight] = {}
    total = sum(weight.size for weight in weights.values())
    with progress_bar(total, f"quantising to {scheme.weights}", "weight", progress, True) as bar:
        for name, weight in weights.items():
            bits = scheme.bits(name, weight.shape)
            if bits is None:
                for _ in finite_blocks(weight, f"tensor {name}"):
                    pass
                packed[name] = weight
            else:
                packed[name] = quantize_weight(weight, bits, scheme.group, f"tensor {name}")
            bar.update(weight.size)
    return packed


def quantize_checkpoint(
    source: str | Path,
    folder: str | Path,
    weights: str = "int4",
    group: int = 64,
    *,
    adapter: str | Path | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    ignore_config_keys: Iterable[str] = (),
    progress: bool | None = None,
) -> None:
    """Quantise a checkpoint folder into a new one, a few panels at a time.

    Memory stays at one block of weights and the scales of one file. Tokenizer and licence files come along.

    Parameters
    ----------
    source : str or Path
        A folder in Hugging Face layout.
    weights : {"int8", "int4"}
    group : {32, 64, 128}
        Columns that share a scale.
    adapter : str or Path, optional
        Is merged first, a block at a time: see :mod:`minidecilm.weights.adapters`.
    ignore_config_keys : iterable of str
        As for :func:`minidecilm.load`.
    folder, max_shard_bytes, progress
        As for :func:`minidecilm.weights.checkpoint_writer.write_checkpoint`.

    Raises
    ------
    CheckpointError, ConfigError
        If `source` is no checkpoint, is quantised already, holds NaN or infinity in any tensor, or changes
        meanwhile; if the adapter does not fit it.
    FileExistsError
        If `folder` exists and is not empty.

    Examples
    --------
    >>> import tempfile, minidecilm
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     quantize_checkpoint(minidecilm.catalog.DEMO_FOLDER, f"{folder}/demo-int4")
    ...     lm = minidecilm.load(f"{folder}/demo-int4")
    >>> str(lm.model.weights["model.layers.0.mlp.up_proj.weight"].dtype)
    'int4'
    """
    scheme = Scheme(weights, group)
    checkpoint = open_checkpoint(source, ignore_config_keys=ignore_config_keys)
    sources: list[TensorSource] = []
    config, tensors = with_adapter(checkpoint.config, checkpoint.float_tensors(), adapter)
    for name, weight in tensors.items():
        bits = scheme.bits(name, weight.shape)
        if bits is None:
            sources.append(stored_source(name, weight, f"{source}: tensor {name}"))
        else:
            sources += _packed_sources(name, weight, bits, group, f"{source}: tensor {name}")
    write_checkpoint(
        config,
        folder,
        sources,
        scheme=scheme,
        companions=companions_of(checkpoint.folder),
        check=checkpoint.check_unchanged,
        max_shard_bytes=max_shard_bytes,
        progress=progress,
    )


def _packed_sources(
    name: str, matrix: Array, bits: int, group: int, where: str
) -> tuple[TensorSource, TensorSource]:
    """Codes and scales to be written; the scales exist once the codes have been, which are written first."""
    scales: list[Array] = []

    def codes() -> Iterator[Array]:
        for block_codes, block_scales in _quantized_blocks(matrix, bits, group, where):
            scales.append(block_scales)
            yield block_codes

    codes_shape, scales_shape = packed_shapes(matrix.shape, bits, group)
    return (
        TensorSource(f"{name}.codes", format_name(CODE_DTYPES[bits]), codes_shape, codes()),
        TensorSource(f"{name}.scales", format_name(BFLOAT16), scales_shape, scales),
    )


def _quantized_blocks(matrix: Array, bits: int, group: int, where: str) -> Iterator[tuple[Array, Array]]:
    """Yield codes and scales of a few panels at a time, as they lie in a :class:`PackedWeight`."""
    rows, columns = matrix.shape
    groups = -(-columns // group)
    step = min(max(1, _BLOCK // (PANEL * columns)), -(-rows // PANEL)) * PANEL
    padded = np.zeros((step, groups * group), np.float32)  # made once: new memory costs as much as the work
    scratch = np.empty((step * groups, group), np.float32)
    for start in range(0, rows, step):
        block = matrix[start : start + step]
        padded = padded[: -(-len(block) // PANEL) * PANEL]
        padded[: len(block), :columns] = block
        padded[len(block) :] = 0
        values = padded.reshape(-1, group)  # (N, group)
        codes = scratch[: len(values)]
        high, low = values.max(axis=1), values.min(axis=1)  # (N,); NaN if any is
        finite = np.isfinite(high) & np.isfinite(low)
        if not finite.all():
            raise _not_finite(where, start + np.flatnonzero(~finite)[0] // groups)
        largest = np.where(-low > high, low, high)  # (N,), with its sign
        exact = np.abs(largest) / 127 if bits == 8 else _least_error_scales(values, largest, codes)
        scales = _rounded(exact)
        _round(values, _inverse(scales)[:, None], bits, out=codes)
        narrow = codes.astype(np.int8).reshape(len(padded), -1)[:, : -(-columns // 8) * 8]
        yield pack_codes(narrow, bits), pack_scales(scales.reshape(len(padded), groups))


def finite_blocks(weight: Array, where: str, rows: Array | None = None) -> Iterator[Array]:
    """Yield some rows at a time of what stays as it is stored, once they are known to be finite.

    `rows` are indices: which rows, in this order; None for all of them as they are. Pages of a mapped weight
    are given back once read, so they do not add up.
    """
    step = max(1, _BLOCK // (weight.size // len(weight)))
    order = np.arange(len(weight)) if rows is None else rows
    for start in range(0, len(order), step):
        block = weight[order[start : start + step]]
        finite = np.isfinite(block).reshape(len(block), -1).all(axis=1)
        if not finite.all():
            raise _not_finite(where, order[start + np.flatnonzero(~finite)[0]])
        yield block
        forget_pages(weight)


def stored_source(name: str, weight: Array, where: str, rows: Array | None = None) -> TensorSource:
    """Tensor to be written as it is stored, by :func:`finite_blocks`, whose arguments these are."""
    shape = weight.shape if rows is None else (len(rows), *weight.shape[1:])
    return TensorSource(name, format_name(weight.dtype), shape, finite_blocks(weight, where, rows))


def _not_finite(where: str, row: int) -> CheckpointError:
    return CheckpointError(f"{where}: expected finite values, found NaN or infinity in row {row}")


def _round(values: Array, inverse: Array | np.float32, bits: int, out: Array) -> None:
    """Write the codes of values to `out`, as floats: (N, group), inverse scales (N, 1) or one for all."""
    np.multiply(values, inverse, out=out)
    np.rint(out, out=out)
    np.clip(out, *_LIMITS[bits], out=out)


def _least_error_scales(values: Array, largest: Array, codes: Array) -> Array:
    """Scales of 4-bit codes with the least squared error among those tried: (N, group), (N,) -> (N,).

    For given codes q the best scale is <x, q> / <q, q>, and leaves an error of <x, x> - <x, q>^2 / <q, q>.
    What `codes` holds is lost.
    """
    unit = values * _inverse(largest)[:, None]  # the largest value of a group is 1: nothing can overflow
    best_gain, best = np.full(len(unit), -1, np.float32), np.zeros(len(unit), np.float32)
    for code in _LARGEST:
        _round(unit, -code, 4, out=codes)
        along, square = np.vecdot(unit, codes), np.vecdot(codes, codes)
        factor = along / np.maximum(square, 1)  # square is 0 in a group of zeros only
        gain = along * factor
        better = gain > best_gain
        best_gain[better], best[better] = gain[better], factor[better]
    return best * largest


def _rounded(scales: Array) -> Array:
    """Round to bfloat16, and to 0 what is subnormal there: float32."""
    rounded = scales.astype(BFLOAT16).astype(np.float32)
    return np.where(np.abs(rounded) < _SMALLEST_SCALE, np.float32(0), rounded)


def _inverse(values: Array) -> Array:
    """1 / x, and 0 for what is 0 or subnormal."""
    usable = np.abs(values) >= _SMALLEST_SCALE
    return np.divide(1, values, out=np.zeros_like(values), where=usable)
