"""The safetensors reader and writer, against the safetensors package and against damage."""

import json
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from minidecilm.errors import CheckpointError
from minidecilm.weights.safetensors_file import (
    DTYPES,
    MAX_HEADER_BYTES,
    TensorSource,
    read_safetensors,
    write_safetensors,
)


def arrays() -> dict[str, np.ndarray]:
    """One array of every dtype and several shapes, a scalar and an empty one among them."""
    values = np.random.default_rng(0).normal(0, 20, 60)
    found = {name: values.astype(dtype).reshape(3, 4, 5) for name, dtype in DTYPES.items()}
    found["scalar"] = np.array(2.5, np.float32)
    found["empty"] = np.zeros((0, 7), ml_dtypes.bfloat16)
    return found


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def write_raw(path: Path, header: object, data: bytes) -> Path:
    """Write any header, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_reads_what_the_safetensors_package_writes(tmp_path: Path) -> None:
    safetensors.numpy.save_file(arrays(), tmp_path / "a.safetensors", metadata={"format": "np"})
    assert_equal(read_safetensors(tmp_path / "a.safetensors"), arrays())


def test_the_safetensors_package_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, [TensorSource.from_array(*item) for item in arrays().items()], {"format": "np"})
    assert_equal(safetensors.numpy.load_file(path), arrays())
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "np"}


def test_arrays_are_aligned_views_of_one_read_only_map(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, [TensorSource.from_array(*item) for item in arrays().items()])
    tensors = read_safetensors(path)
    bases = set()
    for array in tensors.values():
        assert type(array) is np.ndarray
        assert array.flags.aligned
        assert not array.flags.writeable
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        bases.add(id(base))
    assert len(bases) == 1
    with pytest.raises(ValueError, match="read-only"):
        tensors["F32"][0] = 0


def test_tensors_begin_at_a_cache_line_where_sizes_allow(tmp_path: Path) -> None:
    """Whatever the order they are given in: odd sizes come last."""
    odd, even = np.zeros(3, np.int8), np.zeros(32, np.float32)
    named = {"a": odd, "b": even, "c": np.zeros(5, np.float32), "d": even}
    write_safetensors(tmp_path / "a", [TensorSource.from_array(*item) for item in named.items()])
    tensors = read_safetensors(tmp_path / "a")
    assert [tensors[name].ctypes.data % 64 for name in "bd"] == [0, 0]
    assert all(array.flags.aligned for array in tensors.values())


def test_a_file_that_ends_in_its_header_is_called_that(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.safetensors", {}, b"")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        CheckpointError, match=r"length of its header \(here 2 bytes\), found a file of 9 bytes"
    ):
        read_safetensors(path)


def test_a_misaligned_tensor_reads_right(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    header = {"byte": entry("U8", [1], 0, 1), "values": entry("F32", [2, 3], 1, 25)}
    for padding in range(4):
        text = json.dumps(header).encode() + b" " * padding
        path = write_raw(tmp_path / f"{padding}.safetensors", text, b"\x07" + values.tobytes())
        found = read_safetensors(path)["values"]
        np.testing.assert_array_equal(found, values.reshape(2, 3))
        np.testing.assert_array_equal(found @ found.T, values.reshape(2, 3) @ values.reshape(2, 3).T)


def test_chunks_are_written_as_they_come(tmp_path: Path) -> None:
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    source = TensorSource("whole", "F32", (4, 6), (row for row in whole))
    write_safetensors(tmp_path / "a.safetensors", [source])
    np.testing.assert_array_equal(read_safetensors(tmp_path / "a.safetensors")["whole"], whole)


def test_a_transposed_array_is_written_in_its_own_order(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_safetensors(tmp_path / "a.safetensors", [TensorSource.from_array("a", array)])
    np.testing.assert_array_equal(read_safetensors(tmp_path / "a.safetensors")["a"], array)


def test_a_file_without_tensors(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", [], {"only": "metadata"})
    assert read_safetensors(tmp_path / "a.safetensors") == {}
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.metadata() == {"only": "metadata"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.safetensors"
    old = np.arange(3, dtype=np.float32)
    write_safetensors(path, [TensorSource.from_array("a", old)])

    def chunks():
        yield np.ones(2, np.float32)
        raise error

    with pytest.raises(error):
        write_safetensors(path, [TensorSource("a", "F32", (4,), chunks())])
    assert os.listdir(tmp_path) == ["a.safetensors"]
    np.testing.assert_array_equal(read_safetensors(path)["a"], old)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        pytest.param(
            [TensorSource("a", "F32", (3,), [np.ones(2, np.float32)])], "expected 12 bytes", id="short"
        ),
        pytest.param(
            [TensorSource("a", "F32", (1,), [np.ones(2, np.float32)])], "expected 4 bytes", id="long"
        ),
        pytest.param([TensorSource("a", "F32", (2,), [np.ones(2)])], "found float64", id="dtype"),
        pytest.param([TensorSource.from_array("a", np.ones(2, np.float32))] * 2, "twice", id="twice"),
        pytest.param(
            [TensorSource.from_array("__metadata__", np.ones(2, np.float32))], "reserved", id="reserved"
        ),
        pytest.param(
            [TensorSource.from_array("x" * MAX_HEADER_BYTES, np.ones(2, np.float32))], "too many", id="header"
        ),
    ],
)
def test_sources_that_break_their_word_are_refused(
    tmp_path: Path, sources: list[TensorSource], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_safetensors(tmp_path / "a.safetensors", sources)
    assert os.listdir(tmp_path) == []


def test_a_dtype_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="found complex128"):
        TensorSource.from_array("a", np.ones(2, complex))


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        pytest.param(
            {"a": entry("F32", [2], 0, 8)}, 4, "'a'.*data_offsets.*within 4 bytes", id="beyond the file"
        ),
        pytest.param({"a": entry("F32", [2], 0, 8)}, 9, "expected 8 bytes of data, found 9", id="bytes left"),
        pytest.param({"a": entry("F32", [2], 0, 7)}, 7, "8 bytes for F32", id="too few"),
        pytest.param({"a": entry("F32", [2], 0, 12)}, 12, "8 bytes for F32", id="too many"),
        pytest.param({"a": entry("F32", [True], 0, 4)}, 4, "'a'.*shape.*True", id="true is no size"),
        pytest.param(
            {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, 12, "'b'.*overlap", id="overlap"
        ),
        pytest.param(
            {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 12, 20)}, 20, "'b'.*hole", id="hole"
        ),
        pytest.param({"a": entry("F32", [2], 4, 12)}, 12, "'a'.*hole", id="hole at the start"),
        pytest.param({"a": entry("F64", [1], 0, 7)}, 7, "8 bytes for F64", id="size of float64"),
        pytest.param({"a": entry(7, [1], 0, 8)}, 8, "'a'.*dtype.*found 7", id="dtype"),  # type: ignore[arg-type]
        pytest.param({"a": entry("F32", [0, 2**70], 0, 0)}, 0, "'a'.*shape", id="empty but huge"),
        pytest.param({"__metadata__": {"a": 1}}, 0, "__metadata__.*strings", id="metadata"),
        pytest.param(b'{"a": 1, "a": 2}', 0, "twice", id="duplicate key"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, header: object, data: int, message: str) -> None:
    path = write_raw(tmp_path / "a.safetensors", header, b"\0" * data)
    with pytest.raises(CheckpointError, match=f"a.safetensors.*{message}"):
        read_safetensors(path)


# Names of the format beyond those of DTYPES, and the bytes of a tensor of 4.
OTHERS = {
    **dict.fromkeys(("I64", "U64", "C64"), 32),
    **dict.fromkeys(("I32", "U32"), 16),
    **dict.fromkeys(("I16", "U16"), 8),
    **dict.fromkeys(("BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 4),
    **{"F6_E2M3": 3, "F6_E3M2": 3, "F4": 2},
}


@pytest.mark.parametrize("dtype", [*OTHERS, "F128_of_tomorrow"])
def test_a_dtype_that_is_not_read_is_not_called_damage(tmp_path: Path, dtype: str) -> None:
    path, size = tmp_path / "a.safetensors", OTHERS.get(dtype, 4)
    write_raw(
        path, {"a": entry(dtype, [4], 0, size), "b": entry("F32", [1], size, size + 4)}, b"\1" * (size + 4)
    )
    if dtype in OTHERS:
        with safetensors.safe_open(path, "np") as file:  # a sound file
            assert file.get_slice("a").get_dtype() == dtype
    with pytest.raises(CheckpointError) as caught:
        read_safetensors(path)
    message = str(caught.value)
    assert f"a.safetensors: tensor 'a': not supported: dtype {dtype}, expected F64, F32, F16, BF16" in message
    assert "damaged" not in message
    assert read_safetensors(path, lambda name: name == "a").keys() == {"b"}


def test_bytes_of_a_skipped_tensor_are_covered_all_the_same(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.safetensors", {"a": entry("I64", [1], 0, 8)}, b"\0" * 9)
    with pytest.raises(CheckpointError, match="expected 8 bytes of data, found 9"):
        read_safetensors(path, lambda name: True)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}])
def test_what_the_library_lets_pass(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    """Other keys in an entry, and no metadata spelled as null."""
    tensor = entry("F32", [1], 0, 4) | {"strides": [1], "note": {"by": None}}
    path = write_raw(tmp_path / "a.safetensors", {"__metadata__": metadata, "a": tensor}, b"\0\0\x80?")
    assert safetensors.numpy.load_file(path)["a"] == 1
    assert read_safetensors(path) == {"a": 1}


def test_a_git_lfs_pointer_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4953700360\n")
    with pytest.raises(CheckpointError, match="found a git-lfs pointer to it; fetch it with `git lfs pull`"):
        read_safetensors(path)


def test_an_absurd_header_length_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        file.truncate(1 << 30)  # sparse
    with pytest.raises(CheckpointError, match="header of at most 2,097,152 bytes"):
        read_safetensors(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="pipe"):
        read_safetensors(tmp_path / "a.safetensors")
