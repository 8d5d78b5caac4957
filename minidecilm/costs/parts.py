"""Which part of the network a weight belongs to."""

from math import prod

from minidecilm.config import Config

#: Parts of a model, in the order of its forward pass.
PARTS = ("embedding", "attention q, o", "attention k, v", "feed-forward", "norms", "head")

_PART = {
    "embed_tokens": "embedding",
    "q_proj": "attention q, o",
    "o_proj": "attention q, o",
    "k_proj": "attention k, v",
    "v_proj": "attention k, v",
    "gate_proj": "feed-forward",
    "up_proj": "feed-forward",
    "down_proj": "feed-forward",
    "input_layernorm": "norms",
    "post_attention_layernorm": "norms",
    "norm": "norms",
    "lm_head": "head",
}


def part_of(name: str) -> str:
    """Part that a tensor belongs to, one of ``PARTS``.

    Examples
    --------
    >>> part_of("model.layers.3.self_attn.k_proj.weight")
    'attention k, v'
    """
    return _PART[name.split(".")[-2]]


def parameters_by_part(config: Config) -> dict[str, int]:
    """Count the weights of every part; together they are ``config.num_parameters``.

    Returns
    -------
    dict of str to int
        "embedding", "attention q, o", "attention k, v", "feed-forward", "norms" and "head", which is 0 where
        the embedding is the head too.

    Examples
    --------
    >>> from minidecilm import preset
    >>> parameters_by_part(preset("decilm-6b"))["attention k, v"]
    52428800
    >>> parameters_by_part(preset("llama-2-7b"))["attention k, v"]
    1073741824
    """
    counts = dict.fromkeys(PARTS, 0)
    for name, shape in config.parameter_shapes().items():
        counts[part_of(name)] += prod(shape)
    return counts
