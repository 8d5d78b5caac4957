"""Config: every published form of config.json is read, every contradiction is refused by its key's name."""

import json
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from minidecilm import preset
from minidecilm.config import Config, LayerConfig
from minidecilm.errors import ConfigError
from minidecilm.presets import PRESET_NAMES

DATA = Path(__file__).parent / "data"

# config.json of Deci/DeciLM-6b as published.
ORIGINAL: dict[str, Any] = {
    "architectures": ["DeciLMForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_decilm.DeciLMConfig",
        "AutoModelForCausalLM": "modeling_decilm.DeciLMForCausalLM",
    },
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads_per_layer": [4, *[2] * 9, *[1] * 20, 4, 4],
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"type": "dynamic", "factor": 2.0},
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.31.0",
    "use_bfloat16": True,
    "use_cache": True,
    "vocab_size": 32000,
}
HEAD = ORIGINAL | {"model_type": "deci"}
RESAVED = ORIGINAL | {
    "model_type": "llama",
    "num_key_value_heads": 32,  # transformers' default, and false
    "rope_theta": 10000.0,
    "attention_bias": False,
    "naive_attention_prefill": False,
    "naive_attention_decode_batched": False,
    "naive_attention_decode_single": False,
    "torch_dtype": "float16",
    "transformers_version": "4.34.0",
}
VERSION_5 = {key: value for key, value in HEAD.items() if key not in ("rope_scaling", "torch_dtype")} | {
    "dtype": "bfloat16",
    "head_dim": 128,
    "pad_token_id": None,
    "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    "transformers_version": "5.23.0",
}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "torch_dtype": "float16",
    "vocab_size": 32000,
}


def test_the_original_is_written_down_right() -> None:
    """The published files have 831 bytes, and 855 with ``model_type``."""
    for values, size in ((ORIGINAL, 831), (HEAD, 855)):
        items = [
            f'"{key}": ' + json.dumps(value, indent=2 if key in ("architectures", "auto_map") else None)
            for key, value in sorted(values.items())
        ]
        text = "{\n" + ",\n".join(items)
        assert len(text.replace("\n", "\n  ") + "\n}") == size


@pytest.mark.parametrize(
    "values",
    [pytest.param(ORIGINAL, id="original"), pytest.param(HEAD, id="head"), pytest.param(VERSION_5, id="v5")],
)
def test_every_form_of_decilm_6b(values: dict[str, Any]) -> None:
    assert Config.from_dict(values) == preset("decilm-6b")


def test_a_resaved_copy_has_the_heads_of_the_list_and_not_the_false_32() -> None:
    config = Config.from_dict(RESAVED)
    assert config == replace(preset("decilm-6b"), torch_dtype="float16")
    assert sum(config.num_key_value_heads_per_layer) == 50


def test_a_plain_llama_has_the_same_heads_in_every_layer() -> None:
    assert Config.from_dict(LLAMA) == preset("llama-2-7b")
    grouped = Config.from_dict(LLAMA | {"num_key_value_heads": 8})
    assert grouped.num_key_value_heads_per_layer == (8,) * 32


def test_tied_embeddings_have_no_head() -> None:
    tied = Config.from_dict(ORIGINAL | {"tie_word_embeddings": True})
    assert "lm_head.weight" not in tied.parameter_shapes()
    assert tied.num_parameters == preset("decilm-6b").num_parameters - 32000 * 4096


@pytest.mark.parametrize("version", ["4.57.1", "5.23.0"])
def test_what_transformers_writes(version: str) -> None:
    """Files that ``LlamaForCausalLM.save_pretrained`` of that version wrote."""
    config = Config.from_file(DATA / f"config_transformers_{version}.json")
    assert config == Config(
        vocab_size=64,
        hidden_size=32,
        num_attention_heads=4,
        head_dim=8,
        layers=(LayerConfig(2, 48),) * 2,
        max_position_embeddings=64,
        rms_norm_eps=1e-6,
        rope_factor=2.0,
    )


@pytest.mark.parametrize("name", ["llama_4.31.0", "llama_4.57.6", "llama_5.24.0", "mistral_4.57.6"])
def test_every_key_that_transformers_knows(name: str) -> None:
    """What ``to_json_string(use_diff=False)`` of its config classes gives for DeciLM's values."""
    assert Config.from_file(DATA / f"config_full_{name}.json") == preset("decilm-6b")


def test_per_layer_config_as_transformers_writes_it() -> None:
    values = json.loads((DATA / "config_per_layer_5.24.0.json").read_text())
    assert values["per_layer_config"]["00"] == {"num_key_value_heads": 4}
    assert "num_key_value_heads_per_layer" not in values
    assert Config.from_dict(values) == preset("decilm-6b")


SMALL = LLAMA | {"num_hidden_layers": 3, "num_key_value_heads": 8}


def test_per_layer_config_goes_over_the_common_values() -> None:
    own = {"1": {"num_key_value_heads": 4, "num_attention_heads": 16, "intermediate_size": 64}, "2": {}}
    config = Config.from_dict(SMALL | {"per_layer_config": own})
    assert config.layers == (LayerConfig(8, 11008), LayerConfig(4, 64, 16), LayerConfig(8, 11008))
    assert config.head_dim == 128
    everywhere = {str(layer): {"num_key_value_heads": 2, "intermediate_size": 64} for layer in range(3)}
    values = SMALL | {"per_layer_config": everywhere, "num_key_value_heads": None, "intermediate_size": None}
    assert Config.from_dict(values).layers == (LayerConfig(2, 64),) * 3
    listed = ORIGINAL | {"num_key_value_heads": 32, "per_layer_config": {"0": {"num_key_value_heads": 4}}}
    assert Config.from_dict(listed) == preset("decilm-6b")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([], "per_layer_config: expected an object, found \\[\\]"),
        ({"3": {}}, r"per_layer_config\['3'\]: expected a layer from 0 to 2"),
        ({"-1": {}}, r"per_layer_config\['-1'\]: expected a layer from 0 to 2"),
        ({"first": {}}, r"per_layer_config\['first'\]: expected a layer from 0 to 2"),
        ({"\u0661": {}}, "expected a layer from 0 to 2"),
        ({"0": 4}, r"per_layer_config\['0'\]: expected an object, found 4"),
        (
            {"0": {"skip": ["mlp"]}},
            r"per_layer_config\['0'\]: expected num_key_value_heads.* found key 'skip'",
        ),
        (
            {"0": {"intermediate_size": 2.0}},
            r"per_layer_config\['0'\].intermediate_size: expected an integer",
        ),
        ({"0": {"num_key_value_heads": 7}}, r"per_layer\[0\] = 7 does not divide"),
        ({"0": {"num_key_value_heads": 4}, "00": {"num_key_value_heads": 4}}, "layer 0 stands there twice"),
    ],
)
def test_wrong_entries_of_per_layer_config(own: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(SMALL | {"per_layer_config": own})


def test_two_lists_of_kv_heads_must_agree() -> None:
    with pytest.raises(ConfigError, match=r"per_layer\[1\] = 2 and in per_layer_config .* = 4 contradict"):
        Config.from_dict(ORIGINAL | {"per_layer_config": {"01": {"num_key_value_heads": 4}}})


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"unsloth_version": "2025.3", "unsloth_fixed": True}, id="unsloth"),
        pytest.param({"max_sequence_length": 2048, "tokenizer_class": "LlamaTokenizer"}, id="vicuna"),
        pytest.param(
            {"temperature": 0.9, "top_p": 0.6, "do_sample": True, "max_length": 4096}, id="sampling"
        ),
        pytest.param({"sliding_window": 1024, "use_sliding_window": False}, id="window off"),
        pytest.param({"hidden_act": "swish"}, id="another name"),
        pytest.param({"sliding_window": 4096}, id="window of the context"),
        pytest.param({"sliding_window": 1024, "layer_types": ["full_attention"] * 32}, id="full attention"),
        pytest.param({"sliding_window": 8192, "layer_types": ["sliding_attention"] * 32}, id="long window"),
        pytest.param(
            {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 3}, id="no window"
        ),
        pytest.param({"partial_rotary_factor": 1.0, "rope_traditional": False}, id="whole rotary"),
        pytest.param(
            {
                "rope_scaling": {
                    "type": "dynamic",
                    "factor": 2.0,
                    "partial_rotary_factor": 1.0,
                    "beta_fast": None,
                }
            },
            id="whole rotary inside",
        ),
        pytest.param(
            {"pruned_heads": {}, "add_cross_attention": False, "is_encoder_decoder": False}, id="off"
        ),
    ],
)
def test_keys_that_change_nothing(more: dict[str, Any]) -> None:
    assert Config.from_dict(ORIGINAL | more) == preset("decilm-6b")


@pytest.mark.parametrize("kind", ["linear", "default"])
def test_scaling_by_one_is_none(kind: str) -> None:
    values = LLAMA | {"rope_scaling": {"type": kind, "factor": 1.0}}
    assert Config.from_dict(values) == preset("llama-2-7b")


def test_a_dtype_as_pytorch_prints_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ORIGINAL | {"torch_dtype": "torch.bfloat16"}), encoding="utf-8-sig")
    assert Config.from_file(path) == preset("decilm-6b")


def test_all_that_is_unknown_is_named_at_once() -> None:
    values = ORIGINAL | {"zeta": 1, "alpha": 2, "mlp_bias": True}
    with pytest.raises(ConfigError, match=r"mlp_bias: only False .*; unknown keys 'alpha', 'zeta': .*remove"):
        Config.from_dict(values)
    assert Config.from_dict(values, ignore_config_keys=["alpha", "zeta", "mlp_bias"]) == preset("decilm-6b")
    with pytest.raises(ConfigError, match="unknown key 'alpha': ") as caught:
        Config.from_dict(values | {"mlp_bias": False}, ignore_config_keys="zeta")
    assert "ignore_config_keys" in str(caught.value)
    assert "--ignore-config-key" in str(caught.value)


def test_thousands_of_unknown_keys_are_one_short_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ORIGINAL | {f"k{number:05}": 0 for number in range(80_000)}))
    with pytest.raises(ConfigError, match="'k00009' and 79,990 more: ") as caught:
        Config.from_file(path)
    assert len(str(caught.value)) < 500 + len(str(path))


def test_an_ignored_key_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ORIGINAL | {"rope_scaling": {"type": "yarn"}, "block_configs": []}))
    config = Config.from_file(path, ignore_config_keys=("rope_scaling", "block_configs", "not there"))
    assert config == replace(preset("decilm-6b"), rope_factor=None)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("decilm-6b", 5_717_102_592),
        ("decilm-7b", 7_043_551_232),
        ("decicoder-6b", 5_866_000_384),
        ("llama-2-7b", 6_738_415_616),
        ("mistral-7b", 7_241_732_096),
        ("llama-3-8b", 8_030_261_248),
    ],
)
def test_presets_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    assert preset(name).num_parameters == parameters
    assert preset(name.upper()) is preset(name)


def test_an_unknown_preset_is_refused_with_the_choice() -> None:
    with pytest.raises(ConfigError, match=", ".join(PRESET_NAMES)):
        preset("decilm-8b")


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_json_round_trip(name: str, tmp_path: Path) -> None:
    for config in (
        preset(name),
        replace(preset(name), tie_word_embeddings=True, eos_token_ids=(2, 7), bos_token_id=None),
        replace(preset(name), eos_token_ids=(), rope_theta=5e5, head_dim=64),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
        assert Config.from_file(tmp_path / "config.json") == config


def test_layers_that_differ_beyond_kv_heads_round_trip() -> None:
    config = preset("decilm-6b")
    assert "per_layer_config" not in config.to_dict()
    mixed = replace(
        config,
        layers=(LayerConfig(4, 512), LayerConfig(4, 11008, 16), *config.layers[2:31], LayerConfig(2, 64, 8)),
    )
    values = mixed.to_dict()
    assert values["per_layer_config"] == {
        "0": {"intermediate_size": 512},
        "1": {"num_attention_heads": 16},
        "31": {"num_attention_heads": 8, "intermediate_size": 64},
    }
    assert Config.from_dict(json.loads(json.dumps(values))) == mixed
    same = replace(config, layers=tuple(replace(layer, num_attention_heads=16) for layer in config.layers))
    assert Config.from_dict(same.to_dict()) == same
    said_twice = replace(config, layers=(LayerConfig(4, 11008, 32), *config.layers[1:]))
    assert said_twice.to_dict() == config.to_dict()


def test_shapes_follow_the_query_heads_of_their_layer() -> None:
    config = preset("decilm-6b")
    mixed = replace(config, layers=(LayerConfig(4, 11008, 16), LayerConfig(2, 5632)))
    assert mixed.num_attention_heads_per_layer == (16, 32)
    shapes = mixed.parameter_shapes()
    rows = [shapes[f"model.layers.{layer}.self_attn.q_proj.weight"] for layer in (0, 1)]
    columns = [shapes[f"model.layers.{layer}.self_attn.o_proj.weight"] for layer in (0, 1)]
    assert (rows, columns) == ([(2048, 4096), (4096, 4096)], [(4096, 2048), (4096, 4096)])
    assert shapes["model.layers.0.self_attn.k_proj.weight"] == (512, 4096)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (LayerConfig(4, 11008, 0), r"layers\[1\].num_attention_heads: expected an integer from 1"),
        (LayerConfig(4, 11008, 16.0), r"layers\[1\].num_attention_heads: .* found 16.0"),  # type: ignore[arg-type]
        (LayerConfig(4, 11008, 18), r"per_layer\[1\] = 4 does not divide num_attention_heads = 18"),
        (LayerConfig(8, 11008, 4), r"per_layer\[1\]: expected an integer from 1 to 4, found 8"),
    ],
)
def test_impossible_query_heads_of_a_layer(layer: LayerConfig, message: str) -> None:
    config = preset("decilm-6b")
    with pytest.raises(ConfigError, match=message):
        replace(config, layers=(config.layers[0], layer))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads_per_layer": None}, "num_key_value_heads_per_layer is missing"),
        ({"num_key_value_heads_per_layer": [7] * 32}, r"per_layer\[0\] = 7 does not divide .* = 32"),
        ({"num_key_value_heads_per_layer": [0] * 32}, r"per_layer\[0\]: expected an integer from 1"),
        ({"num_key_value_heads_per_layer": None, "num_key_value_heads": 7}, "= 7 does not divide .* = 32"),
    ],
)
def test_wrong_kv_heads_pass_no_entry(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    values = ORIGINAL | changes
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(values)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=rf"config\.json: .*{message}"):
        Config.from_file(path)
    kv_heads = values["num_key_value_heads_per_layer"] or [values.get("num_key_value_heads", 0)]
    with pytest.raises(ConfigError, match=r"num_key_value_heads_per_layer\[0\]"):
        replace(preset("decilm-6b"), layers=tuple(LayerConfig(k, 11008) for k in kv_heads))


def test_values_at_their_edges() -> None:
    config = preset("decilm-6b")
    for key, value in {"rms_norm_eps": 0.0, "rope_theta": 1.0, "rope_factor": 1.0, "head_dim": 6}.items():
        assert getattr(replace(config, **{key: value}), key) == value
    assert len(replace(config, layers=config.layers[:1] * 1024).layers) == 1024
    with pytest.raises(ConfigError, match="num_hidden_layers: expected 1 to 1024, found 1025"):
        replace(config, layers=config.layers[:1] * 1025)


def test_any_of_several_ids_ends_a_text() -> None:
    assert Config.from_dict(ORIGINAL | {"eos_token_id": [2, 7]}).eos_token_ids == (2, 7)


def test_a_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        preset("decilm-6b").vocab_size = 7  # type: ignore[misc]


def test_shapes_follow_the_heads_of_their_layer() -> None:
    shapes = preset("decilm-6b").parameter_shapes()
    rows = [shapes[f"model.layers.{layer}.self_attn.k_proj.weight"] for layer in (0, 1, 10, 29, 30)]
    assert rows == [(512, 4096), (256, 4096), (128, 4096), (128, 4096), (512, 4096)]
    assert shapes["model.layers.10.self_attn.v_proj.weight"] == (128, 4096)
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (4096, 11008)
    assert next(iter(shapes)) == "model.embed_tokens.weight"
    assert list(shapes)[-2:] == ["model.norm.weight", "lm_head.weight"]


def test_absent_rope_and_token_keys_are_llamas() -> None:
    values = {key: value for key, value in ORIGINAL.items() if not key.endswith("_token_id")}
    config = Config.from_dict(values)
    assert (config.bos_token_id, config.eos_token_ids) == (1, (2,))
    assert config.rope_theta == 10000.0


@pytest.mark.parametrize(
    ("scaling", "theta", "factor"),
    [
        pytest.param({"rope_scaling": None}, 10000.0, None, id="none"),
        pytest.param({"rope_scaling": {"rope_type": "default"}}, 10000.0, None, id="default"),
        pytest.param({"rope_scaling": {"rope_type": "dynamic", "factor": 4}}, 10000.0, 4, id="rope_type"),
        pytest.param({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 5e5}}, 5e5, 2.0, id="said twice"),
        pytest.param(
            {"rope_scaling": {"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 4096}},
            *(10000.0, 2.0),
            id="original length",
        ),
    ],
)
def test_forms_of_rope(scaling: dict[str, Any], theta: float, factor: float | None) -> None:
    config = Config.from_dict(ORIGINAL | scaling)
    assert (config.rope_theta, config.rope_factor) == (theta, factor)


REFUSED: list[tuple[str, Any]] = [
    ("vocab_size", 0),
    ("vocab_size", 2**24 + 1),
    ("hidden_size", 4095),
    ("hidden_size", True),
    ("intermediate_size", 11008.0),
    ("max_position_embeddings", "4096"),
    ("num_attention_heads", 0),
    ("num_hidden_layers", 31),
    ("num_hidden_layers", 10**6),
    ("head_dim", 127),
    ("head_dim", 2),
    ("num_key_value_heads_per_layer", [4] * 31),
    ("num_key_value_heads_per_layer", [4] * 31 + [3]),
    ("num_key_value_heads_per_layer", [4] * 31 + [64]),
    ("num_key_value_heads_per_layer", [4] * 31 + [0]),
    ("num_key_value_heads_per_layer", 4),
    ("rms_norm_eps", -1e-5),
    ("rms_norm_eps", float("nan")),
    ("rms_norm_eps", 10**400),
    ("rope_theta", 0.5),
    ("rope_theta", float("inf")),
    ("rope_scaling", {"type": "linear", "factor": 2.0}),
    ("rope_scaling", {"type": "dynamic"}),
    ("rope_scaling", {"type": "dynamic", "factor": 0.5}),
    ("rope_scaling", {"type": "dynamic", "factor": 10**400}),
    ("rope_scaling", {"type": "dynamic", "factor": 2.0, "beta_fast": 32}),
    ("rope_scaling", {"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 2048}),
    ("rope_scaling", {"type": []}),
    ("rope_parameters", {"rope_type": "dynamic", "factor": 4.0}),
    ("tie_word_embeddings", 0),
    ("bos_token_id", 32000),
    ("eos_token_id", -1),
    ("eos_token_id", [2, 32000]),
    ("torch_dtype", "int8"),
    ("torch_dtype", ""),
    ("dtype", "float32"),
    ("hidden_act", "gelu"),
    ("attention_bias", True),
    ("mlp_bias", True),
    ("sliding_window", 4095),
    ("use_sliding_window", "no"),
    ("layer_types", ["full_attention"] * 31),
    ("layer_types", ["sliding_attention"] + ["full_attention"] * 31),
    ("layer_types", ["linear_attention"] + ["full_attention"] * 31),
    ("layer_types", "full_attention"),
    ("rope_scaling", {"type": "dynamic", "factor": 2.0, "partial_rotary_factor": 0.5}),
    ("rope_scaling", {"type": "linear", "factor": 2.0}),
    ("is_encoder_decoder", True),
    ("add_cross_attention", True),
    ("cross_attention_hidden_size", 64),
    ("pruned_heads", {"0": [1]}),
    ("quantization", {"bits": 4}),
    ("per_layer_config", 4),
    ("quantization_config", {"bits": 4}),
    ("partial_rotary_factor", 0.5),
    ("architectures", ["GPT2LMHeadModel"]),
    ("model_type", "gpt2"),
    ("block_configs", [{}]),
    ("qk_layernorm", True),
]


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_what_contradicts_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key) as caught:
        Config.from_dict(ORIGINAL | {key: value})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "key",
    [
        *("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads"),
        *("num_hidden_layers", "num_key_value_heads_per_layer", "rms_norm_eps"),
    ],
)
def test_what_is_missing_is_named(key: str) -> None:
    values = {name: value for name, value in ORIGINAL.items() if name != key}
    with pytest.raises(ConfigError, match=f"{key} is missing"):
        Config.from_dict(values)


def test_kv_heads_are_never_guessed() -> None:
    values = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    with pytest.raises(
        ConfigError, match="num_key_value_heads_per_layer is missing, so is num_key_value_heads"
    ):
        Config.from_dict(values)


def test_a_config_that_names_no_network_is_refused() -> None:
    values = {key: value for key, value in LLAMA.items() if key not in ("architectures", "model_type")}
    with pytest.raises(ConfigError, match="architectures is missing, so is model_type"):
        Config.from_dict(values)


def test_a_nemotron_of_the_same_class_name_is_told_apart() -> None:
    with pytest.raises(ConfigError, match="Nemotron"):
        Config.from_dict(ORIGINAL | {"block_configs": []})


def test_a_file_is_named_with_its_fault(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ORIGINAL | {"head_dim": 127}))
    with pytest.raises(ConfigError, match=r"config\.json: head_dim: expected an even number"):
        Config.from_file(path)
    with pytest.raises(FileNotFoundError):
        Config.from_file(tmp_path / "none.json")


def test_no_depth_of_nesting_leaves_a_recursion_error(tmp_path: Path) -> None:
    """Values that the parser just lets through would recurse further when they are compared or printed."""
    path = tmp_path / "config.json"
    limit = sys.getrecursionlimit()
    for depth in range(limit - 150, limit + 1):
        nested = "[" * depth + "]" * depth
        path.write_text(f'{{"vocab_size": {nested}, "torch_dtype": {nested}, "dtype": {nested}}}')
        with pytest.raises(ConfigError):
            Config.from_file(path)
