"""The safetensors format, one file at a time: read by memory-mapping, written as a stream.

A file is an 8-byte little-endian length, a JSON header of that length, then the tensors' bytes. The header
gives each tensor's dtype, shape and byte range; together the ranges cover the rest of the file exactly.
Everything is checked before any array is made.
"""

import json
import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from minidecilm.errors import CheckpointError
from minidecilm.files import brief, parse_object, refuse_lfs_pointer, replacing, require_file
from minidecilm.ops import Array

#: Dtypes by the names that a file gives them.
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}

# Hostile JSON grows up to 50-fold when parsed: this keeps parsing under 200 MB with room to spare. The whole
# header of DeciLM-6B would have 33 kB; the largest config this package takes needs 1.3 MB.
MAX_HEADER_BYTES = 2 << 20

_MAX_DIMENSIONS = 32
_CACHE_LINE = 64  # bytes
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}  # others are let pass, as the safetensors library does


def format_name(dtype: str | np.dtype[Any]) -> str:
    """Name of a dtype in the format's header: "BF16" for "bfloat16"."""
    return next(name for name, known in DTYPES.items() if str(known) == str(dtype))


class TensorSource(NamedTuple):
    """A tensor to be written: what the header says, and the data in C order, piece by piece.

    Attributes
    ----------
    name : str
        Key in the header.
    dtype : str
        Key of :data:`DTYPES`.
    shape : tuple of int
    chunks : iterable of ndarray
        Arrays of that dtype whose elements, one after another, are the tensor's. Consumed once, when written.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: Iterable[Array]

    @classmethod
    def from_array(cls, name: str, array: Array) -> "TensorSource":
        """Wrap an array that is in memory, or mapped, already."""
        if array.dtype not in DTYPES.values():
            raise ValueError(f"tensor {name}: expected one of {', '.join(DTYPES)}, found {array.dtype}")
        return cls(name, format_name(array.dtype), array.shape, (array,))

    @property
    def nbytes(self) -> int:
        """Bytes of data."""
        return prod(self.shape) * DTYPES[self.dtype].itemsize


class _Entry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_safetensors(path: str | Path, skip: Callable[[str], bool] = lambda name: False) -> dict[str, Array]:
    """Open a safetensors file without reading its data.

    Parameters
    ----------
    path : str or Path
    skip : callable
        Whether a tensor of that name is left out, whatever its dtype.

    Returns
    -------
    dict of str to ndarray
        Tensors in the header's order: read-only views of one memory map, bfloat16 as ``ml_dtypes.bfloat16``.
        A view of a misaligned tensor works; its ``flags.aligned`` is false.

    Raises
    ------
    CheckpointError
        If the file is damaged or not what it claims, or holds a dtype that is not read; nothing of it is used
        then.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> ones = np.ones((2, 3), ml_dtypes.bfloat16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_safetensors(f"{folder}/a.safetensors", [TensorSource.from_array("ones", ones)])
    ...     array = read_safetensors(f"{folder}/a.safetensors")["ones"]
    >>> array.shape, str(array.dtype)
    ((2, 3), 'bfloat16')
    """
    path = Path(path)
    require_file(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header, start = _read_header(file, path, size)
        _pop_metadata(header, path)
        entries = {name: _check_entry(entry, size - start, path, name) for name, entry in header.items()}
        _check_cover(entries, size - start, path)
        entries = {name: entry for name, entry in entries.items() if not skip(name)}
        for name, entry in entries.items():
            if entry.dtype not in DTYPES:  # sound, but another integer, an 8-bit float, or of a later version
                raise CheckpointError(
                    f"{path}: tensor {brief(name)}: not supported: dtype {brief(entry.dtype)[1:-1]}, "
                    f"expected {', '.join(DTYPES)}; convert it, or open the model as it was before another "
                    "program packed it"
                )
        mapped = np.asarray(np.memmap(file, np.uint8, mode="r"))
    return {
        name: mapped[start + entry.begin : start + entry.end].view(DTYPES[entry.dtype]).reshape(entry.shape)
        for name, entry in entries.items()
    }


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read what is stored beside the tensors of a safetensors file, {} if nothing is.

    Raises
    ------
    CheckpointError
        If the header is damaged; of the tensors nothing is checked.
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    require_file(path)
    with path.open("rb") as file:
        header, _ = _read_header(file, path, os.fstat(file.fileno()).st_size)
    return _pop_metadata(header, path)


def _pop_metadata(header: dict[str, Any], path: Path) -> dict[str, str]:
    metadata = header.pop("__metadata__", None)
    strings = isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())
    if metadata is not None and not strings:
        raise _damaged(f"{path}: __metadata__", "an object of strings", brief(metadata))
    return metadata or {}


def forget_pages(array: Array) -> None:
    """Let go of what was read of a mapped file, which counts as this process's memory until then.

    The array stays as it is: what is used again is mapped again. Of other arrays, and on systems that offer
    no such thing, nothing happens.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def write_safetensors(
    path: str | Path, tensors: Iterable[TensorSource], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file as a stream: no more than one chunk is in memory.

    The file appears under its name only when it is complete, and replaces one that was there.

    Parameters
    ----------
    path : str or Path
    tensors : iterable of TensorSource
        What to write, in this order, save that tensors of a size that is no multiple of 64 bytes come last,
        wider dtypes first: so every tensor is aligned, the others to a cache line.
    metadata : mapping of str to str, optional
        Stored beside the tensors.

    Raises
    ------
    ValueError
        If a name is used twice, the header would be too large to be read back, or chunks do not make up
        what their source announced.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    sources = sorted(
        tensors,
        key=lambda source: _CACHE_LINE - DTYPES[source.dtype].itemsize if source.nbytes % _CACHE_LINE else 0,
    )
    header: dict[str, Any] = {"__metadata__": dict(metadata or {})}
    position = 0
    for source in sources:
        if source.name in header:
            raise ValueError(f"tensor {source.name}: name used twice or reserved")
        offsets = [position, position + source.nbytes]
        header[source.name] = {"dtype": source.dtype, "shape": list(source.shape), "data_offsets": offsets}
        position += source.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _CACHE_LINE)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"{len(sources):,} tensors are too many for one file: write several")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for source in sources:
            _write_chunks(file, source)


def _write_chunks(file: BinaryIO, source: TensorSource) -> None:
    written = 0
    for chunk in source.chunks:
        if chunk.dtype != DTYPES[source.dtype]:
            raise ValueError(f"tensor {source.name}: expected chunks of {source.dtype}, found {chunk.dtype}")
        file.write(np.ascontiguousarray(chunk).reshape(-1).view(np.uint8).data)
        written += chunk.nbytes
    if written != source.nbytes:
        raise ValueError(f"tensor {source.name}: expected {source.nbytes:,} bytes, chunks held {written:,}")


def _damaged(where: str, expected: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{where}: expected {expected}, found {found}; the file is damaged: download or export it again"
    )


def _read_header(file: BinaryIO, path: Path, size: int) -> tuple[dict[str, Any], int]:
    """Return the parsed header and where the data begins."""
    beginning = file.read(8)
    refuse_lfs_pointer(path, beginning)
    length = int.from_bytes(beginning, "little")
    if size < 8 or length > size - 8:
        expected = f"a safetensors file, which begins with the length of its header (here {length:,} bytes)"
        raise _damaged(str(path), expected, f"a file of {size:,} bytes")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: expected a header of at most {MAX_HEADER_BYTES:,} bytes, found {length:,}; "
            "save the file without its metadata, or in shards"
        )
    return parse_object(file.read(length), f"{path}: header", CheckpointError), 8 + length


def _check_entry(entry: Any, data_bytes: int, path: Path, tensor: str) -> _Entry:
    def check(ok: bool, key: str, expected: str, found: Any) -> None:
        if not ok:
            raise _damaged(f"{path}: tensor {brief(tensor)}: {key}", expected, brief(found))

    ok = isinstance(entry, dict) and entry.keys() >= _ENTRY_KEYS
    check(ok, "header entry", "an object of dtype, shape and data_offsets", entry)
    name, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    check(isinstance(name, str), "dtype", "a name", name)
    itemsize = DTYPES[name].itemsize if name in DTYPES else 0
    ok = isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS
    # type() and not isinstance(): JSON true is no size. The product also bounds the shape of an empty tensor,
    # of which the data says nothing.
    ok = ok and all(type(size) is int and size >= 0 for size in shape)
    ok = ok and prod(max(size, 1) for size in shape) * max(itemsize, 1) < 1 << 63
    check(ok, "shape", f"at most {_MAX_DIMENSIONS} sizes that fit a file", shape)
    ok = isinstance(offsets, list) and len(offsets) == 2 and all(type(offset) is int for offset in offsets)
    ok = ok and 0 <= offsets[0] <= offsets[1] <= data_bytes
    check(ok, "data_offsets", f"[begin, end] within {data_bytes:,} bytes of data", offsets)
    nbytes = prod(shape) * itemsize
    ok = name not in DTYPES or offsets[1] - offsets[0] == nbytes
    check(ok, "data_offsets", f"{nbytes:,} bytes for {name} {shape}", offsets)
    return _Entry(name, tuple(shape), *offsets)


def _check_cover(entries: Mapping[str, _Entry], data_bytes: int, path: Path) -> None:
    """Refuse overlaps, holes and bytes left over: data that no tensor owns hides a fault or a payload."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        if entry.begin != position:
            fault = "an overlap with" if entry.begin < position else "a hole after"
            expected = f"data from byte {position:,}"
            raise _damaged(
                f"{path}: tensor {brief(name)}", expected, f"{entry.begin:,}, {fault} the tensor before it"
            )
        position = entry.end
    if position != data_bytes:
        raise _damaged(str(path), f"{position:,} bytes of data", f"{data_bytes:,}, more than the tensors own")
