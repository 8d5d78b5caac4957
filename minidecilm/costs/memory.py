"""Parameters, bytes of weights, and bytes of the key-value cache."""

from math import prod
from numbers import Integral
from typing import NamedTuple

from minidecilm.config import FLOAT_BYTES, Config
from minidecilm.weights.packed import packed_nbytes
from minidecilm.weights.scheme import BITS, Scheme

#: How weights are stored: a float dtype; "int8" or "int4", in groups of 64 columns; a Scheme for any other
#: group; None for the dtype that the model was published in.
Storage = str | Scheme | None


class StoredTensor(NamedTuple):
    """Dtype of a tensor's values or codes, and its bytes, those of scales included."""

    dtype: str
    nbytes: int


def stored_tensors(config: Config, weights: Storage = None) -> dict[str, StoredTensor]:
    """Dtype and bytes of every tensor of a model, by name.

    In a quantised model embedding and norms stay in the published dtype, and the head takes int8: see
    :mod:`minidecilm.weights.scheme`.

    Examples
    --------
    >>> from minidecilm import preset
    >>> tensors = stored_tensors(preset("decilm-6b"), "int4")
    >>> tensors["model.layers.0.self_attn.k_proj.weight"]
    StoredTensor(dtype='int4', nbytes=1114112)
    >>> tensors["lm_head.weight"].dtype, tensors["model.norm.weight"].dtype
    ('int8', 'bfloat16')
    """
    if weights is not None and not isinstance(weights, str | Scheme):
        raise ValueError(f"weights: expected the name of a storage or a Scheme, found {weights!r}")
    scheme = Scheme(weights) if isinstance(weights, str) and weights in BITS else weights
    floats = scheme if isinstance(scheme, str) else config.torch_dtype
    if floats not in FLOAT_BYTES:
        raise ValueError(f"weights {weights!r}: choose from {', '.join((*FLOAT_BYTES, *BITS))}")
    stored = {}
    for name, shape in config.parameter_shapes().items():
        bits = scheme.bits(name, shape) if isinstance(scheme, Scheme) else None
        if isinstance(scheme, Scheme) and bits:
            stored[name] = StoredTensor(f"int{bits}", packed_nbytes(shape, bits, scheme.group))
        else:
            stored[name] = StoredTensor(floats, prod(shape) * FLOAT_BYTES[floats])
    return stored


def parameters_per_layer(config: Config) -> tuple[int, ...]:
    """Count the weights of every layer; embedding, last norm and head belong to none.

    Examples
    --------
    >>> from minidecilm import preset
    >>> parameters_per_layer(preset("decilm-6b"))[0]
    173023232
    """
    return per_layer(config, {name: prod(shape) for name, shape in config.parameter_shapes().items()})


def per_layer(config: Config, counts: dict[str, int]) -> tuple[int, ...]:
    """Add up what is counted by tensor name, layer by layer; a tensor outside the layers goes uncounted."""
    totals = [0] * len(config.layers)
    for name, count in counts.items():
        if name.startswith("model.layers."):
            totals[int(name.split(".")[2])] += count
    return tuple(totals)


def weight_bytes(config: Config, weights: Storage = None) -> int:
    """Bytes of all weights in one storage, by default the dtype the model was published in.

    Examples
    --------
    >>> from minidecilm import preset
    >>> weight_bytes(preset("decilm-6b")), weight_bytes(preset("decilm-6b"), "int4")
    (11434205184, 3295649792)
    """
    return sum(tensor.nbytes for tensor in stored_tensors(config, weights).values())


def check_counts(at_least: int = 0, **counts: int) -> None:
    """Refuse, by its name, what is no integer or too small."""
    for name, value in counts.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < at_least:
            raise ValueError(f"{name}: expected an integer of at least {at_least}, found {value!r}")


def kv_cache_bytes_per_layer(
    config: Config, batch_size: int = 1, context: int = 1, dtype: str = "bfloat16"
) -> tuple[int, ...]:
    """Bytes of the keys and values of `context` tokens in `batch_size` rows, layer by layer.

    Two (keys, values) x KV heads of the layer x D x bytes per value, for each token.

    Examples
    --------
    >>> from minidecilm import preset
    >>> kv_cache_bytes_per_layer(preset("decilm-6b"))[:2]
    (2048, 1024)
    """
    if dtype not in FLOAT_BYTES:
        raise ValueError(f"KV cache {dtype!r}: choose from {', '.join(FLOAT_BYTES)}")
    check_counts(batch_size=batch_size, context=context)
    per_head = batch_size * context * 2 * config.head_dim * FLOAT_BYTES[dtype]
    return tuple(per_head * heads for heads in config.num_key_value_heads_per_layer)


def kv_cache_bytes(config: Config, batch_size: int = 1, context: int = 1, dtype: str = "bfloat16") -> int:
    """Bytes of the keys and values of `context` tokens in `batch_size` rows, all layers together.

    Examples
    --------
    >>> from minidecilm import preset
    >>> kv_cache_bytes(preset("decilm-6b")), kv_cache_bytes(preset("llama-2-7b"))
    (25600, 524288)
    """
    return sum(kv_cache_bytes_per_layer(config, batch_size, context, dtype))


def padded_to_uniform(config: Config) -> Config:
    """Repeat KV heads until all layers have equally many, as engines do whose caches have one shape.

    :meth:`Config.with_equal_kv_heads <minidecilm.config.Config.with_equal_kv_heads>` says how many. vLLM ran
    DeciLM so: pull request 2062, https://github.com/vllm-project/vllm/pull/2062.

    Examples
    --------
    >>> from minidecilm import preset
    >>> config = preset("decilm-6b")
    >>> kv_cache_bytes(padded_to_uniform(config)) / kv_cache_bytes(config)
    2.56
    """
    return config.with_equal_kv_heads()
