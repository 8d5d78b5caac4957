"""What a DeciLM is: sizes, and one KV-head count per layer. Reads and writes Hugging Face config.json.

A model is a tuple of layers, each with its own number of key-value heads. Nothing in this package reads one
KV-head number for the whole model. Only the standard library is imported here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from minidecilm.config_keys import IGNORED as IGNORED
from minidecilm.config_keys import READ as READ
from minidecilm.config_keys import REQUIRED_VALUES as REQUIRED_VALUES
from minidecilm.config_keys import check, check_keys, without
from minidecilm.errors import ConfigError
from minidecilm.strict_json import brief, read_object

MAX_CONFIG_BYTES = 1 << 20
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FLOAT_BYTES = DTYPE_BYTES | {"float64": 8}  # stored rarely, and counted: no record of a device has its speed

# Generous bounds on sizes, so that a corrupt file is refused instead of allocated.
_MAX_SIZE = 1 << 24
_MAX_LAYERS = 1024  # so that the header of every checkpoint stays under safetensors_file.MAX_HEADER_BYTES
_MAX_REAL = 1e100  # JSON integers have no bound: one beyond float's would overflow where it is first used

_SIZES = ("vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings")
_PER_LAYER = ("num_key_value_heads", "num_attention_heads", "intermediate_size")


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
        How published weights are stored: "bfloat16", "float16", "float32" or "float64".

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
        check(
            0 < len(self.layers) <= _MAX_LAYERS, "num_hidden_layers", f"1 to {_MAX_LAYERS}", len(self.layers)
        )
        check(self.head_dim % 2 == 0, "head_dim", "an even number, since rotary pairs halves", self.head_dim)
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
            check(self.head_dim > 2, "head_dim", "more than 2 for dynamic NTK scaling", self.head_dim)
        check(
            type(self.tie_word_embeddings) is bool,
            "tie_word_embeddings",
            "true or false",
            self.tie_word_embeddings,
        )
        if self.bos_token_id is not None:
            _check_integer("bos_token_id", self.bos_token_id, 0, self.vocab_size - 1)
        for token in self.eos_token_ids:
            _check_integer("eos_token_id", token, 0, self.vocab_size - 1)
        check(
            self.torch_dtype in tuple(FLOAT_BYTES), "torch_dtype", " or ".join(FLOAT_BYTES), self.torch_dtype
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
    def from_file(cls, path: str | Path, *, ignore_config_keys: Iterable[str] = ()) -> "Config":
        """Read a config.json.

        Parameters
        ----------
        path : str or Path
            The file.
        ignore_config_keys : iterable of str
            As for :meth:`from_dict`.

        Raises
        ------
        ConfigError
            If the file is not JSON, or as :meth:`from_dict`; the message begins with the path.
        OSError
            If the file cannot be read.
        """
        values = read_object(Path(path), MAX_CONFIG_BYTES, ConfigError)
        try:
            return cls.from_dict(values, ignore_config_keys=ignore_config_keys)
        except ConfigError as problem:
            raise ConfigError(f"{path}: {problem}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, ignore_config_keys: Iterable[str] = ()) -> "Config":
        """Build a config from the keys of a Hugging Face config.json.

        Accepts the published DeciLM files (with or without ``model_type``), re-saved copies, the
        ``rope_parameters`` and ``per_layer_config`` of transformers 5, and plain Llama configs with one
        KV-head count. ``num_key_value_heads_per_layer`` wins over ``num_key_value_heads``, which re-saved
        DeciLM files fill with a false 32.

        Parameters
        ----------
        values : mapping of str to value
        ignore_config_keys : iterable of str
            Keys to pass over, as if they were not there, because you know that they do not change the
            network. A str is one key.

        Raises
        ------
        ConfigError
            For missing, unknown, impossible or contradictory keys; unknown ones are named together.

        Examples
        --------
        >>> from minidecilm import preset
        >>> config = Config.from_dict(preset("llama-2-7b").to_dict())
        >>> config == preset("llama-2-7b")
        True
        """
        values = without(values, ignore_config_keys)
        check_keys(values)
        sizes = {key: _check_integer(key, _require(values, key), 1, _MAX_SIZE) for key in _SIZES}
        hidden, heads, head_dim = sizes["hidden_size"], sizes["num_attention_heads"], values.get("head_dim")
        if head_dim is None:
            check(hidden % heads == 0, "hidden_size", f"a multiple of {heads} attention heads", hidden)
            head_dim = hidden // heads
        theta, factor = _read_rope(values)
        dtype = _agreeing(values, "torch_dtype", "dtype")
        if isinstance(dtype, str):
            dtype = dtype.removeprefix("torch.")  # as PyTorch prints it
        eos = values.get("eos_token_id", 2)  # absent bos and eos are Llama's 1 and 2
        return cls(
            **sizes,
            head_dim=head_dim,
            layers=_read_layers(values),
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

        What differs between layers besides KV heads goes into ``per_layer_config``.
        """
        widths = Counter(layer.intermediate_size for layer in self.layers)
        common = {
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": widths.most_common(1)[0][0],
        }
        per_layer = {}
        for index, (layer, heads) in enumerate(
            zip(self.layers, self.num_attention_heads_per_layer, strict=True)
        ):
            own = {"num_attention_heads": heads, "intermediate_size": layer.intermediate_size}
            if own != common:
                per_layer[str(index)] = {key: value for key, value in own.items() if value != common[key]}
        scaling = None if self.rope_factor is None else {"type": "dynamic", "factor": self.rope_factor}
        eos = list(self.eos_token_ids)
        return {
            "architectures": ["DeciLMForCausalLM"],
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos[0] if len(eos) == 1 else eos or None,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": common["intermediate_size"],
            "max_position_embeddings": self.max_position_embeddings,
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": len(self.layers),
            "num_key_value_heads_per_layer": list(self.num_key_value_heads_per_layer),
            **({"per_layer_config": per_layer} if per_layer else {}),
            "rms_norm_eps": self.rms_norm_eps,
            "rope_scaling": scaling,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": self.torch_dtype,
            "vocab_size": self.vocab_size,
        }


def _check_integer(key: str, value: Any, low: int, high: int) -> int:
    ok = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    check(ok, key, f"an integer from {low} to {high}", value)
    return int(value)


def _check_real(key: str, value: Any, low: float) -> None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and low <= value < _MAX_REAL
    check(ok, key, f"a finite number of at least {low:g}", value)


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


def _read_layers(values: Mapping[str, Any]) -> tuple[LayerConfig, ...]:
    """Put each layer's entry of ``per_layer_config`` over what is common to all."""
    count = _check_integer("num_hidden_layers", _require(values, "num_hidden_layers"), 1, _MAX_LAYERS)
    own = _read_per_layer(values, count)
    common = values["num_attention_heads"]
    layers = []
    for index, kv_heads in enumerate(_read_kv_heads(values, own)):
        heads = own[index].get("num_attention_heads", common)
        width = own[index].get("intermediate_size")
        if width is None:
            width = _require(values, "intermediate_size")
        layers.append(LayerConfig(kv_heads, width, None if heads == common else heads))
    return tuple(layers)


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
        own[int(index)] = {
            key: _check_integer(f"{where}.{key}", value, 1, _MAX_SIZE) for key, value in entry.items()
        }
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
    common = 0 if uniform is None else _check_integer("num_key_value_heads", uniform, 1, _MAX_SIZE)
    return [entry.get("num_key_value_heads", common) for entry in own]


def _read_rope(values: Mapping[str, Any]) -> tuple[float, float | None]:
    """Rotary base and dynamic factor from ``rope_theta`` + ``rope_scaling``, or from ``rope_parameters``."""
    merged = {"rope_theta": values.get("rope_theta")}
    for key in ("rope_scaling", "rope_parameters"):
        part = values.get(key)
        if part is None:
            continue
        check(isinstance(part, Mapping), key, "an object", part)
        for name, value in part.items():
            merged[name] = _agreeing({name: merged.get(name), f"{key}.{name}": value}, name, f"{key}.{name}")
    kind = _agreeing(merged, "rope_type", "type")
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
