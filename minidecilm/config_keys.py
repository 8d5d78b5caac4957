"""Keys of a config.json: which are read, and how; which change nothing, and which may only say "off".

The lists hold what transformers 4.31 to 5.24 write for a Llama or a Mistral, by ``save_pretrained`` and by
``to_json_string(use_diff=False)``, and what programs that fine-tune leave behind.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from minidecilm.errors import ConfigError
from minidecilm.files import brief

# Generous bounds, so that a corrupt file is refused instead of allocated.
_MAX_SIZE = 1 << 24
_MAX_REAL = 1e100  # JSON integers have no bound: one beyond float's would overflow where it is first used

_SHOWN = 10  # unknown keys that an error names: a file may hold any number of them
_PER_LAYER = ("num_key_value_heads", "num_attention_heads", "intermediate_size")

_ARCHITECTURES = ("DeciLMForCausalLM", "DeciCoderForCausalLM", "LlamaForCausalLM", "MistralForCausalLM")
_MODEL_TYPES = ("deci", "llama", "mistral")

#: Keys that must hold one of these values: anything else is a network that this package does not compute.
REQUIRED_VALUES: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),  # two names of one function
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "partial_rotary_factor": (1, None),
    "rope_traditional": (False, None),  # mlx: rotary embedding that pairs neighbours
    # an encoder, or attention to one
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False, None),
    "pruned_heads": ({}, None),
    # weights that another program packed
    "quantization_config": (None,),
    "quantization": (None,),
}

# fmt: off
#: Keys that change nothing in the forward pass of a trained model.
IGNORED = frozenset((
    # where the file came from, and which program reads it how
    "_name_or_path", "name_or_path", "_commit_hash", "auto_map", "transformers_version",
    "torchscript", "tf_legacy_loss", "xla_device",
    "base_model_tp_plan", "base_model_pp_plan", "base_model_ep_plan", "base_model_fsdp_plan",
    "allow_global_per_layer_attribute_access", "serialize_explicit_per_layer_config",
    # unsloth
    "unsloth_version", "unsloth_fixed", "model_name",
    # training and initialisation
    "attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "hidden_dropout", "classifier_dropout",
    "initializer_range", "pretraining_tp", "use_bfloat16", "gradient_checkpointing",
    # which kernel Deci's code, or Hugging Face's, picks for the same mathematics
    "naive_attention_prefill", "naive_attention_decode_batched", "naive_attention_decode_single",
    "use_cache", "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal",
    "attn_implementation", "_flash_attn_2_enabled", "_experts_implementation", "experts_implementation",
    "chunk_size_feed_forward", "is_decoder",
    # what a call gives back beside the logits
    "return_dict", "use_return_dict", "output_attentions", "_output_attentions", "output_hidden_states",
    "output_scores", "return_dict_in_generate", "tie_last_hidden_states",
    # settings of generation, which transformers 4 keeps here too; none of them is applied
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "repetition_penalty", "length_penalty", "diversity_penalty", "exponential_decay_length_penalty",
    "num_beams", "num_beam_groups", "num_return_sequences", "early_stopping", "max_length", "min_length",
    "max_new_tokens", "min_new_tokens", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id",
    "forced_decoder_ids", "remove_invalid_values", "prefix",
    # heads of other tasks
    "finetuning_task", "problem_type", "task_specific_params", "num_labels", "id2label", "label2id",
    # the tokenizer and its padding: padding is masked, whatever id fills it; Vicuna and LLaVA leave lengths
    "pad_token_id", "sep_token_id", "decoder_start_token_id", "tokenizer_class",
    "tokenizer_model_max_length", "tokenizer_padding_side", "model_max_length", "max_sequence_length",
    # the first layer with a window, where there is one
    "max_window_layers",
))

#: Keys that say what the network is. Every other key is an error.
READ = frozenset((
    "architectures", "model_type", "torch_dtype", "dtype",
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim",
    "num_key_value_heads", "num_key_value_heads_per_layer", "per_layer_config",
    "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters",
    "sliding_window", "use_sliding_window", "layer_types",
    "tie_word_embeddings", "bos_token_id", "eos_token_id",
))
# fmt: on


def key_set(keys: Iterable[str]) -> frozenset[str]:
    """Return the keys that a caller knows to change nothing; a str is one key."""
    return frozenset((keys,) if isinstance(keys, str) else keys)


def without(values: Mapping[str, Any], ignored: frozenset[str]) -> dict[str, Any]:
    """Drop the keys of a :func:`key_set`."""
    return {key: value for key, value in values.items() if key not in ignored}


def check_keys(values: Mapping[str, Any]) -> None:
    """Raise a ConfigError for another network's config, or one that names all keys nobody here knows."""
    _check_identity(values)
    problems = [
        f"{key}: only {allowed[0]!r} is supported, found {brief(values[key])}"
        for key, allowed in REQUIRED_VALUES.items()
        if key in values and not any(value is values[key] or value == values[key] for value in allowed)
    ]
    unknown = sorted(values.keys() - READ - IGNORED - REQUIRED_VALUES.keys())
    if unknown:
        named = ", ".join(map(brief, unknown[:_SHOWN]))
        more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        problems.append(
            f"unknown key{'s'[: len(unknown) > 1]} {named}{more}: what does not change the network, remove, "
            "or name it in ignore_config_keys (--ignore-config-key)"
        )
    if problems:
        raise ConfigError("; ".join(problems))
    _check_window(values)


def _check_identity(values: Mapping[str, Any]) -> None:
    if "block_configs" in values:
        raise ConfigError(
            "block_configs: this is a Nemotron-NAS model, which shares the class name DeciLMForCausalLM; "
            "DeciLM has num_key_value_heads_per_layer instead"
        )
    architectures, model_type = values.get("architectures"), values.get("model_type")
    if architectures is not None:
        known = architectures in [[name] for name in _ARCHITECTURES]
        check(known, "architectures", f"one of {', '.join(_ARCHITECTURES)} in a list", architectures)
    if model_type is not None:
        check(model_type in _MODEL_TYPES, "model_type", f"one of {', '.join(_MODEL_TYPES)}", model_type)
    if architectures is None and model_type is None and "num_key_value_heads_per_layer" not in values:
        raise ConfigError("architectures is missing, so is model_type: nothing says which network this is")


def _check_window(values: Mapping[str, Any]) -> None:
    """Refuse a sliding window that would be felt.

    ``layer_types`` names the layers that have the window; without it all do. No layer feels it if none has
    it, if ``use_sliding_window`` is false, if ``sliding_window`` is null, or if the window is at least
    ``max_position_embeddings`` long: within that context it hides no key. Beyond that context, which dynamic
    NTK reaches, such a window is passed over too: Deci's own code, and Llama's, have none.
    """
    types, window = values.get("layer_types"), values.get("sliding_window")
    used, context = values.get("use_sliding_window"), values.get("max_position_embeddings")
    check(used in (True, False, None), "use_sliding_window", "true or false", used)
    slides = window is not None and used is not False
    if types is not None:
        known = isinstance(types, list) and all(t in ("full_attention", "sliding_attention") for t in types)
        check(known, "layer_types", "'full_attention' for each layer", types)
        if len(types) != values.get("num_hidden_layers"):
            raise ConfigError(
                f"layer_types has {len(types)} entries, num_hidden_layers = "
                f"{brief(values.get('num_hidden_layers'))}"
            )
        slides = "sliding_attention" in types
    if slides and not (type(window) is int and type(context) is int and window >= context):
        raise ConfigError(
            "sliding_window: only a window that is not used is supported (null, use_sliding_window false, "
            f"layer_types all full_attention, or at least max_position_embeddings), found {brief(window)}"
        )


def check(ok: bool, key: str, expected: str, found: Any) -> None:
    """Raise a ConfigError that names the key, unless `ok`."""
    if not ok:
        raise ConfigError(f"{key}: expected {expected}, found {brief(found)}")


def check_integer(key: str, value: Any, low: int, high: int) -> int:
    """Return the value if it is an integer within these bounds; JSON's true is none."""
    ok = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    check(ok, key, f"an integer from {low} to {high}", value)
    return int(value)


def check_size(key: str, value: Any) -> int:
    """Return the value if it is an integer that the size of a model can have."""
    return check_integer(key, value, 1, _MAX_SIZE)


def check_real(key: str, value: Any, low: float) -> None:
    """Raise a ConfigError that names the key, unless the value is a finite number of at least `low`."""
    ok = isinstance(value, int | float) and not isinstance(value, bool) and low <= value < _MAX_REAL
    check(ok, key, f"a finite number of at least {low:g}", value)


def require(values: Mapping[str, Any], key: str) -> Any:
    """Return a value that must be there."""
    if values.get(key) is None:
        raise ConfigError(f"{key} is missing")
    return values[key]


def agreeing(values: Mapping[str, Any], *keys: str) -> Any:
    """Return the value of the first key that is set, after checking that no other contradicts it."""
    found = {key: values[key] for key in keys if values.get(key) is not None}
    if any(value != next(iter(found.values())) for value in found.values()):
        said = " and ".join(f"{key} = {brief(value)}" for key, value in found.items())
        raise ConfigError(f"{said} contradict each other; keep one")
    return next(iter(found.values()), None)


def read_layers(values: Mapping[str, Any], most: int) -> list[tuple[int, int, int | None]]:
    """Return K, F and H of each of at most `most` layers; None for an H that is the model's.

    The layer's entry of ``per_layer_config`` wins over what is common to all.
    """
    count = check_integer("num_hidden_layers", require(values, "num_hidden_layers"), 1, most)
    own = _read_per_layer(values, count)
    common = values["num_attention_heads"]
    layers = []
    for kv_heads, entry in zip(_read_kv_heads(values, own), own, strict=True):
        heads, width = entry.get("num_attention_heads", common), entry.get("intermediate_size")
        if width is None:
            width = require(values, "intermediate_size")
        layers.append((kv_heads, width, None if heads == common else heads))
    return layers


def _read_per_layer(values: Mapping[str, Any], count: int) -> list[dict[str, int]]:
    """Keys of ``per_layer_config`` for each layer; transformers writes their numbers as "0" or "00"."""
    found = values.get("per_layer_config")
    found = {} if found is None else found
    check(isinstance(found, Mapping), "per_layer_config", "an object", found)
    own: list[dict[str, int]] = [{} for _ in range(count)]
    for index, entry in found.items():
        where = f"per_layer_config[{brief(index)}]"
        if not re.fullmatch("[0-9]{1,4}", str(index)) or int(index) >= count:
            raise ConfigError(f"{where}: expected a layer from 0 to {count - 1}")
        check(isinstance(entry, Mapping), where, "an object", entry)
        if own[int(index)]:
            raise ConfigError(f"{where}: layer {int(index)} stands there twice; remove one")
        unknown = sorted(entry.keys() - set(_PER_LAYER))
        if unknown:
            raise ConfigError(f"{where}: expected {', '.join(_PER_LAYER)}, found key {brief(unknown[0])}")
        own[int(index)] = {key: check_size(f"{where}.{key}", value) for key, value in entry.items()}
    return own


def _read_kv_heads(values: Mapping[str, Any], own: list[dict[str, int]]) -> list[int]:
    """KV heads of every layer: the per-layer list, else ``per_layer_config`` over the one number."""
    per_layer, uniform = values.get("num_key_value_heads_per_layer"), values.get("num_key_value_heads")
    if per_layer is not None:
        check(isinstance(per_layer, list), "num_key_value_heads_per_layer", "a list", per_layer)
        if len(per_layer) != len(own):
            raise ConfigError(
                f"num_key_value_heads_per_layer has {len(per_layer)} entries, num_hidden_layers = {len(own)}"
            )
        for index, (listed, entry) in enumerate(zip(per_layer, own, strict=True)):
            if entry.get("num_key_value_heads", listed) != listed:
                said = entry["num_key_value_heads"]
                raise ConfigError(
                    f"num_key_value_heads_per_layer[{index}] = {brief(listed)} and in per_layer_config "
                    f"num_key_value_heads = {said} contradict each other; keep one"
                )
        return list(per_layer)
    if uniform is None and not all("num_key_value_heads" in entry for entry in own):
        raise ConfigError(
            "num_key_value_heads_per_layer is missing, so is num_key_value_heads: add the one that is true "
            "(num_key_value_heads = num_attention_heads for multi-head attention)"
        )
    common = 0 if uniform is None else check_size("num_key_value_heads", uniform)
    return [entry.get("num_key_value_heads", common) for entry in own]


def read_rope(values: Mapping[str, Any]) -> tuple[float, float | None]:
    """Rotary base and dynamic factor from ``rope_theta`` + ``rope_scaling``, or from ``rope_parameters``."""
    merged = {"rope_theta": values.get("rope_theta")}
    for key in ("rope_scaling", "rope_parameters"):
        part = values.get(key)
        if part is None:
            continue
        check(isinstance(part, Mapping), key, "an object", part)
        for name, value in part.items():
            merged[name] = agreeing({name: merged.get(name), f"{key}.{name}": value}, name, f"{key}.{name}")
    kind = agreeing(merged, "rope_type", "type")
    partial = merged.pop("partial_rotary_factor", None)
    check(partial in (1, None), "rope_scaling: partial_rotary_factor", "1", partial)
    kind = "default" if kind is None else kind
    if kind in ("default", "linear") and merged.get("factor") == 1:  # positions divided by 1
        kind, merged["factor"] = "default", None
    theta = merged.pop("rope_theta")
    theta = 10000.0 if theta is None else theta  # DeciLM was published without rope_theta
    check(kind in ("default", "dynamic"), "rope_scaling: type", "'dynamic' or 'default'", kind)
    original, now = merged.get("original_max_position_embeddings"), values.get("max_position_embeddings")
    check(original in (None, now), "rope_scaling: original_max_position_embeddings", str(now), original)
    known = {"type", "rope_type", "original_max_position_embeddings", "factor"}
    unknown = sorted(key for key, value in merged.items() if key not in known and value is not None)
    if unknown:
        raise ConfigError(f"rope_scaling: unknown key {brief(unknown[0])}")
    factor = merged.get("factor")
    if (factor is None) == (kind == "dynamic"):
        raise ConfigError(
            f"rope_scaling: a factor belongs to type 'dynamic' only, found {brief(factor)} with {kind!r}"
        )
    return theta, factor
