"""Exported folders and GGUF files: against transformers' golden logits, refusals, killed writers, memory."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidecilm
from minidecilm import Config, LayerConfig, export_checkpoint, write_random_checkpoint
from minidecilm.catalog import DEMO_FOLDER
from minidecilm.errors import CheckpointError, ConfigError
from minidecilm.weights import export, gguf_file, quantize
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.checkpoint_writer import write_checkpoint
from minidecilm.weights.export import repeated_rows
from minidecilm.weights.quantize import quantize_checkpoint
from minidecilm.weights.safetensors_file import TensorSource, read_safetensors
from tests import checks
from tests.adapters import PREFIX, low_rank, write_adapter
from tests.configs import ODD, SMALL, TINY

GOLDEN = Path(__file__).parents[1] / "golden" / "export"
ADAPTERS = GOLDEN.with_name("adapters")
FILES = json.loads((GOLDEN / "golden.json").read_text())["files"]

# As in tests/golden/make_export.py.
RANDOM = {
    "four": Config(37, 20, 4, 6, tuple(LayerConfig(k, 29) for k in (4, 2, 1, 4)), 48, rope_factor=2.0),
    "twelve": Config(
        41, 36, 12, 4, tuple(LayerConfig(k, 35) for k in (1, 3, 12, 2, 6)), 48, 1e-6, 5e5, None, True
    ),
}
WIDE = Config(64, 32, 8, 8, (LayerConfig(2, 32), LayerConfig(4, 48, 4), LayerConfig(8, 32)), 48)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "golden.npz") as file:
        return dict(file)


@pytest.fixture
def source(tmp_path):
    write_random_checkpoint(ODD, tmp_path / "source", max_shard_bytes=3000)
    return tmp_path / "source"


def golden_source(name, folder):
    if name in RANDOM:
        write_random_checkpoint(RANDOM[name], folder / name)
        return folder / name
    return {"demo": DEMO_FOLDER, "deci_tiny": checks.GOLDEN}[name]


def as_transformers_computes(folder, name, golden):
    """Logits up to the context length within 1e-9, and the same greedy tokens."""
    model = minidecilm.load(folder, dtype="float64", backend="numpy").model
    found = model(golden[f"{name}.input_ids"])[:, golden[f"{name}.positions"]]
    np.testing.assert_allclose(found, golden[f"{name}.logits"], rtol=0, atol=1e-9)
    greedy = golden[f"{name}.greedy"]
    prompt = greedy[: 5 if name == "demo" else 9]
    endless = replace(model.config, eos_token_ids=())  # as the golden tokens were made
    model.config = endless
    new = minidecilm.generate_tokens(
        model, prompt[None], max_new_tokens=len(greedy) - len(prompt), temperature=0
    )
    assert list(new[0]) == list(greedy[len(prompt) :])


# --- llama


@pytest.mark.parametrize("name", FILES)
def test_a_llama_folder_is_what_transformers_read(name, tmp_path, golden):
    """The same config.json and the same bytes; and our own loader computes from both what it computed."""
    folder = golden_source(name, tmp_path)
    export_checkpoint(folder, tmp_path / "new")
    assert json.loads((tmp_path / "new" / "config.json").read_text()) == FILES[name]["config"]
    digest = hashlib.sha256((tmp_path / "new" / "model.safetensors").read_bytes()).hexdigest()
    assert digest == FILES[name]["sha256"]
    as_transformers_computes(folder, name, golden)
    as_transformers_computes(tmp_path / "new", name, golden)


def test_the_demo_writes_what_transformers_wrote(tmp_path, golden):
    export_checkpoint(DEMO_FOLDER, tmp_path / "new")
    lm, greedy = minidecilm.load(tmp_path / "new"), golden["demo.greedy"]
    assert lm.tokenizer.encode("Once upon a time") == list(greedy[:5])
    text = lm.generate("Once upon a time", max_new_tokens=60, temperature=0)
    stream = lm.tokenizer.stream(continuation=True)
    assert text == "".join(map(stream.push, map(int, greedy[5:]))) + stream.flush()


def tiled(rows, wanted, head_dim):
    return None if rows == wanted else np.tile(np.arange(rows), wanted // rows)


def test_heads_in_the_wrong_order_are_noticed(tmp_path, golden, monkeypatch):
    monkeypatch.setattr(export, "repeated_rows", tiled)
    export_checkpoint(DEMO_FOLDER, tmp_path / "new")
    with pytest.raises(AssertionError):
        as_transformers_computes(tmp_path / "new", "demo", golden)


def divisors(number):
    return [k for k in range(1, number + 1) if number % k == 0]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_number_of_heads_is_the_smallest_that_fits(data):
    H = data.draw(st.sampled_from([4, 6, 12, 30, 32]))
    heads = data.draw(st.lists(st.sampled_from(divisors(H)), min_size=1, max_size=6))
    config = Config(16, 4 * H, H, 4, tuple(LayerConfig(k, 8) for k in heads), 32)
    [most] = set(config.with_equal_kv_heads().num_key_value_heads_per_layer)
    assert most == next(n for n in range(1, H + 1) if H % n == 0 and all(n % k == 0 for k in heads))


def test_layers_with_2_and_3_heads_get_6():
    assert repeated_rows(2, 6, 1).tolist() == [0, 0, 0, 1, 1, 1]
    assert repeated_rows(6, 12, 2).tolist() == [0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5]
    config = Config(16, 24, 6, 4, (LayerConfig(2, 8), LayerConfig(3, 8)), 32)
    assert config.with_equal_kv_heads().num_key_value_heads_per_layer == (6, 6)


def test_dynamic_ntk_is_left_out_or_kept(tmp_path):
    """Left out, all is equal up to the context length and not beyond; kept, also beyond it."""
    lm = minidecilm.load(checks.GOLDEN, dtype="float64", backend="numpy")
    ids, M = np.arange(3, 93)[None], lm.config.max_position_embeddings
    expected = lm.model(ids)
    for rope in export.ROPES:
        export_checkpoint(checks.GOLDEN, tmp_path / rope, rope=rope)
        scaling = json.loads((tmp_path / rope / "config.json").read_text())["rope_scaling"]
        assert scaling == (None if rope == "plain" else {"type": "dynamic", "factor": 2.0})
        model = minidecilm.load(tmp_path / rope, dtype="float64", backend="numpy").model
        np.testing.assert_allclose(model(ids[:, :M]), lm.model(ids[:, :M]), rtol=0, atol=1e-10)
        assert np.allclose(model(ids), expected, rtol=0, atol=1e-10) == (rope == "dynamic")


def test_a_uniform_model_stays_as_it_is(tmp_path):
    uniform = replace(TINY, layers=(LayerConfig(2, 12),) * 3, rope_factor=None)
    write_random_checkpoint(uniform, tmp_path / "source")
    export_checkpoint(tmp_path / "source", tmp_path / "new")
    found, stored = open_checkpoint(tmp_path / "new"), open_checkpoint(tmp_path / "source")
    assert found.config == stored.config == uniform
    assert {name: a.tobytes() for name, a in found.tensors.items()} == {
        name: a.tobytes() for name, a in stored.tensors.items()
    }


# --- per-layer


@pytest.mark.parametrize("name", FILES)
def test_per_layer_is_what_transformers_writes_and_comes_back(name, tmp_path):
    folder = golden_source(name, tmp_path)
    export_checkpoint(folder, tmp_path / "new", "per-layer", rope="plain")
    values = json.loads((tmp_path / "new" / "config.json").read_text())
    assert values["per_layer_config"] == FILES[name]["per_layer_config"]
    assert "num_key_value_heads_per_layer" not in values
    found, stored = open_checkpoint(tmp_path / "new"), open_checkpoint(folder)
    assert found.config == replace(stored.config, rope_factor=None)
    assert list(found.config.num_key_value_heads_per_layer) == FILES[name]["kv_heads"]
    for key, tensor in stored.tensors.items():
        assert found.tensors[key].dtype == tensor.dtype
        assert found.tensors[key].tobytes() == tensor.tobytes()


def test_per_layer_says_all_that_differs(tmp_path):
    many = replace(WIDE, layers=WIDE.layers * 4, rope_factor=4.0)
    write_random_checkpoint(many, tmp_path / "source")
    export_checkpoint(tmp_path / "source", tmp_path / "new", "per-layer", rope="dynamic")
    assert open_checkpoint(tmp_path / "new").config == many
    entries = json.loads((tmp_path / "new" / "config.json").read_text())["per_layer_config"]
    assert list(entries)[:2] == ["01", "02"]  # as transformers has it, so that they stay in order
    assert entries["01"] == {"num_key_value_heads": 4, "num_attention_heads": 4, "intermediate_size": 48}


# --- gguf


def read_gguf(folder):
    """Metadata, and tensors by name as float32 in (out, in), with their types."""
    reader = gguf.GGUFReader(folder / gguf_file.FILE_NAME)
    values = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {
        t.name: (
            gguf.quants.dequantize(t.data, t.tensor_type).reshape(tuple(t.shape)[::-1]),
            t.tensor_type.name,
        )
        for t in reader.tensors
    }
    return values, tensors


def turned_neighbours(heads, angles):
    """Turn 2i and 2i + 1 of every head by one angle, as llama.cpp does: (heads, D), (D / 2,) angles."""
    pairs = heads.reshape(len(heads), -1, 2)
    one, two = pairs[..., 0], pairs[..., 1]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([one * cos - two * sin, one * sin + two * cos], axis=-1).reshape(heads.shape)


def heads_score_as_ours(folder, new):
    """Queries and keys of a GGUF file, turned as llama.cpp turns, have the scores of this network."""
    stored = open_checkpoint(folder)
    config, (_, tensors) = stored.config, read_gguf(new)
    D = config.head_dim
    hidden = np.random.default_rng(0).standard_normal((2, config.hidden_size))
    frequencies = config.rope_theta ** (-np.arange(0, D, 2) / D)
    for layer, K in enumerate(config.num_key_value_heads_per_layer):
        theirs, ours = [], []
        for position, vector, part, name in ((3, hidden[0], "q", "q_proj"), (11, hidden[1], "k", "k_proj")):
            rows, _ = tensors[f"blk.{layer}.attn_{part}.weight"]
            theirs.append(turned_neighbours((rows @ vector).reshape(-1, D), position * frequencies))
            weight = stored.tensors[f"model.layers.{layer}.self_attn.{name}.weight"].astype(np.float64)
            own = (weight @ vector).reshape(-1, D)
            angles = np.concatenate([position * frequencies] * 2)
            halves = np.concatenate([-own[:, D // 2 :], own[:, : D // 2]], axis=1)
            ours.append(own * np.cos(angles) + halves * np.sin(angles))
        scores = [np.vecdot(q, np.repeat(k, len(q) // K, axis=0)) for q, k in (theirs, ours)]
        np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-5)


def test_rows_stand_as_llama_cpp_turns_them(tmp_path, monkeypatch):
    export_checkpoint(DEMO_FOLDER, tmp_path / "new", "gguf", gguf_type="F32")
    heads_score_as_ours(DEMO_FOLDER, tmp_path / "new")
    monkeypatch.setattr(gguf_file, "neighbouring_rows", lambda rows, head_dim: np.arange(rows))
    export_checkpoint(DEMO_FOLDER, tmp_path / "wrong", "gguf", gguf_type="F32")
    with pytest.raises(AssertionError):
        heads_score_as_ours(DEMO_FOLDER, tmp_path / "wrong")


def test_a_gguf_file_says_what_the_model_is(tmp_path):
    write_random_checkpoint(replace(WIDE, rope_factor=2.0, rope_theta=5e5), tmp_path / "source")
    export_checkpoint(tmp_path / "source", tmp_path / "new", "gguf")
    values, tensors = read_gguf(tmp_path / "new")
    expected = {
        "general.name": "source",
        "general.architecture": "deci",
        "general.file_type": gguf.LlamaFileType.MOSTLY_BF16,
        "deci.attention.head_count": [8, 4, 8],
        "deci.attention.head_count_kv": [2, 4, 8],
        "deci.feed_forward_length": [32, 48, 32],
        "deci.block_count": 3,
        "deci.embedding_length": 32,
        "deci.context_length": 48,
        "deci.vocab_size": 64,
        "deci.attention.key_length": 8,
        "deci.attention.value_length": 8,
        "deci.rope.dimension_count": 8,
        "deci.rope.freq_base": 5e5,
        "tokenizer.ggml.model": "no_vocab",
    }
    assert {name: values[name] for name in expected} == expected
    assert not any("scaling" in name for name in values)
    assert len(tensors) == len(WIDE.parameter_shapes())


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, tie_word_embeddings=True), ODD, RANDOM["twelve"]])
@pytest.mark.parametrize("kind", gguf_file.TYPES)
def test_types_and_values(tmp_path, kind, config):
    write_random_checkpoint(config, tmp_path / "source")
    export_checkpoint(tmp_path / "source", tmp_path / "new", "gguf", gguf_type=kind)
    _, tensors = read_gguf(tmp_path / "new")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.DECI, len(config.layers))
    head = "token_embd.weight" if config.tie_word_embeddings else "output.weight"
    for name, weight in open_checkpoint(tmp_path / "source").tensors.items():
        found, stored_as = tensors[names.get_name(name, try_suffixes=(".weight",))]
        own_name = names.get_name(name, try_suffixes=(".weight",))
        expected = weight.astype(np.float32)
        if "q_proj" in name or "k_proj" in name:
            D = config.head_dim
            expected = np.concatenate(
                [expected[h + i :: D // 2][:2] for h in range(0, len(expected), D) for i in range(D // 2)]
            )
        wanted = "F32" if weight.ndim == 1 else "BF16" if kind == "stored" else kind
        if wanted == "Q4_0" and own_name == head:
            wanted = "Q8_0"
        if wanted[0] == "Q" and weight.shape[1] % 32:
            wanted = "F16"
        assert stored_as == wanted, own_name
        steps = {"Q8_0": 1 / 127, "Q4_0": 1 / 7, "F16": 2**-11}.get(wanted, 0)
        assert np.abs(found - expected).max() <= steps * np.abs(expected).max()


def test_the_tokenizer_is_in_the_file(tmp_path):
    shutil.copytree(DEMO_FOLDER, tmp_path / "demo")
    config = json.loads((tmp_path / "demo" / "config.json").read_text())
    added = {
        "added_tokens_decoder": {"300": {"content": "<|turn|>", "special": True}, "301": {"content": "cat"}}
    }
    path = tmp_path / "demo" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | added | {"add_bos_token": False}))
    (tmp_path / "demo" / "config.json").write_text(json.dumps(config | {"eos_token_id": [2, 300]}))
    export_checkpoint(tmp_path / "demo", tmp_path / "new", "gguf")
    values, _ = read_gguf(tmp_path / "new")
    lm = minidecilm.load(tmp_path / "demo")
    pieces = [lm.tokenizer.id_to_piece(token) for token in range(2048)]
    assert values["tokenizer.ggml.tokens"] == pieces
    kinds = values["tokenizer.ggml.token_type"]
    assert kinds[:4] == [2, 3, 3, 6] if pieces[3].startswith("<0x") else kinds[:3] == [2, 3, 3]
    assert (kinds[300], kinds[301], pieces[301]) == (3, 4, "cat")
    assert sum(kind == 6 for kind in kinds) == 256
    scores = values["tokenizer.ggml.scores"]
    assert min(scores) < -1000
    assert scores == [pytest.approx(lm.tokenizer.score(token)) for token in range(2048)]
    ends = {name: values[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "eot", "unknown")}
    assert ends == {"bos": 1, "eos": 2, "eot": 300, "unknown": 0}
    assert (values["tokenizer.ggml.add_bos_token"], values["tokenizer.ggml.add_eos_token"]) == (False, False)


def test_ids_without_a_piece_have_a_name_of_their_own(tmp_path):
    write_random_checkpoint(replace(SMALL, vocab_size=2050), tmp_path / "padded")
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(DEMO_FOLDER / name, tmp_path / "padded")
    export_checkpoint(tmp_path / "padded", tmp_path / "new", "gguf")
    values, _ = read_gguf(tmp_path / "new")
    assert values["tokenizer.ggml.tokens"][2048:] == ["[PAD2048]", "[PAD2049]"]
    assert values["tokenizer.ggml.token_type"][2048:] == [5, 5]


# --- what comes along, and what is refused


def test_what_belongs_to_a_model_comes_along(tmp_path):
    shutil.copytree(DEMO_FOLDER, tmp_path / "demo")
    for name in ("LICENSE.md", "Notice", "tokenizer.json", "generation_config.json"):
        (tmp_path / "demo" / name).write_text("{ }")
    (tmp_path / "demo" / "notes.txt").write_text("mine")
    along = {"LICENSE.md", "Notice", "tokenizer.json", "generation_config.json"}
    along |= {"config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json"}
    for to, names in {
        "llama": along,
        "per-layer": along,
        "gguf": {"LICENSE.md", "Notice", "model.gguf"},
    }.items():
        export_checkpoint(tmp_path / "demo", tmp_path / to, to)
        assert set(os.listdir(tmp_path / to)) == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "onnx"}, "to: expected llama or per-layer or gguf, found 'onnx'"),
        ({"rope": "yarn"}, "rope: expected plain or dynamic, found 'yarn'"),
        ({"to": "gguf", "gguf_type": "Q4_K"}, "type: expected stored, F32, .*, found 'Q4_K'"),
        ({"to": "llama", "gguf_type": "F16"}, "type F16: only a GGUF file has one"),
        ({"to": "gguf", "rope": "dynamic"}, "llama.cpp has no dynamic NTK"),
        ({"rope": "dynamic"}, "has no dynamic NTK to keep; leave it out"),
        ({"to": "gguf", "adapter": "x"}, "merge it first"),
    ],
)
def test_options_that_cannot_be_are_refused(source, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export_checkpoint(source, tmp_path / "new", **options)
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize(
    ("config", "to", "message"),
    [
        (WIDE, "llama", "layers differ in num_attention_heads, 4 to 8, .*: choose per-layer or gguf"),
        (
            replace(WIDE, layers=(LayerConfig(2, 32), LayerConfig(2, 48))),
            "llama",
            "layers differ in intermediate_size, 32 to 48, .*: choose per-layer or gguf",
        ),
        (replace(ODD, hidden_size=21), "llama", "hidden_size = 21 is no multiple .* = 5, .* choose gguf"),
        (replace(ODD, hidden_size=21), "per-layer", "hidden_size = 21 is no multiple .* = 5, .* choose gguf"),
    ],
)
def test_configs_that_a_form_cannot_say_are_refused(tmp_path, config, to, message):
    write_random_checkpoint(config, tmp_path / "source")
    with pytest.raises(ConfigError, match=f"source: {message}"):
        export_checkpoint(tmp_path / "source", tmp_path / "new", to)
    export_checkpoint(tmp_path / "source", tmp_path / "gguf", "gguf")


@pytest.mark.parametrize("to", export.FORMATS)
def test_a_quantised_folder_is_refused(source, tmp_path, to):
    quantize_checkpoint(source, tmp_path / "packed")
    with pytest.raises(CheckpointError, match="found int4; export the checkpoint that it was made from"):
        export_checkpoint(tmp_path / "packed", tmp_path / "new", to)
    with pytest.raises(FileExistsError, match="not an empty folder"):
        export_checkpoint(source, tmp_path / "packed", to)


def test_a_gguf_file_goes_into_a_folder(source, tmp_path):
    with pytest.raises(ValueError, match="give a folder to be created"):
        export_checkpoint(source, tmp_path / "new.gguf", "gguf")


def test_without_the_library_it_says_what_to_install(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(OSError, match="takes the gguf library: pip install"):
        export_checkpoint(source, tmp_path / "new", "gguf")


def changed(folder, new, name, value, dtype=None):
    """Write a checkpoint again with one value of a tensor changed."""
    tensors = dict(open_checkpoint(folder).tensors)
    tensors[name] = tensors[name].astype(dtype or tensors[name].dtype)
    tensors[name][3] = value
    write_checkpoint(ODD, new, [TensorSource.from_array(*item) for item in tensors.items()])


@pytest.mark.parametrize("to", export.FORMATS)
@pytest.mark.parametrize("name", ["model.layers.1.self_attn.k_proj.weight", "model.norm.weight"])
def test_values_that_are_not_finite_are_refused_by_name(source, tmp_path, to, name):
    changed(source, tmp_path / "bad", name, np.nan)
    with pytest.raises(CheckpointError, match=rf"bad: tensor {name}: expected finite values.*row 3"):
        export_checkpoint(tmp_path / "bad", tmp_path / "new", to)
    assert sorted(os.listdir(tmp_path)) == ["bad", "source"]


def test_values_too_large_for_a_type_are_refused(source, tmp_path):
    name = "model.layers.1.self_attn.v_proj.weight"
    changed(source, tmp_path / "large", name, 7e4)
    for kind in ("F16", "Q8_0"):
        with pytest.raises(CheckpointError, match=rf"{name}: -?7.* is too large for F16; choose BF16 or F32"):
            export_checkpoint(tmp_path / "large", tmp_path / kind, "gguf", gguf_type=kind)
    changed(source, tmp_path / "huge", name, 1e39, np.float64)
    with pytest.raises(CheckpointError, match=r"1e\+39 is too large for F32"):
        export_checkpoint(tmp_path / "huge", tmp_path / "new", "gguf", gguf_type="F32")
    changed(source, tmp_path / "last", name, 3.3895e38, np.float64)
    export_checkpoint(tmp_path / "last", tmp_path / "new", "gguf", gguf_type="BF16")


# --- writers that end early


KILLED = """
import os, signal, sys
from pathlib import Path
from minidecilm import export_checkpoint
from minidecilm.weights import gguf_file, quantize
source, folder, to, at = *sys.argv[1:4], int(sys.argv[4])
blocks = quantize.finite_blocks
def killing(*arguments):
    global at
    for block in blocks(*arguments):
        at -= 1
        if at == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        yield block
quantize.finite_blocks = gguf_file.finite_blocks = killing
export_checkpoint(source, folder, to, max_shard_bytes=3000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
@pytest.mark.parametrize("to", export.FORMATS)
@pytest.mark.parametrize("at", [1, 9, 20])
def test_a_killed_writer_leaves_nothing_that_looks_whole(source, tmp_path, to, at):
    command = [sys.executable, "-c", KILLED, str(source), str(tmp_path / "new"), to, str(at)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    left = [path for path in tmp_path.iterdir() if path.name != "source"]
    assert [bool(re.fullmatch(r"\.new\.[0-9a-f]{16}\.part", path.name)) for path in left] == [True]
    assert not (left[0] / "model.gguf").exists()
    with pytest.raises(CheckpointError):
        open_checkpoint(left[0])
    export_checkpoint(source, tmp_path / "new", to)  # and the next writer clears it away
    assert sorted(os.listdir(tmp_path)) == ["new", "source"]


@pytest.mark.parametrize("to", export.FORMATS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_writer_leaves_nothing(source, tmp_path, monkeypatch, to, error):
    def fails(*_):
        raise error
        yield

    monkeypatch.setattr(quantize, "finite_blocks", fails)
    monkeypatch.setattr(gguf_file, "finite_blocks", fails)
    with pytest.raises(error):
        export_checkpoint(source, tmp_path / "new", to)
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize("to", export.FORMATS)
def test_a_source_that_changes_meanwhile_leaves_nothing(source, tmp_path, monkeypatch, to):
    def changing(*arguments):
        file = source / "model-00001-of-00010.safetensors"
        file.write_bytes(file.read_bytes())
        yield from blocks(*arguments)

    blocks = quantize.finite_blocks
    monkeypatch.setattr(quantize, "finite_blocks", changing)
    monkeypatch.setattr(gguf_file, "finite_blocks", changing)
    with pytest.raises(CheckpointError, match=r"expected the file of .* bytes that was opened"):
        export_checkpoint(source, tmp_path / "new", to)
    assert os.listdir(tmp_path) == ["source"]


def test_a_bar_is_shown_where_it_is_asked_for(source, tmp_path, capsys):
    for to in ("llama", "gguf"):
        export_checkpoint(source, tmp_path / f"quiet {to}", to)
        assert capsys.readouterr() == ("", "")
        export_checkpoint(source, tmp_path / f"shown {to}", to, progress=True)
        assert re.search(rf"writing shown {to}: 100%.*/", capsys.readouterr().err)


MEASURE = """
import sys
from pathlib import Path
from minidecilm import catalog, export_checkpoint
from minidecilm.weights.merge import merge_checkpoint
def kilobytes(name):
    return int(Path("/proc/self/status").read_text().split(name)[1].split()[0])
source, folder, to, kind = sys.argv[1:]
options = {} if to == "merge" else dict(to=to, gguf_type=kind)
export_checkpoint(catalog.DEMO_FOLDER, folder + "-demo", **options)  # imports what is needed
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far, that of the parent process included
before = kilobytes("VmRSS:")
if to == "merge":
    merge_checkpoint(source, kind, folder)
else:
    export_checkpoint(source, folder, **options)
print((kilobytes("VmHWM:") - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_at_a_few_blocks(tmp_path):
    """Peak resident memory, mapped pages included, that it takes to write 400 MB, or to merge an adapter."""
    large = Config(32000, 2048, 16, 128, tuple(LayerConfig(k, 5504) for k in (4, 1)), 4096, rope_factor=2.0)
    write_random_checkpoint(large, tmp_path / "source")
    size = open_checkpoint(tmp_path / "source").nbytes
    assert size > 400_000_000
    adapter = write_adapter(tmp_path / "adapter", low_rank(large))
    for to, kind in (("llama", "stored"), ("gguf", "stored"), ("gguf", "Q4_0"), ("merge", adapter)):
        command = [sys.executable, "-c", MEASURE, tmp_path / "source", tmp_path / "new", to, kind]
        grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert 0 <= grown < 16_000_000, f"{to} {kind}: {grown:,} of {size:,} bytes"
        shutil.rmtree(tmp_path / "new")
        shutil.rmtree(tmp_path / "new-demo")


# --- adapters


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("name", RANDOM)
def test_an_adapter_fits_the_exported_model(tmp_path, golden, name, dora):
    """PEFT computed the same with both as exported, and so do we, on layers whose B shapes differ."""
    base = golden_source(name, tmp_path)
    adapter = write_adapter(
        tmp_path / "adapter", low_rank(RANDOM[name], dora=dora), use_dora=dora, target_modules=".*_proj"
    )
    (tmp_path / "adapter" / "LICENSE").write_text("mine")
    (tmp_path / "adapter" / "README.md").write_text("model card")
    export_checkpoint(base, tmp_path / "new")
    export_checkpoint(base, tmp_path / "fitting", adapter=adapter)
    assert set(os.listdir(tmp_path / "fitting")) == set(os.listdir(adapter))
    options = {"dtype": "float64", "backend": "numpy"}
    for model in (
        minidecilm.load(base, adapter=adapter, **options).model,
        minidecilm.load(tmp_path / "new", adapter=tmp_path / "fitting", **options).model,
    ):
        found = model(golden[f"{name}.input_ids"])[:, golden[f"{name}.positions"]]
        expected = golden[f"{name}.{'dora' if dora else 'lora'}"]
        assert np.abs(expected - golden[f"{name}.logits"]).max() > 0.1
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    with pytest.raises(CheckpointError, match="expected shape"):
        minidecilm.load(base, adapter=tmp_path / "fitting", **options)


def test_whole_weights_of_an_adapter_are_repeated_too(tmp_path):
    """Of keys and values; the others are handed through."""
    rng, config = np.random.default_rng(0), RANDOM["four"]
    tensors = {
        f"{PREFIX}{name}": rng.normal(size=config.parameter_shapes()[name]).astype(np.float32)
        for name in ("model.layers.2.self_attn.v_proj.weight", "lm_head.weight")
    }
    write_random_checkpoint(config, tmp_path / "base")
    write_adapter(tmp_path / "adapter", tensors, modules_to_save=["v_proj", "lm_head"])
    export_checkpoint(tmp_path / "base", tmp_path / "fitting", adapter=tmp_path / "adapter")
    found = read_safetensors(tmp_path / "fitting" / "adapter_model.safetensors")
    v_proj, head = tensors
    np.testing.assert_array_equal(found[v_proj].reshape(4, 6, 20), np.stack([tensors[v_proj]] * 4))
    np.testing.assert_array_equal(found[head], tensors[head])


def test_an_adapter_of_another_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError):
        export_checkpoint(DEMO_FOLDER, tmp_path / "new", adapter=ADAPTERS / "plain")
    assert os.listdir(tmp_path) == []


# --- the command


def test_the_command_prints_the_bill(tmp_path, run_command):
    code, out, err = run_command("export", "demo", tmp_path / "llama")
    assert (code, out) == (0, "")
    assert err == (
        f"{tmp_path}/llama: 3,412,224 bytes of weights; KV cache 1,216 -> 2,048 bytes a token in bfloat16, "
        "weights +3.2 %\ndynamic NTK is left out: the same up to 256 tokens, not beyond\n"
    )
    code, out, err = run_command(
        "export", "demo", tmp_path / "layers", "--to", "per-layer", "--rope", "dynamic"
    )
    assert "KV cache 1,216 -> 1,216 bytes" in err
    assert "dynamic NTK is kept: beyond 256 tokens" in err
    code, out, err = run_command("export", "demo", tmp_path / "gguf", "--to", "gguf")
    assert "model.gguf: 3,360,256 bytes" in err
    assert "llama.cpp has no dynamic NTK" in err
    code, out, err = run_command("export", ADAPTERS / "base", tmp_path / "a", "--adapter", ADAPTERS / "plain")
    assert (code, err.count("\n")) == (0, 1)
    assert "the adapter, for what minidecilm export" in err
