"""Checkpoint folders: what opens, what is refused and in which words, what is written."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from minidecilm import load, preset, write_random_checkpoint
from minidecilm.errors import CheckpointError, ConfigError
from minidecilm.weights import checkpoint_writer, random_weights
from minidecilm.weights.checkpoint import Checkpoint, open_checkpoint
from minidecilm.weights.checkpoint_writer import plan_shards, write_checkpoint
from minidecilm.weights.quantize import quantize_checkpoint
from minidecilm.weights.safetensors_file import TensorSource, read_safetensors, write_safetensors
from tests.configs import TINY

GOLDEN = Path(os.environ.get("MINIDECILM_GOLDEN", Path(__file__).parents[1] / "golden" / "deci_tiny"))
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 1500


@pytest.fixture
def single(tmp_path: Path) -> Path:
    write_random_checkpoint(TINY, tmp_path / "single")
    return tmp_path / "single"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    write_random_checkpoint(TINY, tmp_path / "sharded", max_shard_bytes=SHARD_BYTES)
    return tmp_path / "sharded"


@contextmanager
def edited_tensors(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Hand out a file's tensors as a dict to change, then write them back."""
    tensors = dict(read_safetensors(path))
    yield tensors
    write_safetensors(path, [TensorSource.from_array(*item) for item in tensors.items()])


@contextmanager
def edited_json(path: Path) -> Iterator[dict]:
    values = json.loads(path.read_text())
    yield values
    path.write_text(json.dumps(values))


def assert_same(first: Checkpoint, second: Checkpoint) -> None:
    assert list(first.tensors) == list(second.tensors)
    for name, array in first.tensors.items():
        assert array.dtype == second.tensors[name].dtype
        assert array.tobytes() == second.tensors[name].tobytes()


# --- what opens


def test_the_golden_checkpoint_opens() -> None:
    checkpoint = open_checkpoint(GOLDEN)
    assert checkpoint.config.num_key_value_heads_per_layer == (4, 2, 1, 1, 2, 4)
    shapes = {name: array.shape for name, array in checkpoint.tensors.items()}
    assert list(shapes.items()) == list(checkpoint.config.parameter_shapes().items())
    assert checkpoint.nbytes == 2 * checkpoint.config.num_parameters
    assert checkpoint.dtypes == {"bfloat16": len(shapes)}
    assert [file.name for file in checkpoint.files] == [
        f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)
    ]
    for file in checkpoint.files:
        for name, array in safetensors.numpy.load_file(file).items():
            assert checkpoint.tensors[name].tobytes() == array.tobytes()


def test_one_file_and_shards_hold_the_same_weights(single: Path, sharded: Path) -> None:
    assert len(open_checkpoint(single).files) == 1
    assert len(open_checkpoint(sharded).files) > 2
    assert_same(open_checkpoint(single), open_checkpoint(str(sharded)))


def test_a_layer_may_straddle_files(sharded: Path) -> None:
    weight_map = json.loads((sharded / INDEX).read_text())["weight_map"]
    files = {file for name, file in weight_map.items() if name.startswith("model.layers.0.")}
    assert len(files) > 1


def test_an_index_over_the_single_file_is_no_contradiction(single: Path) -> None:
    names = TINY.parameter_shapes()
    (single / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, "model.safetensors")}))
    assert len(open_checkpoint(single).files) == 1


def test_links_as_in_a_hub_cache(sharded: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    try:
        for number, file in enumerate(sorted(sharded.iterdir())):
            (snapshot / file.name).symlink_to(file.rename(tmp_path / f"blob{number}"))
    except OSError:
        pytest.skip("this system does not let us make links")
    assert open_checkpoint(snapshot).config == TINY
    (tmp_path / "blob1").unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        open_checkpoint(snapshot)


def test_rotary_frequencies_of_older_copies_are_skipped(single: Path, sharded: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    for file in (single / "model.safetensors", sharded / "model-00001-of-00004.safetensors"):
        with edited_tensors(file) as tensors:
            tensors[name] = np.ones(2, np.float32)
    with edited_json(sharded / INDEX) as index:
        index["weight_map"][name] = "model-00001-of-00004.safetensors"
    assert_same(open_checkpoint(single), open_checkpoint(sharded))
    assert name not in open_checkpoint(single).tensors


@pytest.mark.parametrize(
    "name",
    [
        "rotary_emb.inv_freq",
        "model.rotary_emb.inv_freq",
        "model.layers.2.self_attn.rotary_emb.inv_freq",
        "model.layers.0.self_attn.masked_bias",
        "model.layers.0.attn.bias",
        "model.layers.0.self_attn.rotary_emb.cos_cached",
    ],
)
@pytest.mark.parametrize("dtype", ["I64", "BOOL", "F8_E4M3", "F64"])
def test_buffers_are_skipped_whatever_their_dtype(single: Path, sharded: Path, name: str, dtype: str) -> None:
    before = open_checkpoint(single)
    for folder, file in ((single, "model.safetensors"), (sharded, "model-00001-of-00004.safetensors")):
        data = (folder / file).read_bytes()
        length = int.from_bytes(data[:8], "little")
        header, end = json.loads(data[8 : 8 + length]), len(data) - 8 - length
        size = 8 if dtype in ("I64", "F64") else 1
        header[name] = {"dtype": dtype, "shape": [1], "data_offsets": [end, end + size]}
        text = json.dumps(header).encode()
        (folder / file).unlink()  # what is mapped stays as it was
        (folder / file).write_bytes(
            len(text).to_bytes(8, "little") + text + data[8 + length :] + b"\1" * size
        )
    with edited_json(sharded / INDEX) as index:
        index["weight_map"][name] = "model-00001-of-00004.safetensors"
    assert_same(open_checkpoint(single), before)
    assert_same(open_checkpoint(sharded), before)


def test_float64_weights_are_read(single: Path) -> None:
    before = open_checkpoint(single).tensors
    with edited_tensors(single / "model.safetensors") as tensors:
        for name in tensors:
            tensors[name] = tensors[name].astype(np.float64)
    with edited_json(single / "config.json") as config:
        config["torch_dtype"] = "float64"
    wide = open_checkpoint(single)
    assert wide.dtypes == {"float64": len(before)}
    assert wide.config == replace(TINY, torch_dtype="float64")
    ids = [[1, 5, 9, 3]]
    for backend in ("numpy", "numba"):
        narrow = load(single, backend=backend, weights="float32").model(ids)
        np.testing.assert_allclose(load(single, backend=backend).model(ids), narrow, rtol=0, atol=1e-5)
    quantize_checkpoint(single, single.parent / "packed", "int8", 32)
    assert load(single.parent / "packed").checkpoint.scheme is not None


@pytest.mark.parametrize(
    ("found", "eos"),
    [
        ({"eos_token_id": 7}, (2, 7)),
        ({"eos_token_id": [9, 2, 7, 7]}, (2, 9, 7)),
        ({"eos_token_id": None, "temperature": 0.6, "max_length": 3}, (2,)),
        ({}, (2,)),
    ],
)
def test_generation_config_adds_end_ids(single: Path, found: dict[str, object], eos: tuple[int, ...]) -> None:
    (single / "generation_config.json").write_text(json.dumps(found))
    assert open_checkpoint(single).config == replace(TINY, eos_token_ids=eos)
    quantize_checkpoint(single, single.parent / "packed", "int8", 32)
    assert open_checkpoint(single.parent / "packed").config.eos_token_ids == eos


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "expected a JSON object"),
        *(
            (f'{{"eos_token_id": {value}}}', "eos_token_id: expected an id from 0 to 15, or a list of them")
            for value in ("16", "-1", "2.0", "true", '"2"', "[2, 16]", "[[2]]", "{}")
        ),
    ],
)
def test_a_wrong_generation_config(single: Path, text: str, message: str) -> None:
    (single / "generation_config.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"generation_config\.json: {message}"):
        open_checkpoint(single)
    if text.startswith("{"):
        assert open_checkpoint(single, ignore_config_keys=["eos_token_id"]).config.eos_token_ids == (2,)


def test_ignored_keys_reach_every_reader(
    single: Path, run_command: Callable[..., tuple[int, str, str]]
) -> None:
    with edited_json(single / "config.json") as config:
        config |= {"attention_sinks": 4, "quantization_config": {"bits": 4}}
    keys = ["attention_sinks", "quantization_config"]
    assert open_checkpoint(single, ignore_config_keys=keys).config == TINY
    assert load(single, ignore_config_keys=keys).config == TINY
    packed, options = single.parent / "packed", [f"--ignore-config-key={key}" for key in keys]
    for command in (
        ["info", single],
        ["info", single / "config.json"],
        ["compare", single, "--tokens", 4],
        ["plot", "kv-heads", single, "--out", single.parent / "a.svg"],
        ["quantize", single, packed],
    ):
        code, _, err = run_command(*command)
        assert code == 2
        assert "attention_sinks" in err
        assert run_command(*command, *options)[0] == 0, command
    assert open_checkpoint(packed).config == TINY
    for command, next_fault in (  # what is said once the keys are passed over
        (["generate", "a", "--model", single], "tokenizer.model is missing"),
        (["bench", single, "--kv-cache", "int3"], "int3"),
        (["bench", "--config", single / "config.json", "--random", "--layers", 99], "99"),
    ):
        for passed_over, fault in (([], "attention_sinks"), (options, next_fault)):
            code, _, err = run_command(*command, *passed_over)
            assert code == 2
            assert fault in err


@pytest.mark.parametrize("total_size", [0, "all", None])
def test_total_size_is_only_advice(sharded: Path, total_size: object) -> None:
    with edited_json(sharded / INDEX) as index:
        index["metadata"] = {"total_size": total_size}
    open_checkpoint(sharded)


def test_dtypes_may_be_mixed_and_are_counted(single: Path) -> None:
    with edited_tensors(single / "model.safetensors") as tensors:
        tensors["model.norm.weight"] = np.ones(8, np.float32)
    checkpoint = open_checkpoint(single)
    assert checkpoint.dtypes == {"bfloat16": len(checkpoint.tensors) - 1, "float32": 1}
    assert checkpoint.nbytes == 2 * TINY.num_parameters + 2 * 8


# --- tied embeddings


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    write_random_checkpoint(replace(TINY, tie_word_embeddings=True), tmp_path / "tied")
    return tmp_path / "tied"


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(tied: Path) -> None:
    assert "lm_head.weight" not in open_checkpoint(tied).tensors
    with edited_tensors(tied / "model.safetensors") as tensors:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    assert "lm_head.weight" not in open_checkpoint(tied).tensors


def test_every_value_of_a_tied_head_is_compared(tmp_path: Path) -> None:
    """More values than are read at a time: a head that differs in one of them, wherever it is, is named."""
    rows = 350_000  # of 8 values
    config = replace(TINY, vocab_size=rows, tie_word_embeddings=True)
    write_random_checkpoint(config, tmp_path / "tied")
    file = tmp_path / "tied" / "model.safetensors"
    with edited_tensors(file) as tensors:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    assert "lm_head.weight" not in open_checkpoint(tmp_path / "tied").tensors
    for row in (0, rows // 2, rows - 1):
        with edited_tensors(file) as tensors:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
            tensors["lm_head.weight"][row, 7] += 1
        with pytest.raises(CheckpointError, match=r"lm_head\.weight: .*tie_word_embeddings"):
            open_checkpoint(tmp_path / "tied")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(np.zeros((16, 8), ml_dtypes.bfloat16), id="values"),
        pytest.param(np.zeros((16, 8), np.float32), id="dtype"),
        pytest.param(np.zeros((8, 16), ml_dtypes.bfloat16), id="shape"),
        pytest.param(np.zeros((), ml_dtypes.bfloat16), id="scalar"),
    ],
)
def test_a_tied_head_of_its_own_is_a_contradiction(tied: Path, head: np.ndarray) -> None:
    with edited_tensors(tied / "model.safetensors") as tensors:
        tensors["lm_head.weight"] = head
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: .*tie_word_embeddings"):
        open_checkpoint(tied)


# --- what is refused


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_tensor(single: Path) -> None:
    with edited_tensors(single / "model.safetensors") as tensors:
        del tensors["model.layers.1.mlp.up_proj.weight"]
        del tensors["model.norm.weight"]
    message = refusal(single)
    assert message.startswith(
        f"{single / 'model.safetensors'}: tensor model.layers.1.mlp.up_proj.weight: expected"
    )
    assert "(12, 8)" in message
    assert "1 more" in message


def test_a_head_that_is_missing_may_be_tied(single: Path) -> None:
    with edited_tensors(single / "model.safetensors") as tensors:
        del tensors["lm_head.weight"]
    assert "set tie_word_embeddings to true in config.json" in refusal(single)
    with edited_json(single / "config.json") as config:
        config["tie_word_embeddings"] = True
    open_checkpoint(single)


def test_weights_of_another_program_name_a_way_out(single: Path) -> None:
    """A merged model may still say how the base was packed while it was trained."""
    with edited_json(single / "config.json") as config:
        config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    with pytest.raises(ConfigError, match=r"quant_method: .*weights are floats .*ignore_config_keys"):
        open_checkpoint(single)
    assert open_checkpoint(single, ignore_config_keys="quantization_config").config == TINY


def test_an_extra_tensor(single: Path) -> None:
    with edited_tensors(single / "model.safetensors") as tensors:
        tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(16, np.float32)
    message = refusal(single)
    assert (
        "model.safetensors: tensor 'model.layers.0.self_attn.q_proj.bias': expected none of that name"
        in message
    )


def test_a_misshapen_tensor_of_the_wrong_head_count(single: Path) -> None:
    with edited_tensors(single / "model.safetensors") as tensors:
        tensors["model.layers.1.self_attn.k_proj.weight"] = np.zeros((16, 8), np.float32)
    message = refusal(single)
    assert "'model.layers.1.self_attn.k_proj.weight': expected shape (4, 8), found (16, 8)" in message


def test_a_transposed_tensor(single: Path) -> None:
    with edited_tensors(single / "model.safetensors") as tensors:
        gate = tensors["model.layers.0.mlp.gate_proj.weight"]
        tensors["model.layers.0.mlp.gate_proj.weight"] = np.ascontiguousarray(gate.T)
    assert f"gate_proj.weight': expected shape {gate.shape}, found {gate.shape[::-1]}" in refusal(single)


def test_quantised_weights(single: Path) -> None:
    with edited_tensors(single / "model.safetensors") as tensors:
        tensors["model.norm.weight"] = np.zeros(8, np.int8)
    assert "'model.norm.weight': expected float64 or float32 or float16 or bfloat16, found int8" in refusal(
        single
    )


def test_a_missing_shard(sharded: Path) -> None:
    (sharded / "model-00002-of-00004.safetensors").unlink()
    assert "model-00002-of-00004.safetensors: expected the file that model.safetensors.index.json" in refusal(
        sharded
    )


def test_a_tensor_that_is_not_where_the_index_says(sharded: Path) -> None:
    with edited_tensors(sharded / "model-00004-of-00004.safetensors") as tensors:
        del tensors["lm_head.weight"]
    assert "00004.safetensors: tensor 'lm_head.weight': expected it here by" in refusal(sharded)


def test_a_tensor_that_the_index_does_not_know(sharded: Path) -> None:
    with edited_json(sharded / INDEX) as index:
        del index["weight_map"]["model.embed_tokens.weight"]
    assert "tensor 'model.embed_tokens.weight': expected it in 'no file' by" in refusal(sharded)


def test_a_tensor_in_two_files(sharded: Path) -> None:
    with edited_tensors(sharded / "model-00004-of-00004.safetensors") as tensors:
        tensors["model.embed_tokens.weight"] = np.zeros((16, 8), np.float32)
    message = refusal(sharded)
    assert "tensor 'model.embed_tokens.weight'" in message
    assert "model-00001-of-00004.safetensors" in message
    assert "model-00004-of-00004.safetensors" in message


def test_a_single_file_beside_shards(sharded: Path, single: Path) -> None:
    (single / "model.safetensors").rename(sharded / "model.safetensors")
    assert "expected one set of weights, found model.safetensors beside" in refusal(sharded)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param(None, "expected a checkpoint folder, found nothing", id="no folder"),
        pytest.param(
            (), "expected model.safetensors or model.safetensors.index.json, found neither", id="empty"
        ),
        pytest.param(("model.safetensors",), r"config.json: expected the model's", id="no config"),
        pytest.param(("config.json", "pytorch_model.bin"), "pickle .* never read.*convert", id="pickle"),
        pytest.param(("model.Q4_K_M.gguf",), "found 'model.Q4_K_M.gguf'; GGUF is not read", id="gguf"),
        pytest.param(("model-00001-of-00002.safetensors",), "shards need their model", id="no index"),
    ],
)
def test_folders_that_hold_no_checkpoint(tmp_path: Path, files: tuple[str, ...] | None, message: str) -> None:
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
    for file in files or ():
        (folder / file).touch()
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param(
            {"adapter_config.json": '{"peft_type": "LORA", "base_model_name_or_path": "Deci/DeciLM-6b"}'},
            "found a LoRA adapter of 'Deci/DeciLM-6b' .*give that model, and this folder as the adapter",
            id="adapter",
        ),
        pytest.param(
            {"adapter_config.json": "{}", "adapter_model.safetensors": "", "config.json": "{}"},
            "found a LoRA adapter of a model it does not name",
            id="adapter of what",
        ),
        pytest.param({"adapter_config.json": "{"}, r"adapter_config\.json: not valid JSON", id="no adapter"),
        pytest.param(
            {"model.fp16.safetensors": ""}, r"'model.fp16.safetensors'; a variant .*rename", id="fp16"
        ),
        pytest.param(
            {"model.fp16-00001-of-00002.safetensors": "", "model.safetensors.index.fp16.json": "{}"},
            r"'model.safetensors.index.fp16.json'; .*rename it to model.safetensors.index.json",
            id="fp16 shards",
        ),
        pytest.param(
            {"weights.safetensors": ""}, "'weights.safetensors'; .*rename it to model", id="other name"
        ),
        pytest.param({"consolidated.safetensors": ""}, "Mistral's own names", id="Mistral"),
        pytest.param(
            {"pytorch_model-00001-of-00002.bin": "", "training_args.bin": ""}, "'pytorch_m", id="bin"
        ),
        pytest.param({"consolidated.00.pth": "", "params.json": "{}"}, "Meta's own layout", id="Meta"),
        pytest.param({"tf_model.h5": ""}, "TensorFlow or Flax", id="TensorFlow"),
        pytest.param(
            {"checkpoint-500/model.safetensors": ""}, "weights in checkpoint-500; give", id="trainer"
        ),
        pytest.param(
            {"snapshots/0f/model-00001-of-00002.safetensors": "", "refs/main": "0f"},
            "weights in snapshots.0f; give",
            id="hub cache",
        ),
    ],
)
def test_what_the_folder_is_instead(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_adapter_that_was_merged_in_place_opens(single: Path) -> None:
    (single / "adapter_config.json").write_text("{}")
    open_checkpoint(single)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (
            "module.{}",
            "under the prefix 'module.', which DataParallel .*save the model inside .model.module.",
        ),
        ("_orig_mod.{}", "under the prefix '_orig_mod.', which torch.compile .*model._orig_mod"),
        ("_orig_mod.module.{}", "under the prefix '_orig_mod.module.', which torch.compile "),
        ("base_model.model.{}", "under the prefix 'base_model.model.', which peft .*merge_and_unload"),
        ("language_model.{}", "under the prefix 'language_model.', so it is part of another model"),
        ("base_model.model.{}.lora_A.weight", "a part of an adapter; give its folder as the adapter"),
        ("." * 100_000 + "{}", "expected none of that name"),
    ],
)
def test_prefixes_are_told_apart(single: Path, rename: str, message: str) -> None:
    with edited_tensors(single / "model.safetensors") as tensors:
        for name in list(tensors)[:1] if len(rename) > 99 else list(tensors):
            tensors[rename.format(name)] = tensors.pop(name)
    found = refusal(single)
    assert re.search(message, found)
    assert len(found) < 500 + len(str(single))


def test_the_inner_model_lacks_a_prefix(single: Path) -> None:
    with edited_tensors(single / "model.safetensors") as tensors:
        del tensors["lm_head.weight"]
        for name in list(tensors):
            tensors[name.removeprefix("model.")] = tensors.pop(name)
    assert "lacks 'model.', as when the inner model is saved" in refusal(single)


def test_pointers_in_the_place_of_files(single: Path, sharded: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4953700360\n"
    (single / "model.safetensors").write_text(pointer)
    assert "model.safetensors: expected the file itself, found a git-lfs pointer" in refusal(single)
    (sharded / INDEX).write_text(pointer)
    assert "index.json: expected the file itself, found a git-lfs pointer" in refusal(sharded)


def test_a_file_for_a_folder(single: Path) -> None:
    assert "expected a checkpoint folder, found a file" in refusal(single / "model.safetensors")


def test_a_config_that_is_refused(single: Path) -> None:
    with edited_json(single / "config.json") as config:
        config["num_key_value_heads_per_layer"][1] = 3
    with pytest.raises(
        ConfigError, match=r"config.json: num_key_value_heads_per_layer\[1\] = 3 does not divide"
    ):
        open_checkpoint(single)


# --- what is written


def test_the_published_sharding_of_decilm_6b() -> None:
    shapes = preset("decilm-6b").parameter_shapes()
    assert len(shapes) == 291
    sizes = {name: 2 * int(np.prod(shape)) for name, shape in shapes.items()}
    shards = plan_shards(sizes)
    gigabytes = [round(sum(sizes[name] for name in shard) / 1e9, 4) for shard in shards]
    assert gigabytes == [4.9537, 4.9160, 1.5645]
    assert [shard[0] for shard in shards[1:]] == [
        "model.layers.13.mlp.down_proj.weight",
        "model.layers.28.mlp.gate_proj.weight",
    ]


def test_a_tensor_above_the_limit_gets_a_file_of_its_own() -> None:
    assert plan_shards({"a": 1, "big": 9, "b": 1}, 4) == [["a"], ["big"], ["b"]]
    assert plan_shards({"big": 9}, 4) == [["big"]]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_random_weights(tmp_path: Path, dtype: str) -> None:
    config = replace(TINY, hidden_size=256, vocab_size=999)
    write_random_checkpoint(config, tmp_path / "model", dtype=dtype)
    checkpoint = open_checkpoint(tmp_path / "model")
    assert checkpoint.config == replace(config, torch_dtype=dtype)
    assert set(checkpoint.dtypes) == {dtype}
    embedding = checkpoint.tensors["model.embed_tokens.weight"].astype(np.float64)
    assert abs(embedding.std() - 0.02) < 1e-3
    assert abs(embedding.mean()) < 1e-3
    assert abs(checkpoint.tensors["model.norm.weight"].astype(np.float64).mean() - 1) < 1e-2
    for array in checkpoint.tensors.values():
        magnitude = np.abs(array.astype(np.float64))
        assert not np.any((magnitude > 0) & (magnitude < 2.0**-14))
        assert np.isfinite(magnitude).all()


def test_random_weights_depend_on_the_seed_and_not_on_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_random_checkpoint(TINY, tmp_path / "a", seed=7)
    write_random_checkpoint(TINY, tmp_path / "other", seed=8)
    monkeypatch.setattr(random_weights, "_CHUNK_VALUES", 37)
    write_random_checkpoint(TINY, tmp_path / "b", seed=7, max_shard_bytes=SHARD_BYTES)
    assert_same(open_checkpoint(tmp_path / "a"), open_checkpoint(tmp_path / "b"))
    name = "model.embed_tokens.weight"
    a, other = (open_checkpoint(tmp_path / folder).tensors[name] for folder in ("a", "other"))
    assert not np.array_equal(a, other)


def test_the_written_folder_is_in_the_published_layout(sharded: Path) -> None:
    files = [f"model-0000{number}-of-00004.safetensors" for number in range(1, 5)]
    assert sorted(os.listdir(sharded)) == ["config.json", *files, INDEX]
    index = json.loads((sharded / INDEX).read_text())
    assert index["metadata"] == {"total_size": 2 * TINY.num_parameters}
    assert list(index["weight_map"]) == list(TINY.parameter_shapes())
    for file in files:
        with safetensors.safe_open(sharded / file, "np") as opened:
            assert opened.metadata() == {"format": "pt"}
        named = {name for name, place in index["weight_map"].items() if place == file}
        assert safetensors.numpy.load_file(sharded / file).keys() == named


def test_an_empty_folder_may_be_the_target_and_a_full_one_not(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_random_checkpoint(TINY, tmp_path / "model")
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "model").iterdir()}
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_random_checkpoint(TINY, tmp_path / "model", seed=1)
    with pytest.raises(FileExistsError):
        write_random_checkpoint(TINY, tmp_path / "model" / "config.json")
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "model").iterdir()} == before
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    real = checkpoint_writer.write_safetensors
    calls = []

    def second_fails(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        real(*arguments)

    monkeypatch.setattr(checkpoint_writer, "write_safetensors", second_fails)
    with pytest.raises(error):
        write_random_checkpoint(TINY, tmp_path / "model", max_shard_bytes=SHARD_BYTES)
    assert os.listdir(tmp_path) == []


def test_only_the_tensors_of_the_config_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names and shapes"):
        write_checkpoint(TINY, tmp_path / "model", [])
    with pytest.raises(ConfigError, match="torch_dtype"):
        write_random_checkpoint(TINY, tmp_path / "model", dtype="int8")
    assert os.listdir(tmp_path) == []


def test_a_bar_is_shown_on_stderr_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_random_checkpoint(TINY, tmp_path / "quiet")  # stderr is no terminal here
    assert capsys.readouterr() == ("", "")
    write_random_checkpoint(TINY, tmp_path / "shown", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "writing shown" in err
    assert "100%" in err
