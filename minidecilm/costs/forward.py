"""Arithmetic of a forward pass, bytes it must read, and the time a machine's limits allow for both.

Counted is what the mathematics needs: every product of matrices, with two operations per multiply-add, and
one read of every weight and of every cached key and value. Norms, rotary, softmax and SwiGLU are left out:
together under one percent at DeciLM's sizes.
"""

from math import prod

from minidecilm.config import Config
from minidecilm.costs.memory import Storage, check_counts, kv_cache_bytes, stored_tensors


def streamed_weights(config: Config) -> tuple[str, ...]:
    """Names of the matrices that a forward pass reads whole, however few tokens it is given.

    Of the embedding it reads one row per token, unless the embedding is the head as well.

    Examples
    --------
    >>> from minidecilm import preset
    >>> names = streamed_weights(preset("decilm-6b"))
    >>> len(names), names[-1]
    (225, 'lm_head.weight')
    """
    skipped = "" if config.tie_word_embeddings else "model.embed_tokens.weight"
    return tuple(
        name for name, shape in config.parameter_shapes().items() if len(shape) == 2 and name != skipped
    )


def streamed_parameters(config: Config) -> int:
    """Count the weights in :func:`streamed_weights`: each is multiplied once with every token.

    Examples
    --------
    >>> from minidecilm import preset
    >>> streamed_parameters(preset("decilm-6b"))
    5585764352
    """
    shapes = config.parameter_shapes()
    return sum(prod(shapes[name]) for name in streamed_weights(config))


def forward_bytes(
    config: Config,
    batch_size: int = 1,
    context: int = 1,
    weights: Storage = None,
    kv_cache: str = "bfloat16",
) -> int:
    """Bytes that a forward pass must read at least: each weight once, and what the cache then holds once.

    Its arguments are described in :mod:`minidecilm.costs`.

    Examples
    --------
    At 4,096 cached tokens the cache is still under one percent of the reading:

    >>> from minidecilm import preset
    >>> forward_bytes(preset("decilm-6b"), context=0), forward_bytes(preset("decilm-6b"), context=4096)
    (11171528704, 11276386304)
    """
    stored = stored_tensors(config, weights)
    nbytes = sum(stored[name].nbytes for name in streamed_weights(config))
    return nbytes + kv_cache_bytes(config, batch_size, context, kv_cache)


def forward_flops(
    config: Config,
    batch_size: int = 1,
    new_tokens: int = 1,
    past_tokens: int = 0,
    *,
    last_only: bool = True,
) -> int:
    """Additions and multiplications of the matrix products in one forward pass.

    Every token meets every streamed weight once, 2 operations each; :func:`attention_flops` come on top. How
    many KV heads a layer has changes what attention reads, not what it computes.

    With `last_only` the head is applied to the last position only, as in generation. The other arguments are
    described in :mod:`minidecilm.costs`.

    Examples
    --------
    >>> from minidecilm import preset
    >>> forward_flops(preset("decilm-6b")) / 1e9
    11.172052992
    """
    check_counts(1, batch_size=batch_size, new_tokens=new_tokens)
    head = config.vocab_size * config.hidden_size
    skipped_positions = new_tokens - 1 if last_only else 0
    products = streamed_parameters(config) * new_tokens - head * skipped_positions
    return 2 * batch_size * products + sum(attention_flops(config, batch_size, new_tokens, past_tokens))


def attention_flops(
    config: Config, batch_size: int = 1, new_tokens: int = 1, past_tokens: int = 0
) -> tuple[int, ...]:
    """Additions and multiplications of scores and mixes of values, layer by layer.

    Every pair of a query and a key it may see costs 2 D for the score and 2 D for the mix, in each head.

    Examples
    --------
    >>> from minidecilm import preset
    >>> attention_flops(preset("decilm-6b"), past_tokens=4095)[0]
    67108864
    """
    check_counts(batch_size=batch_size, new_tokens=new_tokens, past_tokens=past_tokens)
    pairs = new_tokens * past_tokens + new_tokens * (new_tokens + 1) // 2
    return tuple(
        2 * 2 * batch_size * heads * config.head_dim * pairs for heads in config.num_attention_heads_per_layer
    )


def roofline_seconds(
    nbytes: int, flops: int, bytes_per_second: float, flops_per_second: float
) -> tuple[float, str]:
    """Shortest time the machine allows, and which of its limits sets it.

    Reading and computing overlap at best, so the longer of the two counts.

    Returns
    -------
    seconds : float
    limit : {"memory", "arithmetic"}

    References
    ----------
    Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model", 2009.

    Examples
    --------
    >>> roofline_seconds(11_000, 11_000, bytes_per_second=1000, flops_per_second=10_000)
    (11.0, 'memory')
    """
    reading, computing = nbytes / bytes_per_second, flops / flops_per_second
    return (reading, "memory") if reading >= computing else (computing, "arithmetic")
