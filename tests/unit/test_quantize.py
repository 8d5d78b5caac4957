"""Float weights to codes: error bounds, odd sizes, folders, refusals; and mistakes planted in all of it."""

import errno
import json
import math
import os
import shutil
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidecilm
from minidecilm import write_random_checkpoint
from minidecilm.catalog import DEMO_FOLDER
from minidecilm.errors import CheckpointError, ConfigError
from minidecilm.weights import checkpoint_writer, quantize
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.packed import GROUPS, PackedWeight, packed_shapes, unpack_codes
from minidecilm.weights.quantize import quantize_checkpoint, quantize_weight
from minidecilm.weights.safetensors_file import read_safetensors
from minidecilm.weights.scheme import Scheme
from tests.configs import ODD

LAYOUTS = [(bits, group) for bits in (8, 4) for group in GROUPS]
every_layout = pytest.mark.parametrize(("bits", "group"), LAYOUTS)


def column_scales(weight):
    """Scale of every value: (out, in) float64."""
    scales = np.swapaxes(weight.scales, 1, 2).reshape(-1, weight.scales.shape[1]).astype(np.float64)
    return np.repeat(scales, weight.group, axis=1)[: len(weight), : weight.shape[1]]


def codes_of(weight):
    return unpack_codes(weight.codes, weight.bits)[: len(weight), : weight.shape[1]]


def within_half_a_scale(matrix, weight):
    """The error is at most half a scale, save for 4-bit values that were cut off at the end of the range."""
    matrix = matrix.astype(np.float64)
    scales = np.abs(column_scales(weight))
    error = np.abs(weight.astype(np.float64) - matrix)
    end = (-8, 7) if weight.bits == 4 else ()
    inside = ~np.isin(codes_of(weight), end)
    assert np.all(error[inside] <= scales[inside] * (0.5 + 1e-6) + 1e-36)
    # What is cut off still gets the code that is nearest to it.
    assert np.all(np.abs(weight.astype(np.float64)) <= np.abs(matrix) + scales * (0.5 + 1e-6) + 1e-36)


def matrices():
    """Of any float dtype, size and scale; some groups are zeros, or zeros but for one value."""

    def make(rows, columns, exponent, seed, dtype, kind):
        generator = np.random.default_rng(seed)
        values = generator.standard_t(3, (rows, columns)) * 2.0**exponent
        if kind == "sparse":
            values *= generator.random((rows, columns)) < 0.02
        elif kind == "positive":
            values = np.abs(values)
        return values.astype(dtype)

    dtypes = st.sampled_from([np.float32, np.float64, ml_dtypes.bfloat16, np.float16])
    return st.builds(
        make,
        st.integers(1, 40),
        st.integers(1, 300),
        st.integers(-12, 3),
        st.integers(0, 2**32),
        dtypes,
        st.sampled_from(["dense", "sparse", "positive"]),
    )


@settings(max_examples=150, deadline=None)
@given(matrix=matrices(), layout=st.sampled_from(LAYOUTS))
def test_any_matrix(matrix, layout):
    weight = quantize_weight(matrix, *layout)
    assert weight.shape == matrix.shape
    within_half_a_scale(matrix, weight)
    # The padding is zero, so a kernel may read it.
    rows, columns = matrix.shape
    codes = unpack_codes(weight.codes, weight.bits)
    assert not codes[rows:].any()
    assert not codes[:, columns:].any()
    assert np.isfinite(weight.scales.astype(np.float32)).all()


@every_layout
def test_codes_and_scales_survive_being_quantised_again(bits, group):
    """Values that are codes times scales already come back as they are: nothing depends on rounding luck."""
    generator = np.random.default_rng(0)
    low, high = (-127, 127) if bits == 8 else (-8, 7)
    codes = generator.integers(low, high, (33, 200), np.int8, endpoint=True)
    edges = np.arange(0, 200, group)
    codes[:, edges] = low  # every group uses its whole range
    scales = generator.standard_normal((33, len(edges))).astype(ml_dtypes.bfloat16)
    weight = PackedWeight.from_codes(codes, scales, bits, group)
    again = quantize_weight(weight[:], bits, group)
    np.testing.assert_allclose(again[:], weight[:], rtol=1e-2 if bits == 4 else 0, atol=0)


@pytest.mark.parametrize("kind", ["normal", "laplace", "heavy tails", "one far out"])
@pytest.mark.parametrize("group", GROUPS)
def test_scales_of_4_bits_are_about_as_good_as_any(group, kind):
    """Against 200 scales for every group, of either sign, the largest of which cut nothing off."""
    generator = np.random.default_rng(0)
    draw = {
        "normal": generator.standard_normal,
        "laplace": lambda shape: generator.laplace(size=shape),
        "heavy tails": lambda shape: generator.standard_t(3, shape),
        "one far out": lambda shape: generator.uniform(-1, 1, shape) ** 9,
    }[kind]
    matrix = draw((32, 4 * group)).astype(np.float32)
    groups = matrix.reshape(-1, group)
    whole = np.abs(groups).max(axis=1, keepdims=True) / 7  # cuts nothing off
    errors = []
    for scale in (whole * share for share in (*np.linspace(0.4, 1, 100), *np.linspace(-1, -0.4, 100))):
        codes = np.clip(np.rint(groups / scale), -8, 7)
        errors.append(np.sum((codes * scale - groups) ** 2, axis=1))
    best = np.min(errors, axis=0).sum()
    found = np.sum((quantize_weight(matrix, 4, group)[:].astype(np.float64) - matrix) ** 2)
    assert found < 1.008 * best


def test_scales_are_rounded_before_the_codes_are_computed():
    """Codes for the unrounded scale would miss by up to 127 / 512 of a step where the group is largest."""
    matrix = np.linspace(0.5, 1.003, 64 * 16, dtype=np.float32).reshape(16, 64)
    weight = quantize_weight(matrix, 8)
    scales = column_scales(weight)
    unrounded = np.abs(matrix).max(axis=1, keepdims=True) / 127
    assert np.any(scales != unrounded)
    within_half_a_scale(matrix, weight)
    planted = PackedWeight.from_codes(np.rint(matrix / unrounded), scales[:, :1], 8, 64)
    with pytest.raises(AssertionError):
        within_half_a_scale(matrix, planted)


def test_weights_in_memory_get_the_group_of_their_scheme():
    matrix = np.random.default_rng(0).standard_normal((20, 300)).astype(np.float32)
    for scheme in (Scheme("int4", 32), Scheme("int8", 128)):
        packed = quantize.quantize_weights({"up_proj.weight": matrix, "norm.weight": matrix[0]}, scheme)
        assert packed["norm.weight"].base is matrix
        found = packed["up_proj.weight"]
        expected = quantize_weight(matrix, scheme.bits("up_proj.weight", matrix.shape), scheme.group)
        assert (found.group, found.bits) == (scheme.group, expected.bits)
        np.testing.assert_array_equal(found[:], expected[:])


def test_blocks_do_not_show(monkeypatch):
    matrix = np.random.default_rng(0).standard_normal((100, 70)).astype(np.float32)
    whole = quantize_weight(matrix, 4, 32)
    monkeypatch.setattr(quantize, "_BLOCK", 1)
    parts = quantize_weight(matrix, 4, 32)
    assert whole.codes.tobytes() == parts.codes.tobytes()
    assert whole.scales.tobytes() == parts.scales.tobytes()


@every_layout
def test_extreme_values(bits, group):
    for value in (3e38, -3e38, 1e-38, -1e-44, 2.0**-126 * 127):
        matrix = np.zeros((3, 130), np.float32)
        matrix[1, 129] = value
        matrix[2] = value
        weight = quantize_weight(matrix, bits, group)
        np.testing.assert_allclose(weight[:], matrix, rtol=5e-3, atol=2e-36)
        assert not weight[0:1].any()


@every_layout
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(bits, group, wrong):
    """In the row that is named, counted from the first of the matrix, not of the part that is being read."""
    for row in (33, 777):
        matrix = np.ones((900, 130), np.float32)
        matrix[row, 129] = wrong
        with pytest.raises(CheckpointError, match=rf"lm_head\.weight: expected finite .* in row {row}$"):
            quantize_weight(matrix, bits, group, "lm_head.weight")


def test_sizes_that_do_not_exist_are_refused():
    for bits, group in ((2, 64), (8, 48), (4, 0)):
        with pytest.raises(ValueError, match="choose from"):
            quantize_weight(np.ones((2, 2)), bits, group)


# --- planted mistakes


def rows_rolled(weight):
    return PackedWeight(np.roll(weight.codes, 1, axis=2), weight.scales, weight.shape, weight.group)


def last_group_scaled(weight):
    scales = weight.scales.copy()
    scales[:, -1] *= scales.dtype.type(1.25)
    return PackedWeight(weight.codes, scales, weight.shape, weight.group)


def nibbles_swapped(weight):
    return PackedWeight(weight.codes << 4 | weight.codes >> 4, weight.scales, weight.shape, weight.group)


@pytest.mark.parametrize("break_it", [rows_rolled, last_group_scaled, nibbles_swapped])
def test_planted_mistakes_are_noticed(break_it):
    matrix = np.random.default_rng(0).standard_normal((31, 70)).astype(np.float32)
    weight = quantize_weight(matrix, 4, 32)
    within_half_a_scale(matrix, weight)
    with pytest.raises(AssertionError):
        within_half_a_scale(matrix, break_it(weight))


# --- the scheme


def test_the_scheme_goes_through_config_json_and_back():
    for tied in (False, True):
        for weights in ("int8", "int4"):
            for group in GROUPS:
                scheme = Scheme(weights, group)
                assert Scheme.from_dict(json.loads(json.dumps(scheme.to_dict(tied))), tied) == scheme
    with pytest.raises(ConfigError, match="head"):
        Scheme.from_dict(Scheme("int4").to_dict(tied=False), tied=True)


def test_which_weights_are_packed():
    bits = {name: Scheme("int4").bits(name, shape) for name, shape in ODD.parameter_shapes().items()}
    assert bits["model.embed_tokens.weight"] is None
    assert bits["lm_head.weight"] == 8
    assert {bits[name] for name in bits if "norm" in name} == {None}
    assert {bits[name] for name in bits if "_proj" in name} == {4}


@pytest.mark.parametrize(("weights", "expected"), [("int8", 8.43), ("int4", 4.61)])
def test_bits_per_weight_of_the_published_model(weights, expected):
    """A scale adds 16 / 64 bits; the embedding, 2.3 % of the weights, keeps 16."""
    scheme, bits = Scheme(weights, 64), 0
    config = minidecilm.preset("decilm-6b")
    for name, shape in config.parameter_shapes().items():
        width = scheme.bits(name, shape)
        if width is None:
            bits += 16 * math.prod(shape)
        else:
            codes, scales = packed_shapes(shape, width, 64)
            bits += 8 * math.prod(codes) + 16 * math.prod(scales)
    assert round(bits / config.num_parameters, 2) == expected


# --- folders


@pytest.fixture
def source(tmp_path):
    write_random_checkpoint(ODD, tmp_path / "source", max_shard_bytes=3000)
    return tmp_path / "source"


@pytest.mark.parametrize("shard_bytes", [10**9, 1500])
@every_layout
def test_a_folder_holds_what_quantising_in_memory_gives(source, tmp_path, bits, group, shard_bytes):
    weights = f"int{bits}"
    quantize_checkpoint(source, tmp_path / "new", weights, group, max_shard_bytes=shard_bytes)
    found, stored = open_checkpoint(tmp_path / "new"), open_checkpoint(source)
    assert len(found.files) == 1 if shard_bytes == 10**9 else len(found.files) > 3
    assert found.config == stored.config
    assert found.scheme == Scheme(weights, group)
    assert list(found.tensors) == list(stored.tensors)
    for name, matrix in stored.tensors.items():
        tensor = found.tensors[name]
        if matrix.ndim == 1 or name == "model.embed_tokens.weight":
            assert tensor.tobytes() == matrix.tobytes()
            continue
        expected = quantize_weight(matrix, 8 if name == "lm_head.weight" else bits, group)
        assert tensor.bits == expected.bits
        assert tensor.codes.tobytes() == expected.codes.tobytes()
        assert tensor.scales.tobytes() == expected.scales.tobytes()
        assert not tensor.codes.flags.owndata  # a view of the mapped file
        assert tensor.codes.ctypes.data % 64 == 0
        assert tensor.scales.flags.aligned
    assert found.nbytes == sum(tensor.nbytes for tensor in found.tensors.values())
    dense = 4 if bits == 4 else 8
    assert found.dtypes == {"bfloat16": 6, f"int{dense}": 14 + (bits == 8)} | (
        {"int8": 1} if bits == 4 else {}
    )


def test_the_documented_layout(source, tmp_path):
    quantize_checkpoint(source, tmp_path / "new", "int4", 32)
    tensors = read_safetensors(tmp_path / "new" / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"  # (20, 45)
    assert name not in tensors
    assert (tensors[f"{name}.codes"].dtype, tensors[f"{name}.codes"].shape) == (np.uint8, (2, 6, 16, 4))
    assert (str(tensors[f"{name}.scales"].dtype), tensors[f"{name}.scales"].shape) == ("bfloat16", (2, 2, 16))
    assert (tensors["lm_head.weight.codes"].dtype, tensors["lm_head.weight.codes"].shape) == (
        np.int8,
        (3, 6, 16, 4),
    )
    assert json.loads((tmp_path / "new" / "config.json").read_text())["quantization_config"] == {
        "quant_method": "minidecilm",
        "layout": "panel16",
        "weights": "int4",
        "group": 32,
        "head": "int8",
    }


def test_a_group_that_is_not_the_files_is_refused(source, tmp_path):
    quantize_checkpoint(source, tmp_path / "new", "int4", 32)
    config = tmp_path / "new" / "config.json"
    config.write_text(config.read_text().replace('"group": 32', '"group": 64'))
    with pytest.raises(CheckpointError, match=r"down_proj\.weight\.scales': expected shape \(2, 1, 16\)"):
        open_checkpoint(tmp_path / "new")


def test_a_tied_head_stays_as_stored(tmp_path):
    write_random_checkpoint(replace(ODD, tie_word_embeddings=True), tmp_path / "tied")
    quantize_checkpoint(tmp_path / "tied", tmp_path / "new")
    found = open_checkpoint(tmp_path / "new")
    assert found.dtypes == {"bfloat16": 6, "int4": 14}
    assert minidecilm.load(tmp_path / "new").model([[1, 2]]).shape == (1, 2, 37)


def test_what_belongs_to_a_model_comes_along(tmp_path):
    shutil.copytree(DEMO_FOLDER, tmp_path / "demo")
    names = {"config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json"}
    for name in (
        *("LICENSE", "LICENSE.md", "LICENSE.txt", "generation_config.json", "chat_template.jinja"),
        *("tokenizer.json", "special_tokens_map.json", "added_tokens.json"),
    ):
        read = name.endswith(("config.json", "map.json", "tokens.json"))
        (tmp_path / "demo" / name).write_text("{ }" if read else f"{name} of the original")
        names.add(name)
    (tmp_path / "demo" / "notes.txt").write_text("mine")
    quantize_checkpoint(tmp_path / "demo", tmp_path / "new")
    assert set(os.listdir(tmp_path / "new")) == names
    for name in names - {"config.json", "model.safetensors"}:
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "demo" / name).read_bytes()
    text = minidecilm.load(tmp_path / "new").generate("Once upon a time", max_new_tokens=5, temperature=0)
    in_memory = minidecilm.load("demo", weights="int4")
    assert text == in_memory.generate("Once upon a time", max_new_tokens=5, temperature=0)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [1, 7])
def test_an_interrupted_run_leaves_nothing(source, tmp_path, monkeypatch, error, at):
    honest, calls = quantize.pack_codes, []

    def fails(*arguments):
        calls.append(arguments)
        if len(calls) == at:
            raise error
        return honest(*arguments)

    monkeypatch.setattr(quantize, "pack_codes", fails)
    with pytest.raises(error):
        quantize_checkpoint(source, tmp_path / "new", max_shard_bytes=1500)
    assert os.listdir(tmp_path) == ["source"]


def test_a_full_disk_is_named(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_writer, "write_safetensors", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/new'"):
        quantize_checkpoint(source, tmp_path / "new")
    assert os.listdir(tmp_path) == ["source"]


def test_a_link_that_leads_nowhere_is_written_through(source, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new")
    quantize_checkpoint(source, tmp_path / "link")
    assert open_checkpoint(tmp_path / "new").scheme is not None
    assert sorted(os.listdir(tmp_path)) == ["link", "new", "source"]


def test_packed_weights_without_their_key_are_refused_with_the_reason(source, tmp_path):
    quantize_checkpoint(source, tmp_path / "new")
    (tmp_path / "new" / "config.json").write_text(json.dumps(ODD.to_dict()))
    with pytest.raises(CheckpointError, match="quantised weights need quantization_config"):
        open_checkpoint(tmp_path / "new")


@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.self_attn.k_proj.weight",
        "model.embed_tokens.weight",
        "model.layers.1.input_layernorm.weight",
        "model.norm.weight",
    ],
)
def test_values_that_are_not_finite_leave_nothing_and_are_named(source, tmp_path, name, wrong):
    """Also in what is not quantised."""
    tensors = dict(open_checkpoint(source).tensors)
    tensors[name] = tensors[name].copy()
    tensors[name][3] = wrong
    sources = [checkpoint_writer.TensorSource.from_array(*item) for item in tensors.items()]
    checkpoint_writer.write_checkpoint(ODD, tmp_path / "bad", sources)
    with pytest.raises(CheckpointError, match=rf"bad: tensor {name}: expected finite values.*row 3"):
        quantize_checkpoint(tmp_path / "bad", tmp_path / "new")
    with pytest.raises(CheckpointError, match=rf"tensor {name}: expected finite"):
        minidecilm.load(tmp_path / "bad", weights="int8")
    assert sorted(os.listdir(tmp_path)) == ["bad", "source"]


def rewritten(file):
    file.write_bytes(file.read_bytes())


def cut_short(file):
    os.truncate(file, file.stat().st_size)  # to what it has: only the time tells


def put_in_place(file):
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    other.replace(file)


@pytest.mark.parametrize("change", [rewritten, cut_short, put_in_place, os.remove])
@pytest.mark.parametrize("name", ["model-00002-of-00010.safetensors", "config.json"])
def test_a_source_that_changes_meanwhile_leaves_nothing(source, tmp_path, monkeypatch, change, name):
    whole = checkpoint_writer.write_safetensors

    def write_and_change(*arguments):
        whole(*arguments)
        if arguments[0].name.startswith("model-00003-of"):
            change(source / name)

    monkeypatch.setattr(checkpoint_writer, "write_safetensors", write_and_change)
    with pytest.raises(CheckpointError, match=f"{name}: expected the file of .* bytes that was opened"):
        quantize_checkpoint(source, tmp_path / "new", max_shard_bytes=1500)
    assert sorted(os.listdir(tmp_path)) == ["source"]


def test_a_packed_checkpoint_is_not_packed_again(source, tmp_path):
    quantize_checkpoint(source, tmp_path / "packed", "int8")
    with pytest.raises(CheckpointError, match="expected float weights, found int8 in groups of 64"):
        quantize_checkpoint(tmp_path / "packed", tmp_path / "new", "int4")
    with pytest.raises(CheckpointError, match="expected float weights, found int8"):
        minidecilm.load(tmp_path / "packed", weights="int4")
    assert minidecilm.load(tmp_path / "packed", weights="int8").checkpoint.dtypes["int8"] == 15
    with pytest.raises(FileExistsError, match="not an empty folder"):
        quantize_checkpoint(source, tmp_path / "packed")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        quantize_checkpoint(source, tmp_path / "a" / "b")


def test_a_packed_checkpoint_widens_to_floats(source, tmp_path):
    quantize_checkpoint(source, tmp_path / "packed", "int4", 32)
    ids = [[1, 5, 9, 30]]
    expected = minidecilm.load(tmp_path / "packed", dtype="float64").model(ids)
    for weights in ("float64", "float32"):
        widened = minidecilm.load(tmp_path / "packed", weights=weights, dtype="float64")
        assert {str(weight.dtype) for weight in widened.model.weights.values()} == {weights}
        np.testing.assert_allclose(widened.model(ids), expected, rtol=0, atol=1e-12)


def test_a_bar_is_shown_where_it_is_asked_for(source, tmp_path, capsys):
    quantize_checkpoint(source, tmp_path / "quiet")
    minidecilm.load(source, weights="int4")
    assert capsys.readouterr() == ("", "")
    quantize_checkpoint(source, tmp_path / "shown", progress=True)
    minidecilm.load(source, weights="int4", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "writing shown: 100%" in err
    assert "quantising to int4: 100%" in err
