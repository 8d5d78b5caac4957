"""What there is to say of a model, and of two side by side, ready for JSON."""

from dataclasses import dataclass
from typing import Any

from minidecilm.config import Config
from minidecilm.costs.fits import rows_that_fit
from minidecilm.costs.forward import forward_flops
from minidecilm.costs.layers import layer_costs
from minidecilm.costs.memory import kv_cache_bytes

#: Memories for which the largest batch is shown, in 10^9 bytes.
GIGABYTES = (24, 40, 80)
_CONTEXT, _ROWS = 4096, 64  # of the caches that are compared


@dataclass(frozen=True)
class Model:
    """A network with a name, and the bytes of its weights. Made by :func:`minidecilm.catalog.find_model`.

    Attributes
    ----------
    name : str
        As it was given; in a hub cache, the repository's.
    config : Config
    weight_bytes : int
        In its files, or in the dtype it was published in.
    storage : list of str
        Storage dtypes of the weights.
    group : int or None
        Columns that share a scale, in a quantised model.
    title : str
        As figures call it.
    """

    name: str
    config: Config
    weight_bytes: int
    storage: list[str]
    group: int | None = None
    title: str = ""


def facts(model: Model) -> dict[str, Any]:
    """Everything there is to say of a model, ready for JSON; units are in the names."""
    config = model.config
    layers = [
        {
            "layer": row.layer,
            "kv_heads": row.kv_heads,
            "queries_per_kv_head": row.queries_per_kv_head,
            "intermediate_size": row.intermediate_size,
            "parameters": row.parameters,
            "kv_cache_bytes_per_token": row.kv_cache_bytes,
        }
        for row in layer_costs(config)
    ]
    return {
        "model": model.name,
        "parameters": config.num_parameters,
        "weight_bytes": model.weight_bytes,
        "bits_per_weight": 8 * model.weight_bytes / config.num_parameters,
        "group": model.group,
        "kv_heads_per_layer": list(config.num_key_value_heads_per_layer),
        "kv_cache_bytes_per_token": kv_cache_bytes(config),
        "max_position_embeddings": config.max_position_embeddings,
        "rope": {
            "type": "dynamic" if config.rope_factor else "default",
            "theta": config.rope_theta,
            "factor": config.rope_factor,
        },
        "dtypes": {"storage": model.storage, "compute": "float32", "accumulate": "float32"},
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "num_attention_heads": config.num_attention_heads,
        "head_dim": config.head_dim,
        "tie_word_embeddings": config.tie_word_embeddings,
        "layers": layers,
    }


def comparison(model: Model, other: Model) -> dict[str, dict[str, Any]]:
    """Set two models side by side; caches are in bfloat16, and hold 4,096 tokens a row.

    Returns
    -------
    dict of str to dict
        Under each of the keys below a dict of ``model``, ``other``, and ``ratio``: other over model, None
        where model is 0.

        - ``parameters``, ``weight_bytes``, ``kv_cache_bytes_per_token``
        - ``kv_cache_bytes_at_4096``, ``kv_cache_bytes_at_64x4096``: of one row, and of 64
        - ``largest_batch_24_gb``, ``largest_batch_40_gb``, ``largest_batch_80_gb``: rows of 4,096 tokens
          that fit beside the weights into so many 10^9 bytes
        - ``flops_per_decoded_token``: additions and multiplications of the step that reads 4,096 tokens

    Examples
    --------
    >>> from minidecilm.catalog import find_model
    >>> found = comparison(find_model("decilm-6b"), find_model("llama-2-7b"))
    >>> found["kv_cache_bytes_per_token"]
    {'model': 25600, 'other': 524288, 'ratio': 20.48}
    """
    one, two = _quantities(model), _quantities(other)
    return {
        key: {"model": one[key], "other": two[key], "ratio": two[key] / one[key] if one[key] else None}
        for key in one
    }


def _quantities(model: Model) -> dict[str, int]:
    config = model.config
    return {
        "parameters": config.num_parameters,
        "weight_bytes": model.weight_bytes,
        "kv_cache_bytes_per_token": kv_cache_bytes(config),
        "kv_cache_bytes_at_4096": kv_cache_bytes(config, 1, _CONTEXT),
        "kv_cache_bytes_at_64x4096": kv_cache_bytes(config, _ROWS, _CONTEXT),
        **{
            f"largest_batch_{size}_gb": rows_that_fit(config, size * 10**9 - model.weight_bytes, _CONTEXT)
            for size in GIGABYTES
        },
        "flops_per_decoded_token": forward_flops(config, past_tokens=_CONTEXT - 1),
    }
