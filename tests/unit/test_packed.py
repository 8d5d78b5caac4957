"""Packed weights: the layout, byte by byte, and standing in for a matrix; planted mistakes are noticed."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidecilm import ops
from minidecilm.weights import packed
from minidecilm.weights.packed import BFLOAT16, CODE_DTYPES, GROUPS, PackedWeight, packed_shapes

RANGES = {8: (-127, 127), 4: (-8, 7)}
# Odd rows, columns that fill neither a word, a byte pair nor a group, exactly one panel, a single value.
SHAPES = [(1, 1), (5, 3), (16, 8), (16, 128), (17, 9), (33, 70), (48, 256), (31, 130)]
LAYOUTS = [(bits, group) for bits in (8, 4) for group in GROUPS]

every_layout = pytest.mark.parametrize(("bits", "group"), LAYOUTS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def draw(shape, bits, group, seed=0):
    """Random codes and scales of a matrix, its values in float64, and the packed weight."""
    generator = np.random.default_rng(seed)
    low, high = RANGES[bits]
    codes = generator.integers(low, high, shape, np.int8, endpoint=True)
    scales = generator.standard_normal((shape[0], -(-shape[1] // group))).astype(BFLOAT16)
    values = codes * np.repeat(scales.astype(np.float64), group, axis=1)[:, : shape[1]]
    return codes, scales, values, PackedWeight.from_codes(codes, scales, bits, group)


# --- the layout, read one code at a time as its description says


def code_at(weight, row, column):
    p, r = divmod(row, 16)
    if weight.bits == 8:
        return int(weight.codes[p, column // 4, r, column % 4])
    byte = int(weight.codes[p, column // 8, r, column % 4])
    return (byte >> 4 if column % 8 >= 4 else byte & 15) - 8


def as_described(weight, values):
    """The layout says these values, at every place of the matrix, and zeros beyond it."""
    rows, columns = weight.shape
    per_word = 4 if weight.bits == 8 else 8
    for row in range(16 * len(weight.codes)):
        for column in range(per_word * weight.codes.shape[1]):
            code = code_at(weight, row, column)
            if row < rows and column < columns:
                scale = float(weight.scales[row // 16, column // weight.group, row % 16])
                assert code * scale == values[row, column], (row, column)
            else:
                assert code == 0, (row, column)


@every_layout
@every_shape
def test_the_layout_is_as_described(shape, bits, group):
    _, _, values, weight = draw(shape, bits, group)
    as_described(weight, values)
    assert (weight.codes.shape, weight.scales.shape) == packed_shapes(shape, bits, group)
    assert weight.codes.dtype == CODE_DTYPES[bits]
    assert weight.scales.dtype == ml_dtypes.bfloat16
    assert not weight.scales.reshape(-1, 16)[:, shape[0] % 16 or 16 :].astype(bool)[-1].any()


def test_the_sizes_that_kernels_rely_on():
    assert packed_shapes((11008, 4096), 8, 64) == ((688, 1024, 16, 4), (688, 64, 16))
    assert packed_shapes((4096, 11008), 4, 128) == ((256, 1376, 16, 4), (256, 86, 16))
    assert packed_shapes((17, 9), 8, 32) == ((2, 4, 16, 4), (2, 1, 16))
    assert packed_shapes((17, 9), 4, 32) == ((2, 2, 16, 4), (2, 1, 16))


def test_codes_of_4_bits_byte_by_byte():
    codes = np.array([[-8, -7, 7, 0, 1, 2, -1, 3, 5]], np.int8)
    weight = PackedWeight.from_codes(codes, np.ones((1, 1)), bits=4, group=32)
    assert weight.codes[0, :, 0].tolist() == [[0x90, 0xA1, 0x7F, 0xB8], [0x8D, 0x88, 0x88, 0x88]]
    assert weight.codes[0, 0, 1].tolist() == [0x88] * 4  # padding is code 0 as well


# --- standing in for a matrix


@every_layout
@every_shape
def test_every_slice_of_rows(shape, bits, group):
    _, _, values, weight = draw(shape, bits, group)
    for start in range(0, shape[0], 3):
        for stop in (start, start + 1, start + 16, start + 20, shape[0]):
            part = weight[start:stop]
            assert part.dtype == np.float32
            np.testing.assert_array_equal(part, values[start:stop])
    np.testing.assert_array_equal(weight[:], values)
    np.testing.assert_array_equal(weight[-3:], values[-3:])
    np.testing.assert_array_equal(weight.astype(np.float64), values)


def test_the_whole_matrix_is_widened_in_blocks(monkeypatch):
    _, _, values, weight = draw((70, 40), 4, 32)
    monkeypatch.setattr(packed, "_BLOCK", 40 * 7)
    np.testing.assert_array_equal(weight.astype(ml_dtypes.bfloat16), values.astype(ml_dtypes.bfloat16))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 50),
    columns=st.integers(1, 300),
    layout=st.sampled_from(LAYOUTS),
    tokens=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_linear_is_the_product_with_the_values(rows, columns, layout, tokens, seed):
    """In float64 nothing is lost on the way: codes times scales are exact."""
    _, _, values, weight = draw((rows, columns), *layout, seed)
    x = np.random.default_rng(seed).standard_normal((2, tokens, columns))
    np.testing.assert_allclose(ops.linear(x, weight), x @ values.T, rtol=0, atol=1e-9)


def test_linear_takes_it_a_tile_at_a_time(monkeypatch):
    _, _, values, weight = draw((100, 64), 8, 32)
    widened = []
    honest = PackedWeight.dequantize
    monkeypatch.setattr(PackedWeight, "dequantize", lambda w, *rows: widened.append(rows) or honest(w, *rows))
    monkeypatch.setattr(ops, "_TILE", 64 * 30)
    x = np.ones((1, 64))
    np.testing.assert_allclose(ops.linear(x, weight), x @ values.T)
    assert widened == [(0, 30), (30, 60), (60, 90), (90, 100)]


@pytest.mark.parametrize("bits", [8, 4])
def test_a_misaligned_map_reads_right(bits):
    """As a file of other tools may hold it."""
    _, _, values, weight = draw((33, 70), bits, 64)
    moved = {}
    for part in ("codes", "scales"):
        array = getattr(weight, part)
        data = np.frombuffer(b"-" + array.tobytes(), np.uint8)[1:]
        moved[part] = data.view(array.dtype).reshape(array.shape)
    assert not moved["scales"].flags.aligned
    np.testing.assert_array_equal(replace(weight, **moved)[:], values)


@pytest.mark.parametrize("bits", [8, 4])
def test_it_says_what_it_is(bits):
    *_, weight = draw((33, 70), bits, 64)
    assert str(weight.dtype) == f"int{bits}"
    assert all(weight.dtype != np.dtype(other) for other in (np.float32, np.float64, ml_dtypes.bfloat16))
    assert (weight.bits, weight.shape, len(weight)) == (bits, (33, 70), 33)
    assert weight.nbytes == 3 * 16 * (72 * bits // 8 + 2 * 2)


def test_rows_are_taken_by_slices_of_neighbours_only():
    *_, weight = draw((5, 3), 8, 32)
    for wrong in (0, [0, 1], slice(0, 5, 2), slice(None, None, -1), np.array([1])):
        with pytest.raises(TypeError, match="packed weight"):
            weight[wrong]


@pytest.mark.parametrize(
    "change",
    [
        lambda w: {"shape": (33, 70)},
        lambda w: {"shape": (17, 9)},
        lambda w: {"group": 64},
        lambda w: {"group": 48},
        lambda w: {"codes": w.codes[:, :-1]},
        lambda w: {"codes": w.codes.view(np.uint8)},
        lambda w: {"codes": w.codes.astype(np.int16)},
        lambda w: {"scales": w.scales.astype(np.float32)},
        lambda w: {"scales": w.scales[:, :-1]},
    ],
)
def test_what_does_not_fit_together_is_refused(change):
    *_, weight = draw((17, 70), 8, 32)
    with pytest.raises(ValueError, match="packed weight"):
        replace(weight, **change(weight))


# --- planted mistakes


def swapped_nibbles(weight):
    return replace(weight, codes=weight.codes << 4 | weight.codes >> 4)


def permuted_rows(weight):
    return replace(weight, codes=np.ascontiguousarray(weight.codes[:, :, np.r_[1, 0, 2:16]]))


def wrong_last_scale(weight):
    scales = weight.scales.copy()
    scales[:, -1] *= scales.dtype.type(2)
    return replace(weight, scales=scales)


def panels_exchanged(weight):
    return replace(weight, codes=np.ascontiguousarray(weight.codes[::-1]))


@pytest.mark.parametrize("break_it", [swapped_nibbles, permuted_rows, wrong_last_scale, panels_exchanged])
def test_a_wrong_layout_is_noticed(break_it):
    _, _, values, weight = draw((31, 70), 4, 32)
    as_described(weight, values)
    x = np.random.default_rng(1).standard_normal((2, 70))
    broken = break_it(weight)
    with pytest.raises(AssertionError):
        as_described(broken, values)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(ops.linear(x, broken), x @ values.T)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_reader_that_gives_the_last_partial_group_its_neighbours_scale_is_noticed(bits, monkeypatch):
    _, _, values, weight = draw((31, 70), bits, 32)
    honest = packed.unpack_scales

    def off_by_one(scales):
        found = honest(scales)
        found[:, -1] = found[:, -2]
        return found

    np.testing.assert_array_equal(weight[:], values)
    monkeypatch.setattr(packed, "unpack_scales", off_by_one)
    assert not np.array_equal(weight[:], values)
