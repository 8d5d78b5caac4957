"""Fewer KV heads from the weights of a model that has more: neighbouring heads are replaced by their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral

import numpy as np

from minidecilm.config import Config
from minidecilm.ops import Array
from minidecilm.weights.packed import Weight


def pool_kv_heads(
    config: Config, weights: Mapping[str, Weight], kv_heads: Sequence[int]
) -> tuple[Config, dict[str, Weight]]:
    """Average the key and value heads of every layer that is to have fewer, as for grouped-query attention.

    A layer goes from K heads to a divisor of K: new head j is the mean of old heads j * n to j * n + n - 1,
    with n the old heads for each new one. These are the heads that the query heads of new head j read before,
    since query head h reads KV head ``h // group``. Queries and output projection stay as they are.

    Keys are linear in ``k_proj`` and the rotation turns all heads alike, so the pooled key at any position is
    the mean of the keys there; so is the value.

    Parameters
    ----------
    config : Config
    weights : mapping of str to array
        Of that config, floats.
    kv_heads : sequence of int
        Heads to be left in each layer, first to last. The present number leaves a layer as it is.

    Returns
    -------
    config : Config
        With those heads.
    weights : dict of str to array
        New ``k_proj`` and ``v_proj`` in the layers that changed, in the storage dtype of the old ones; all
        other arrays are the given ones, not copies.

    Raises
    ------
    ValueError
        If `kv_heads` does not have one entry per layer, an entry does not divide the heads that are there, or
        the weights to be averaged are packed, missing or of another shape.

    References
    ----------
    Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints",
    2023, section 2.1. https://arxiv.org/abs/2305.13245 There the model is trained further afterwards.

    Examples
    --------
    >>> import minidecilm
    >>> lm = minidecilm.load("demo")
    >>> config, weights = pool_kv_heads(lm.config, lm.model.weights, [1] * 8)
    >>> config.num_key_value_heads_per_layer
    (1, 1, 1, 1, 1, 1, 1, 1)
    >>> len(weights["model.layers.0.self_attn.k_proj.weight"]) == config.head_dim
    True
    """
    check_kv_heads(config, kv_heads)
    layers, pooled = list(config.layers), dict(weights)
    for index, (layer, new) in enumerate(zip(config.layers, kv_heads, strict=True)):
        if new == layer.num_key_value_heads:
            continue
        layers[index] = replace(layer, num_key_value_heads=int(new))
        for projection in ("k_proj", "v_proj"):
            name = f"model.layers.{index}.self_attn.{projection}.weight"
            weight, shape = weights.get(name), config.parameter_shapes()[name]
            if weight is None or weight.shape != shape:
                found = "none" if weight is None else weight.shape
                raise ValueError(f"{name}: expected the config's shape {shape}, found {found}")
            if not isinstance(weight, np.ndarray):
                raise ValueError(f"{name}: expected floats, found packed codes; pool first, then quantise")
            pooled[name] = _mean_heads(weight, new, config.head_dim)
    return replace(config, layers=tuple(layers)), pooled


def check_kv_heads(config: Config, kv_heads: Sequence[int]) -> None:
    """Refuse heads that :func:`pool_kv_heads` cannot reach from those of a config."""
    if len(kv_heads) != len(config.layers):
        raise ValueError(
            f"kv_heads: expected {len(config.layers)} entries, one per layer, found {len(kv_heads)}"
        )
    for index, (old, new) in enumerate(zip(config.num_key_value_heads_per_layer, kv_heads, strict=True)):
        possible = divisors(old)
        if isinstance(new, bool) or not isinstance(new, Integral) or new not in possible:
            raise ValueError(
                f"kv_heads[{index}]: expected a divisor of the layer's {old} heads "
                f"({', '.join(map(str, possible))}), found {new!r}"
            )


def divisors(number: int) -> list[int]:
    """Numbers that divide `number`, smallest first.

    Examples
    --------
    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def _mean_heads(weight: Array, heads: int, head_dim: int) -> Array:
    """Average neighbouring heads, in float64: (K * D, E) -> (heads * D, E) of the dtype of `weight`."""
    grouped = weight.reshape(heads, -1, head_dim, weight.shape[1])  # (heads, K / heads, D, E)
    mean = grouped.mean(axis=1, dtype=np.float64)  # (heads, D, E)
    return np.asarray(mean.reshape(-1, weight.shape[1]), weight.dtype)
