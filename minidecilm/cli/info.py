"""What `minidecilm info` says of a model, and of two side by side."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidecilm import costs
from minidecilm.api import DEMO_FOLDER
from minidecilm.config import Config
from minidecilm.files import hub_name
from minidecilm.presets import PRESET_NAMES, preset
from minidecilm.weights.checkpoint import open_checkpoint

_CONTEXT, _ROWS = 4096, 64  # of the caches that are compared
_GIGABYTES = (24, 40, 80)

_LABELS = {
    "parameters": "parameters",
    "weight_bytes": "weights, bytes",
    "kv_cache_bytes_per_token": "bfloat16 KV cache per token, bytes",
    "kv_cache_bytes_at_4096": "that of a row of 4,096 tokens, bytes",
    "kv_cache_bytes_at_64x4096": "that of 64 such rows, bytes",
    **{f"largest_batch_{size}_gb": f"largest batch of such rows in {size} GB" for size in _GIGABYTES},
    "flops_per_decoded_token": "operations for the 4,096th token",
}


@dataclass(frozen=True)
class Model:
    """A model that was named on the command line.

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
    """

    name: str
    config: Config
    weight_bytes: int
    storage: list[str]
    group: int | None = None


def find_model(name: str, *, ignore_config_keys: Iterable[str] = ()) -> Model:
    """Find a preset, a config.json, the demo model or a checkpoint folder.

    Parameters
    ----------
    name : str
    ignore_config_keys : iterable of str
        As for :func:`minidecilm.load`.

    Raises
    ------
    ValueError
        If there is none of that name, or it is no model of this package.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> find_model("llama-2-7b").weight_bytes
    13476831232
    """
    if not name:
        raise ValueError("model: the name is empty")
    if name.lower() in PRESET_NAMES or Path(name).is_file():
        if name.lower() in PRESET_NAMES:
            title, config = name, preset(name)
        else:
            config = Config.from_file(name, ignore_config_keys=ignore_config_keys)
            title = hub_name(Path(name).parent) or name
        return Model(title, config, costs.weight_bytes(config), [config.torch_dtype])
    if name != "demo" and not Path(name).exists():
        raise ValueError(
            f"no preset, config.json or folder {name!r}; the presets are {', '.join(PRESET_NAMES)}; "
            "the model that comes with the package is demo"
        )
    folder = DEMO_FOLDER if name == "demo" else Path(name)
    checkpoint = open_checkpoint(folder, ignore_config_keys=ignore_config_keys)
    group = checkpoint.scheme.group if checkpoint.scheme else None
    title = hub_name(folder) or name
    return Model(title, checkpoint.config, checkpoint.nbytes, sorted(checkpoint.dtypes), group)


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
        for row in costs.layer_costs(config)
    ]
    return {
        "model": model.name,
        "parameters": config.num_parameters,
        "weight_bytes": model.weight_bytes,
        "bits_per_weight": 8 * model.weight_bytes / config.num_parameters,
        "group": model.group,
        "kv_heads_per_layer": list(config.num_key_value_heads_per_layer),
        "kv_cache_bytes_per_token": costs.kv_cache_bytes(config),
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


def table(found: dict[str, Any]) -> str:
    """Lay :func:`facts` out for a person."""
    rotary, dtypes = found["rope"], found["dtypes"]
    group = f", a scale per {found['group']} columns" if found["group"] else ""
    scaling = f"dynamic NTK x{rotary['factor']:g} beyond it" if rotary["factor"] else "no scaling"
    lines = [
        f"{found['model']}\n"
        f"  parameters        {found['parameters']:,}\n"
        f"  weights           {found['weight_bytes']:,} bytes, {found['bits_per_weight']:.2f} bits each, "
        f"storage {'/'.join(dtypes['storage'])}{group}\n"
        f"  computed in       {dtypes['compute']}, accumulated in {dtypes['accumulate']}\n"
        f"  KV cache          {found['kv_cache_bytes_per_token']:,} bytes per token in bfloat16\n"
        f"  context           {found['max_position_embeddings']:,} tokens, {scaling}\n"
        f"  rotary base       {rotary['theta']:g}, head_dim {found['head_dim']}\n"
        f"  hidden, vocabulary {found['hidden_size']:,}, {found['vocab_size']:,}\n"
        f"\n  layer  KV heads  queries per KV head  feed-forward   parameters  KV bytes per token"
    ]
    lines += [
        f"  {row['layer']:5d}  {row['kv_heads']:8d}  {row['queries_per_kv_head']:19d}  "
        f"{row['intermediate_size']:12,}  {row['parameters']:11,}  {row['kv_cache_bytes_per_token']:18,}"
        for row in found["layers"]
    ]
    return "\n".join(lines)


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
    >>> found = comparison(find_model("decilm-6b"), find_model("llama-2-7b"))
    >>> found["kv_cache_bytes_per_token"]
    {'model': 25600, 'other': 524288, 'ratio': 20.48}
    """
    one, two = _quantities(model), _quantities(other)
    return {
        key: {"model": one[key], "other": two[key], "ratio": two[key] / one[key] if one[key] else None}
        for key in _LABELS
    }


def _quantities(model: Model) -> dict[str, int]:
    config = model.config
    return {
        "parameters": config.num_parameters,
        "weight_bytes": model.weight_bytes,
        "kv_cache_bytes_per_token": costs.kv_cache_bytes(config),
        "kv_cache_bytes_at_4096": costs.kv_cache_bytes(config, 1, _CONTEXT),
        "kv_cache_bytes_at_64x4096": costs.kv_cache_bytes(config, _ROWS, _CONTEXT),
        **{
            f"largest_batch_{size}_gb": costs.rows_that_fit(
                config, size * 10**9 - model.weight_bytes, _CONTEXT
            )
            for size in _GIGABYTES
        },
        "flops_per_decoded_token": costs.forward_flops(config, past_tokens=_CONTEXT - 1),
    }


def comparison_table(compared: dict[str, dict[str, Any]], model: str, other: str) -> str:
    """Lay :func:`comparison` out for a person, under the names of the models."""
    rows = [("", model, other, f"{other} / {model}")]
    for key, label in _LABELS.items():
        found = compared[key]
        rows.append((label, f"{found['model']:,}", f"{found['other']:,}", _times(found["ratio"])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def _times(ratio: float | None) -> str:
    """Three digits or more, without an exponent for what is large."""
    if ratio is None:
        return "-"
    return f"{ratio:,.2f}" if ratio >= 1 else f"{ratio:.3g}"
