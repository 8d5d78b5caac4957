"""What a DeciLM is: sizes, and one KV-head count per layer. Reads and writes Hugging Face config.json.

A model is a tuple of layers, each with its own number of key-value heads. Nothing in this package reads one
KV-head number for the whole model. Only the standard library is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from minidecilm.errors import ConfigError
from minidecilm.strict_json import brief, read_object

MAX_CONFIG_BYTES = 1 << 20
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# Generous bounds on sizes, so that a corrupt file is refused instead of allocated.
_MAX_SIZE = 1 << 24
_MAX_LAYERS = 1024  # so that the header of every checkpoint stays under safetensors_file.MAX_HEADER_BYTES
_MAX_REAL = 1e100  # JSON integers have no bound: one beyond float's would overflow where it is first used

_SIZES = ("vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings")
_ARCHITECTURES = ("DeciLMForCausalLM", "DeciCoderForCausalLM", "LlamaForCausalLM", "MistralForCausalLM")
_MODEL_TYPES = ("deci", "llama", "mistral")

#: Keys that must hold one of these values: anything else is a network that this package does not compute.
REQUIRED_VALUES: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "sliding_window": (None,),
    "quantization_config": (None,),
    "partial_rotary_factor": (1, None),
}

# fmt: off
#: Keys that change nothing in the forward pass of a trained model.
IGNORED = frozenset((
    # where the file came from
    "_name_or_path", "auto_map", "transformers_version",
    # training and initialisation
    "attention_dropout", "initializer_range", "pretraining_tp", "use_bfloat16",
    # which kernel Deci's code, or Hugging Face's, picks for the same mathematics
    "naive_attention_prefill", "naive_attention_decode_batched", "naive_attention_decode_single",
    "use_cache", "_attn_implementation", "_attn_implementation_autoset", "return_dict",
    "output_attentions", "output_hidden_states",
    # padding is masked, whatever id fills it
    "pad_token_id",
))

#: Keys that say what the network is. Every other key is an error.
READ = frozenset((
    "architectures", "model_type", "torch_dtype", "dtype",
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim",
    "num_key_value_heads", "num_key_value_heads_per_layer", "max_position_embeddings", "rms_norm_eps",
    "rope_theta", "rope_scaling", "rope_parameters",
    "tie_word_embeddings", "bos_token_id", "eos_token_id",
))
# fmt: on


@dataclass(frozen=True)
class LayerConfig:
    """What may differ from layer to layer.

    Attributes
    ----------
    num_key_value_heads : int
        K, the key and value heads of this layer.
    intermediate_size : int
        F, the width of its feed-forward network.
    num_attention_heads : int or None
        H, its query heads; None for the model's ``num_attention_heads``.
    """

    num_key_value_heads: int
    intermediate_size: int
    num_attention_heads: int | None = None


@dataclass(frozen=True)
class Config:
    """A decoder of Llama-like layers in which every layer has its own number of KV heads.

    Attributes
    ----------
    vocab_size, hidden_size, num_attention_heads, head_dim : int
        V, E, H and D; H is that of every layer which names no other.
    layers : tuple of LayerConfig
        One entry per layer, first to last.
    max_position_embeddings : int
        M, the context length in tokens the model was trained with.
    rms_norm_eps : float
        Added to the mean square inside RMSNorm.
    rope_theta : float
        Rotary base up to M tokens.
    rope_factor : float or None
        Factor of dynamic NTK scaling beyond M tokens; None for no scaling.
    tie_word_embeddings : bool
        Whether the output head is the embedding matrix.
    bos_token_id : int or None
        Begins every text.
    eos_token_ids : tuple of int
        Any of them ends a text.
    torch_dtype : str
        How published weights are stored: "bfloat16", "float16" or "float32".

    Raises
    ------
    ConfigError
        If a value is impossible or contradicts another; the message names it.

    Examples
    --------
    >>> from minidecilm import preset
    >>> config = preset("decilm-6b")
    >>> config.num_key_value_heads_per_layer[:4], config.num_parameters
    ((4, 2, 2, 2), 5717102592)
    """

    vocab_size: int
    hidden_size: int
    num_attention_heads: int
    head_dim: int
    layers: tuple[LayerConfig, ...]
    max_position_embeddings: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_factor: float | None = None
    tie_word_embeddings: bool = False
    bos_token_id: int | None = 1
    eos_token_ids: tuple[int, ...] = (2,)
    torch_dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        for key in (*_SIZES, "head_dim"):
            _check_integer(key, getattr(self, key), 1, _MAX_SIZE)
        _check(
            0 < len(self.layers) <= _MAX_LAYERS, "num_hidden_layers", f"1 to {_MAX_LAYERS}", len(self.layers)
        )
        _check(self.head_dim % 2 == 0, "head_dim", "an even number, since rotary pairs halves", self.head_dim)
        for index, layer in enumerate(self.layers):
            key = f"num_key_value_heads_per_layer[{index}]"
            heads = self.num_attention_heads
            if layer.num_attention_heads is not None:
                heads = layer.num_attention_heads
                _check_integer(f"layers[{index}].num_attention_heads", heads, 1, _MAX_SIZE)
            _check_integer(key, layer.num_key_value_heads, 1, heads)
            if heads % layer.num_key_value_heads:
                raise ConfigError(
                    f"{key} = {layer.num_key_value_heads} does not divide num_attention_heads = "
                    f"{heads}: every KV head serves the same number of query heads"
                )
            _check_integer("intermediate_size", layer.intermediate_size, 1, _MAX_SIZE)
        _check_real("rms_norm_eps", self.rms_norm_eps, 0.0)
        _check_real("rope_theta", self.rope_theta, 1.0)
        if self.rope_factor is not None:
            _check_real("rope_scaling.factor", self.rope_factor, 1.0)
            # The NTK exponent is D / (D - 2).
            _check(self.head_dim > 2, "head_dim", "more than 2 for dynamic NTK scaling", self.head_dim)
        _check(
            type(self.tie_word_embeddings) is bool,
            "tie_word_embeddings",
            "true or false",
            self.tie_word_embeddings,
        )
        if self.bos_token_id is not None:
            _check_integer("bos_token_id", self.bos_token_id, 0, self.vocab_size - 1)
        for token in self.eos_token_ids:
            _check_integer("eos_token_id", token, 0, self.vocab_size - 1)
        _check(
            self.torch_dtype in tuple(DTYPE_BYTES), "torch_dtype", " or ".join(DTYPE_BYTES), self.torch_dtype
        )

    @property
    def num_key_value_heads_per_layer(self) -> tuple[int, ...]:
        """K of every layer."""
        return tuple(layer.num_key_value_heads for layer in self.layers)

    @property
    def num_attention_heads_per_layer(self) -> tuple[int, ...]:
        """H of every layer."""
        heads = (layer.num_attention_heads for layer in self.layers)
        return tuple(self.num_attention_heads if own is None else own for own in heads)

    @property
    def num_parameters(self) -> int:
        """Exact number of weights, the sum over :meth:`parameter_shapes`."""
        return sum(prod(shape) for shape in self.parameter_shapes().values())

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight of the network under its Hugging Face name, in Llama's state-dict order.

        Returns
        -------
        dict of str to tuple of int
            Linear weights are (out, in): ``y = x @ W.T``.
        """
        E, D = self.hidden_size, self.head_dim
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, E)}
        for index, (layer, H) in enumerate(zip(self.layers, self.num_attention_heads_per_layer, strict=True)):
            K, F = layer.num_key_value_heads, layer.intermediate_size
            shapes |= {
                f"model.layers.{index}.{name}.weight": shape
                for name, shape in {
                    "self_attn.q_proj": (H * D, E),
                    "self_attn.k_proj": (K * D, E),
                    "self_attn.v_proj": (K * D, E),
                    "self_attn.o_proj": (E, H * D),
                    "mlp.gate_proj": (F, E),
                    "mlp.up_proj": (F, E),
                    "mlp.down_proj": (E, F),
                    "input_layernorm": (E,),
                    "post_attention_layernorm": (E,),
                }.items()
            }
        shapes["model.norm.weight"] = (E,)
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, E)
        return shapes

    @classmethod
    def from_file(cls, path: str | Path) -> "Config":
        """Read a config.json.

        Raises
        ------
        ConfigError
            If the file is not JSON, or as :meth:`from_dict`; the message begins with the path.
        OSError
            If the file cannot be read.
        """
        values = read_object(Path(path), MAX_CONFIG_BYTES, ConfigError)
        try:
            return cls.from_dict(values)
        except ConfigError as problem:
            raise ConfigError(f"{path}: {problem}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """Build a config from the keys of a Hugging Face config.json.

        Accepts the published DeciLM files (with or without ``model_type``), re-saved copies, the
        ``rope_parameters`` of transformers 5, and plain Llama configs with one KV-head count.
        ``num_key_value_heads_per_layer`` wins over ``num_key_value_heads``, which re-saved DeciLM files
        fill with a false 32.

        Raises
        ------
        ConfigError
            For a missing, unknown, impossible or contradictory key.

        Examples
        --------
        >>> from minidecilm import preset
        >>> config = Config.from_dict(preset("llama-2-7b").to_dict())
        >>> config == preset("llama-2-7b")
        True
        """
        _check_identity(values)
        sizes = {key: _check_integer(key, _require(values, key), 1, _MAX_SIZE) for key in _SIZES}
        hidden, heads, head_dim = sizes["hidden_size"], sizes["num_attention_heads"], values.get("head_dim")
        if head_dim is None:
            _check(hidden % heads == 0, "hidden_size", f"a multiple of {heads} attention heads", hidden)
            head_dim = hidden // heads
        intermediate = _require(values, "intermediate_size")
        theta, factor = _read_rope(values)
        dtype = _agreeing(values, "torch_dtype", "dtype")
        eos = values.get("eos_token_id", 2)  # absent bos and eos are Llama's 1 and 2
        return cls(
            **sizes,
            head_dim=head_dim,
            layers=tuple(LayerConfig(kv_heads, intermediate) for kv_heads in _read_kv_heads(values)),
            rms_norm_eps=_require(values, "rms_norm_eps"),
            rope_theta=theta,
            rope_factor=factor,
            tie_word_embeddings=values.get("tie_word_embeddings", False),
            bos_token_id=values.get("bos_token_id", 1),
            eos_token_ids=tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,),
            torch_dtype="bfloat16" if dtype is None else dtype,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the config under Hugging Face keys, in the form that DeciLM was published in.

        Raises
        ------
        ConfigError
            If layers differ in ``intermediate_size`` or ``num_attention_heads``, which that form cannot say.
        """
        widths = {layer.intermediate_size for layer in self.layers}
        heads = {self.num_attention_heads, *self.num_attention_heads_per_layer}
        for key, found in (("intermediate_size", widths), ("num_attention_heads", heads)):
            if len(found) > 1:
                raise ConfigError(f"{key} differs between layers {sorted(found)}: config.json holds one")
        scaling = None if self.rope_factor is None else {"type": "dynamic", "factor": self.rope_factor}
        eos = list(self.eos_token_ids)
        return {
            "architectures": ["DeciLMForCausalLM"],
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos[0] if len(eos) == 1 else eos or None,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": widths.pop(),
            "max_position_embeddings": self.max_position_embeddings,
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": len(self.layers),
            "num_key_value_heads_per_layer": list(self.num_key_value_heads_per_layer),
            "rms_norm_eps": self.rms_norm_eps,
            "rope_scaling": scaling,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": self.torch_dtype,
            "vocab_size": self.vocab_size,
        }


def _check(ok: bool, key: str, expected: str, found: Any) -> None:
    if not ok:
        raise ConfigError(f"{key}: expected {expected}, found {brief(found)}")


def _check_integer(key: str, value: Any, low: int, high: int) -> int:
    ok = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _check(ok, key, f"an integer from {low} to {high}", value)
    return int(value)


def _check_real(key: str, value: Any, low: float) -> None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and low <= value < _MAX_REAL
    _check(ok, key, f"a finite number of at least {low:g}", value)


def _require(values: Mapping[str, Any], key: str) -> Any:
    if values.get(key) is None:
        raise ConfigError(f"{key} is missing")
    return values[key]


def _agreeing(values: Mapping[str, Any], *keys: str) -> Any:
    """Return the value of the first key that is set, after checking that no other contradicts it."""
    found = {key: values[key] for key in keys if values.get(key) is not None}
    if any(value != next(iter(found.values())) for value in found.values()):
        said = " and ".join(f"{key} = {brief(value)}" for key, value in found.items())
        raise ConfigError(f"{said} contradict each other; keep one")
    return next(iter(found.values()), None)


def _check_identity(values: Mapping[str, Any]) -> None:
    """Refuse configs of other networks, and keys that nobody here knows."""
    if "block_configs" in values:
        raise ConfigError(
            "block_configs: this is a Nemotron-NAS model, which shares the class name DeciLMForCausalLM; "
            "DeciLM has num_key_value_heads_per_layer instead"
        )
    unknown = sorted(values.keys() - READ - IGNORED - REQUIRED_VALUES.keys())
    if unknown:
        raise ConfigError(f"unknown key {brief(unknown[0])}: remove it if it does not change the network")
    for key, allowed in REQUIRED_VALUES.items():
        if key in values and not any(value is values[key] or value == values[key] for value in allowed):
            raise ConfigError(f"{key}: only {allowed[0]!r} is supported, found {brief(values[key])}")
    architectures, model_type = values.get("architectures"), values.get("model_type")
    if architectures is not None:
        known = architectures in [[name] for name in _ARCHITECTURES]
        _check(known, "architectures", f"one of {', '.join(_ARCHITECTURES)} in a list", architectures)
    if model_type is not None:
        _check(model_type in _MODEL_TYPES, "model_type", f"one of {', '.join(_MODEL_TYPES)}", model_type)
    if architectures is None and model_type is None and "num_key_value_heads_per_layer" not in values:
        raise ConfigError("architectures is missing, so is model_type: nothing says which network this is")


def _read_kv_heads(values: Mapping[str, Any]) -> list[int]:
    """KV heads of every layer: the per-layer list, else the one number; never a guess."""
    layers = _check_integer("num_hidden_layers", _require(values, "num_hidden_layers"), 1, _MAX_LAYERS)
    per_layer, uniform = values.get("num_key_value_heads_per_layer"), values.get("num_key_value_heads")
    if per_layer is not None:
        _check(isinstance(per_layer, list), "num_key_value_heads_per_layer", "a list", per_layer)
        if len(per_layer) != layers:
            raise ConfigError(
                f"num_key_value_heads_per_layer has {len(per_layer)} entries, num_hidden_layers = {layers}"
            )
        return list(per_layer)
    if uniform is None:
        raise ConfigError(
            "num_key_value_heads_per_layer is missing, so is num_key_value_heads: add the one that is true "
            "(num_key_value_heads = num_attention_heads for multi-head attention)"
        )
    return [_check_integer("num_key_value_heads", uniform, 1, _MAX_SIZE)] * layers


def _read_rope(values: Mapping[str, Any]) -> tuple[float, float | None]:
    """Rotary base and dynamic factor from ``rope_theta`` + ``rope_scaling``, or from ``rope_parameters``."""
    merged = {"rope_theta": values.get("rope_theta")}
    for key in ("rope_scaling", "rope_parameters"):
        part = values.get(key)
        if part is None:
            continue
        _check(isinstance(part, Mapping), key, "an object", part)
        for name, value in part.items():
            merged[name] = _agreeing({name: merged.get(name), f"{key}.{name}": value}, name, f"{key}.{name}")
    kind = _agreeing(merged, "rope_type", "type")
    kind = "default" if kind is None else kind
    theta = merged.pop("rope_theta")
    theta = 10000.0 if theta is None else theta  # DeciLM was published without rope_theta
    _check(kind in ("default", "dynamic"), "rope_scaling: type", "'dynamic' or 'default'", kind)
    original, now = merged.get("original_max_position_embeddings"), values.get("max_position_embeddings")
    _check(original in (None, now), "rope_scaling: original_max_position_embeddings", str(now), original)
    unknown = sorted(merged.keys() - {"type", "rope_type", "original_max_position_embeddings", "factor"})
    if unknown:
        raise ConfigError(f"rope_scaling: unknown key {brief(unknown[0])}")
    factor = merged.get("factor")
    if (factor is None) == (kind == "dynamic"):
        raise ConfigError(
            f"rope_scaling: a factor belongs to type 'dynamic' only, found {factor} with {kind!r}"
        )
    return theta, factor
