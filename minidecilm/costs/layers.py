"""One row per layer: what it holds, what a pass computes in it, what it moves."""

from dataclasses import dataclass
from math import prod

from minidecilm.config import Config
from minidecilm.costs.forward import attention_flops
from minidecilm.costs.memory import (
    Storage,
    kv_cache_bytes_per_layer,
    parameters_per_layer,
    per_layer,
    stored_tensors,
)


@dataclass(frozen=True)
class LayerCosts:
    """Costs of one layer in one pass, for all rows together.

    Attributes
    ----------
    layer : int
        From 0.
    kv_heads, queries_per_kv_head : int
        K, and G = H / K.
    intermediate_size : int
        F.
    parameters, weight_bytes : int
        Norms and scales of packed weights included.
    kv_cache_bytes : int
        Keys and values of all tokens, past and new.
    flops : int
        Of matrix products and attention, as :func:`minidecilm.costs.forward_flops` counts them.
    bytes_read : int
        Matrices once, and keys and values of all tokens once, as :func:`minidecilm.costs.forward_bytes`
        counts them.
    bytes_written : int
        Keys and values of the new tokens.
    """

    layer: int
    kv_heads: int
    queries_per_kv_head: int
    intermediate_size: int
    parameters: int
    weight_bytes: int
    kv_cache_bytes: int
    flops: int
    bytes_read: int
    bytes_written: int


def layer_costs(
    config: Config,
    batch_size: int = 1,
    new_tokens: int = 1,
    past_tokens: int = 0,
    weights: Storage = None,
    kv_cache: str = "bfloat16",
) -> tuple[LayerCosts, ...]:
    """Costs of every layer in one pass: prefill of T tokens, or a step of decode with one new token.

    Its arguments are described in :mod:`minidecilm.costs`.

    Examples
    --------
    >>> from minidecilm import preset
    >>> first, second, *_ = layer_costs(preset("decilm-6b"), past_tokens=4095)
    >>> first.kv_heads, first.queries_per_kv_head, first.kv_cache_bytes
    (4, 8, 8388608)
    >>> first.bytes_read - second.bytes_read == 2 * 2 * 128 * 2 * (4096 + 4096)
    True
    """
    shapes = config.parameter_shapes()
    stored = stored_tensors(config, weights)
    matrices = {name for name, shape in shapes.items() if len(shape) == 2}
    products = per_layer(config, {name: prod(shapes[name]) for name in matrices})
    streamed = per_layer(config, {name: stored[name].nbytes for name in matrices})
    parameters = parameters_per_layer(config)
    weight_bytes = per_layer(config, {name: tensor.nbytes for name, tensor in stored.items()})
    attention = attention_flops(config, batch_size, new_tokens, past_tokens)
    cached = kv_cache_bytes_per_layer(config, batch_size, past_tokens + new_tokens, kv_cache)
    written = kv_cache_bytes_per_layer(config, batch_size, new_tokens, kv_cache)
    heads = config.num_attention_heads_per_layer
    return tuple(
        LayerCosts(
            layer=index,
            kv_heads=layer.num_key_value_heads,
            queries_per_kv_head=heads[index] // layer.num_key_value_heads,
            intermediate_size=layer.intermediate_size,
            parameters=parameters[index],
            weight_bytes=weight_bytes[index],
            kv_cache_bytes=cached[index],
            flops=2 * batch_size * new_tokens * products[index] + attention[index],
            bytes_read=streamed[index] + cached[index],
            bytes_written=written[index],
        )
        for index, layer in enumerate(config.layers)
    )
