"""Parameters, bytes of weights, and bytes of the key-value cache."""

from math import prod

from minidecilm.config import DTYPE_BYTES, Config


def parameters_per_layer(config: Config) -> tuple[int, ...]:
    """Count the weights of every layer; embedding, last norm and head belong to none.

    Examples
    --------
    >>> from minidecilm import preset
    >>> parameters_per_layer(preset("decilm-6b"))[0]
    173023232
    """
    shapes = config.parameter_shapes()
    return tuple(
        sum(prod(shape) for name, shape in shapes.items() if name.startswith(f"model.layers.{layer}."))
        for layer in range(len(config.layers))
    )


def weight_bytes(config: Config, dtype: str | None = None) -> int:
    """Bytes of all weights in one storage dtype, by default the one the model was published in.

    Examples
    --------
    >>> from minidecilm import preset
    >>> weight_bytes(preset("decilm-6b"))
    11434205184
    """
    return config.num_parameters * DTYPE_BYTES[dtype or config.torch_dtype]


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
    per_head = batch_size * context * 2 * config.head_dim * DTYPE_BYTES[dtype]
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
