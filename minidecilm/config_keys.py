"""Which keys of a config.json are read, which change nothing, and which may only say "off".

The lists hold what transformers 4.31 to 5.24 write for a Llama or a Mistral, by ``save_pretrained`` and by
``to_json_string(use_diff=False)``, and what programs that fine-tune leave behind.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from minidecilm.errors import ConfigError
from minidecilm.strict_json import brief

_SHOWN = 10  # unknown keys that an error names: a file may hold any number of them

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


def without(values: Mapping[str, Any], ignored: Iterable[str]) -> dict[str, Any]:
    """Drop the keys that a caller knows to change nothing; a str is one key."""
    dropped = {ignored} if isinstance(ignored, str) else set(ignored)
    return {key: value for key, value in values.items() if key not in dropped}


def check_keys(values: Mapping[str, Any]) -> None:
    """Refuse configs of other networks, and keys that nobody here knows, all of them at once.

    Raises
    ------
    ConfigError
        Naming each key.
    """
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
