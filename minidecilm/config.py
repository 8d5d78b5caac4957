"""What a DeciLM is: sizes, and one KV-head count per layer. Reads and writes Hugging Face config.json.

A model is a tuple of layers, each with its own number of key-value heads. Nothing in this package reads one
KV-head number for the whole model. Only the standard library is imported here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import lcm, prod
from pathlib import Path
from typing import Any

from minidecilm import config_keys as keys
from minidecilm.errors import ConfigError
from minidecilm.files import read_object

MAX_CONFIG_BYTES = 1 << 20
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FLOAT_BYTES = DTYPE_BYTES | {"float64": 8}  # stored rarely, and counted: no record of a device has its speed

_MAX_LAYERS = 1024  # so that the header of every checkpoint stays under safetensors_file.MAX_HEADER_BYTES
_SIZES = ("vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings")


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
            keys.check_size(key, getattr(self, key))
        count = len(self.layers)
        keys.check(0 < count <= _MAX_LAYERS, "num_hidden_layers", f"1 to {_MAX_LAYERS}", count)
        keys.check(
            self.head_dim % 2 == 0, "head_dim", "an even number, since rotary pairs halves", self.head_dim
        )
        for index, layer in enumerate(self.layers):
            key = f"num_key_value_heads_per_layer[{index}]"
            heads = self.num_attention_heads
            if layer.num_attention_heads is not None:
                heads = layer.num_attention_heads
                keys.check_size(f"layers[{index}].num_attention_heads", heads)
            keys.check_integer(key, layer.num_key_value_heads, 1, heads)
            if heads % layer.num_key_value_heads:
                raise ConfigError(
                    f"{key} = {layer.num_key_value_heads} does not divide num_attention_heads = "
                    f"{heads}: every KV head serves the same number of query heads"
                )
            keys.check_size("intermediate_size", layer.intermediate_size)
        keys.check_real("rms_norm_eps", self.rms_norm_eps, 0.0)
        keys.check_real("rope_theta", self.rope_theta, 1.0)
        if self.rope_factor is not None:
            keys.check_real("rope_scaling.factor", self.rope_factor, 1.0)
            # The NTK exponent is D / (D - 2).
            keys.check(self.head_dim > 2, "head_dim", "more than 2 for dynamic NTK scaling", self.head_dim)
        tied = self.tie_word_embeddings
        keys.check(type(tied) is bool, "tie_word_embeddings", "true or false", tied)
        if self.bos_token_id is not None:
            keys.check_integer("bos_token_id", self.bos_token_id, 0, self.vocab_size - 1)
        for token in self.eos_token_ids:
            keys.check_integer("eos_token_id", token, 0, self.vocab_size - 1)
        known = self.torch_dtype in tuple(FLOAT_BYTES)
        keys.check(known, "torch_dtype", " or ".join(FLOAT_BYTES), self.torch_dtype)

    @property
    def num_key_value_heads_per_layer(self) -> tuple[int, ...]:
        """K of every layer."""
        return tuple(layer.num_key_value_heads for layer in self.layers)

    @property
    def num_attention_heads_per_layer(self) -> tuple[int, ...]:
        """H of every layer."""
        heads = (layer.num_attention_heads for layer in self.layers)
        return tuple(self.num_attention_heads if own is None else own for own in heads)

    def with_equal_kv_heads(self) -> "Config":
        """Give every layer the same K: the smallest that each layer's divides, so each is repeated.

        It divides H too, since each layer's does. Repeated KV heads change no result, only what is stored.
        """
        common = lcm(*self.num_key_value_heads_per_layer)
        return replace(
            self, layers=tuple(replace(layer, num_key_value_heads=common) for layer in self.layers)
        )

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
        """Read a config.json as :meth:`from_dict` does; a ConfigError begins with the path.

        A file that is not JSON is a ConfigError too, one that cannot be read an OSError.
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
        values = keys.without(values, keys.key_set(ignore_config_keys))
        keys.check_keys(values)
        sizes = {key: keys.check_size(key, keys.require(values, key)) for key in _SIZES}
        hidden, heads, head_dim = sizes["hidden_size"], sizes["num_attention_heads"], values.get("head_dim")
        if head_dim is None:
            keys.check(hidden % heads == 0, "hidden_size", f"a multiple of {heads} attention heads", hidden)
            head_dim = hidden // heads
        theta, factor = keys.read_rope(values)
        dtype = keys.agreeing(values, "torch_dtype", "dtype")
        if isinstance(dtype, str):
            dtype = dtype.removeprefix("torch.")  # as PyTorch prints it
        eos = values.get("eos_token_id", 2)  # absent bos and eos are Llama's 1 and 2
        return cls(
            **sizes,
            head_dim=head_dim,
            layers=tuple(LayerConfig(*layer) for layer in keys.read_layers(values, _MAX_LAYERS)),
            rms_norm_eps=keys.require(values, "rms_norm_eps"),
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
