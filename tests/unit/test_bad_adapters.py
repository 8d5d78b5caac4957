"""Adapters that do not fit, or would be silently wrong: each refused in one line, and none applied."""

import json
from dataclasses import replace

import numpy as np
import pytest

import minidecilm
from minidecilm.errors import CheckpointError
from minidecilm.weights.adapters import read_adapter
from tests.adapters import MODEL, PREFIX, low_rank, write_adapter, write_model

LAYER = f"{PREFIX}model.layers.1.self_attn."
B = f"{LAYER}k_proj.lora_B.weight"


def but(*without, **changed):
    """Tensors of a good adapter, but for some."""
    tensors = {name: array for name, array in low_rank().items() if name not in without}
    return tensors | {name: np.asarray(array) for name, array in changed.items()}


def renamed(old, new):
    return {name.replace(old, new): array for name, array in low_rank().items()}


ones, dora = np.ones((12, 3), np.float32), low_rank(dora=True)
# what is wrong: tensors, what the configuration says, and the line
BAD = {
    "a layer with other KV heads": (
        but(**{B: np.ones((24, 3), np.float32)}),
        {},
        r"lora_B.weight': expected shape \(12, 3\) \(layer 1 has 2 KV heads\), found \(24, 3\); the adapter ",
    ),
    "one KV head": (
        but(**{B.replace("layers.1", "layers.2"): ones}),
        {},
        r"expected shape \(6, 3\) \(layer 2 has 1 KV head\), found \(12, 3\)",
    ),
    "another width": (
        but(**{f"{LAYER}q_proj.lora_A.weight": np.ones((3, 32), np.float32)}),
        {},
        r"q_proj.lora_A.weight': expected shape \(3, 24\) \(rank 3 by adapter_config.json\), found \(3, 32\)",
    ),
    "another rank": (but(), {"r": 4}, r"expected shape \(4, 24\) \(rank 4 by adapter_config"),
    "a layer too many": (renamed("layers.3.", "layers.7."), {}, "found layer 7 of 4 layers; give the model"),
    "another network": (renamed("q_proj", "c_attn"), {}, "found no such matrix; give the model that"),
    "no prefix": (renamed(PREFIX, ""), {}, "expected a name that belongs to a matrix of the model"),
    "a name of its own": (
        renamed("lora_A.weight", "lora_A.default.weight"),
        {},
        "found an adapter's own name in it; save it with save_pretrained",
    ),
    "A without B": (
        but(B),
        {},
        r"k_proj.lora_B.weight': expected it beside the others of its matrix, found none",
    ),
    "an embedding": (
        but(**{f"{PREFIX}model.embed_tokens.lora_embedding_A": np.ones((3, 40), np.float32)}),
        {},
        "found LoRA of an embedding; not in this version: merge it in peft",
    ),
    "a norm": (
        but(**{f"{PREFIX}model.norm.lora_A.weight": np.ones((3, 24), np.float32)}),
        {},
        "model.norm.lora_A.weight': expected a name that belongs to a matrix",
    ),
    "DoRA without lengths": (
        but(),
        {"use_dora": True},
        "lora_magnitude_vector': expected it beside the others",
    ),
    "lengths without DoRA": (dora, {}, "expected none, since use_dora is false, found DoRA"),
    "a length too few": (
        dora | {f"{LAYER}v_proj.lora_magnitude_vector": np.ones(11, np.float32)},
        {"use_dora": True},
        r"lora_magnitude_vector': expected shape \(12,\), found \(11,\)",
    ),
    "a head of more words": (
        but(**{f"{PREFIX}lm_head.weight": np.ones((44, 24), np.float32)}),
        {"modules_to_save": ["lm_head"]},
        r"lm_head.weight': expected shape \(40, 24\), found \(44, 24\)",
    ),
    "a promised head": (
        but(),
        {"modules_to_save": ["lm_head"]},
        "modules_to_save: expected 'lm_head' in adapter_mo",
    ),
    "NaN": (but(**{B: ones * np.nan}), {}, "expected finite values, found NaN or infinity"),
    "integers": (but(**{B: ones.astype(np.int8)}), {}, "expected F64, F32, F16, BF16, found I8"),
    "nothing": ({}, {}, "expected weights of an adapter, found none"),
    "a head twice": (
        {
            f"{PREFIX}lm_head.weight": np.ones((40, 24), np.float32),
            f"{PREFIX}lm_head.base_layer.weight": np.ones((40, 24), np.float32),
        },
        {},
        "expected one tensor, found base_model.model.lm_head.* too; keep one",
    ),
    "not LoRA": (but(), {"peft_type": "LOHA"}, "peft_type: expected 'LORA', found 'LOHA'; only LoRA is read"),
    "PiSSA": (
        but(),
        {"init_lora_weights": "pissa_niter_16"},
        "init_lora_weights: .*changed weights of the model",
    ),
    "OLoRA": (but(), {"init_lora_weights": "olora"}, "found 'olora'; training began with changed weights"),
    "CorDA": (but(), {"init_lora_weights": "corda"}, "found 'corda'; training began with changed weights"),
    "LoftQ": (but(), {"init_lora_weights": "loftq"}, "found 'loftq'; training began with changed weights"),
    "LoRA-GA": (
        but(),
        {"init_lora_weights": "lora_ga"},
        "found 'lora_ga'; training began with changed weights",
    ),
    "1 for true": (but(), {"init_lora_weights": 1}, "init_lora_weights: expected True or"),
    "biases": (
        but(),
        {"bias": "lora_only"},
        "bias: expected none, found 'lora_only'; layers of this network have no",
    ),
    "LoRA's biases": (
        but(),
        {"lora_bias": True},
        "lora_bias: expected False, found True; layers of this network",
    ),
    "layers repeated": (
        but(),
        {"layer_replication": [[0, 4], [2, 4]]},
        "layer_replication: .*it repeats layers",
    ),
    "some rows": (but(), {"trainable_token_indices": [3]}, "trainable_token_indices: .*single rows"),
    "part of a text": (
        but(),
        {"alora_invocation_tokens": [1, 2]},
        "alora_invocation_tokens: .*a part of each text",
    ),
    "parameters": (but(), {"target_parameters": ["w"]}, "target_parameters: .*another form of LoRA"),
    "QALoRA": (but(), {"use_qalora": True}, "use_qalora: expected False, found True; another form"),
    "BD-LoRA": (but(), {"use_bdlora": {"a": 1}}, "use_bdlora: .*another form"),
    "KaSA": (but(), {"kasa_config": {"a": 1}}, "kasa_config: .*another form"),
    "Arrow": (but(), {"arrow_config": {"a": 1}}, "arrow_config: .*another form"),
    "transposed": (but(), {"fan_in_fan_out": True}, "fan_in_fan_out: expected False, found True"),
    "a new key": (
        but(),
        {"use_new": True, "newer": "x", "off": False},
        "expected keys of LoRA that are known, found 'use_new' = True, 'newer' = 'x'; if it changes",
    ),
    "no rank": (but(), {"r": 0}, "r: expected a rank of at least 1, found 0"),
    "a rank of true": (but(), {"r": True}, "r: expected a rank of at least 1, found True"),
    "no alpha": (but(), {"lora_alpha": None}, "lora_alpha: expected a number above 0, found None"),
    "a word for true": (but(), {"use_rslora": "yes"}, "use_rslora: expected true or false, found 'yes'"),
    "a list of ranks": (but(), {"rank_pattern": [3]}, "rank_pattern: expected names and numbers"),
    "half a rank": (but(), {"rank_pattern": {"q_proj": 1.5}}, "rank_pattern: expected names and numbers"),
    "no expression": (
        but(),
        {"alpha_pattern": {"q_(proj": 1}},
        "alpha_pattern: .*found 'q_.proj'; name the modules",
    ),
    "an expression without end": (but(), {"rank_pattern": {"(.*)*": 3}}, "rank_pattern: .*a short regular"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_adapter_is_refused_in_one_line(name, model, tmp_path):
    tensors, values, line = BAD[name]
    folder = write_adapter(tmp_path / "adapter", tensors, **values)
    with pytest.raises(CheckpointError, match=line) as caught:
        minidecilm.load(model, adapter=folder)
    said = str(caught.value)
    assert said.startswith(str(folder / "adapter_"))
    assert "\n" not in said
    assert len(said) < 400 + len(str(folder))


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (
            {},
            "adapter_config.json: expected the configuration of an adapter, found no such file; give",
        ),
        ({"config.json": "{}"}, "found a model; give it as the model"),
        ({"adapter_config.json": "{"}, "adapter_config.json: not valid JSON"),
        ({"adapter_config.json": '{"r": 1, "r": 2}'}, "key 'r' stands twice"),
        (
            {"adapter_config.json": None},
            "adapter_model.safetensors: expected the weights of .*found no such file",
        ),
        (
            {"adapter_config.json": None, "adapter_model.bin": "pickle"},
            "found adapter_model.bin; pickle can run code and is never read: .*safe_serialization=True",
        ),
        (
            {
                "adapter_config.json": None,
                "adapter_model.safetensors": "version https://git-lfs.github.com/x",
            },
            "git-lfs pointer",
        ),
        (
            {"adapter_config.json": None, "adapter_model.safetensors": "no such format"},
            "adapter_model.safetensors: expected a safetensors file, found ",
        ),
        (
            {"adapter_config.json": None, "adapter_model.safetensors": ""},
            "expected a safetensors file, found ",
        ),
    ],
)
def test_a_folder_that_is_no_adapter(files, line, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(
            json.dumps({"peft_type": "LORA", "r": 3, "lora_alpha": 3}) if text is None else text
        )
    with pytest.raises(CheckpointError, match=line) as caught:
        read_adapter(tmp_path, MODEL)
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_place_of_the_weights(tmp_path):
    write_adapter(tmp_path, low_rank())
    (tmp_path / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter_model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="expected a file, found a folder"):
        read_adapter(tmp_path, MODEL)


def test_an_embedding_alone_of_a_tied_model_says_nothing_of_the_head(tmp_path):
    """PEFT leaves the head as it was, or ties it, depending on its version."""
    folder = write_adapter(tmp_path, {f"{PREFIX}model.embed_tokens.weight": np.ones((40, 24), np.float32)})
    with pytest.raises(CheckpointError, match="expected the head too, which is the embedding in this model"):
        read_adapter(folder, replace(MODEL, tie_word_embeddings=True))
    assert not read_adapter(folder, MODEL).config.tie_word_embeddings
