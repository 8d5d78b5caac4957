"""What a name means: demo, a preset, a config.json, a folder or a hub id; and what to say of that model."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidecilm import costs
from minidecilm.config import Config
from minidecilm.errors import CheckpointError
from minidecilm.files import hub_name, resolved
from minidecilm.presets import PRESET_NAMES, TITLES, preset
from minidecilm.weights.checkpoint import open_checkpoint

DEMO_FOLDER = Path(__file__).parent / "demo"

_CONTEXT, _ROWS = 4096, 64  # of the caches that are compared
_GIGABYTES = (24, 40, 80)


def has_no_weights(name: str | Path) -> bool:
    """Tell whether a name is a preset's, and no folder of that name lies here.

    Examples
    --------
    >>> has_no_weights("DeciLM-6b"), has_no_weights("demo")
    (True, False)
    """
    return str(name).lower() in PRESET_NAMES and not Path(name).exists()


def find_folder(model: str | Path) -> Path:
    """Return the folder of a model that has weights; one on the Hugging Face hub is fetched.

    Parameters
    ----------
    model : str or Path
        "demo", a folder, or a hub id such as "Deci/DeciLM-6b". A path that leads nowhere comes back as it is.

    Raises
    ------
    ValueError
        For an empty name, or a preset's.
    OSError
        If the hub cannot be reached, or does not have it.

    Examples
    --------
    >>> find_folder("demo") == DEMO_FOLDER
    True
    """
    if model == "demo":
        return DEMO_FOLDER
    if not str(model):
        raise ValueError("model: the name is empty")
    if has_no_weights(model):
        raise CheckpointError(f"{model} is a preset without weights: give a checkpoint folder, or demo")
    folder = Path(os.path.expanduser(model))
    parts = str(model).split("/")
    if folder.exists() or len(parts) != 2 or not all(parts) or parts[0] in (".", "..", "~"):
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise OSError(
            f"no folder {model}; to fetch it from the Hugging Face hub: pip install '.[hub]' in a clone"
        ) from None
    try:
        return Path(
            snapshot_download(str(model), allow_patterns=["*.safetensors", "*.json", "tokenizer.model"])
        )
    except Exception as problem:  # the hub client's own errors have no common base
        first_line = str(problem).strip().splitlines()[:1]
        raise OSError(
            f"{model}: no such folder, and the Hugging Face hub gave: {' '.join(first_line)}"
        ) from problem


def find_config(name: str, *, ignore_config_keys: Iterable[str] = ()) -> Config | None:
    """Return the config of a preset, or the one in a config.json; None if the name is of neither.

    A preset's name wins over a file or folder that is called so, which is ./NAME.

    Examples
    --------
    >>> find_config("llama-2-7b").num_parameters
    6738415616
    """
    if name.lower() in PRESET_NAMES:
        return preset(name)
    return Config.from_file(name, ignore_config_keys=ignore_config_keys) if Path(name).is_file() else None


@dataclass(frozen=True)
class Model:
    """What a name was found to mean: a network, and the bytes of its weights.

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


def find_model(name: str, *, ignore_config_keys: Iterable[str] = ()) -> Model:
    """Find a preset, a config.json, the demo model or a checkpoint folder, here and not on the hub.

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
    path = DEMO_FOLDER if name == "demo" else Path(name)
    config = find_config(name, ignore_config_keys=ignore_config_keys)
    if config is not None:
        nbytes, storage, group = costs.weight_bytes(config), [config.torch_dtype], None
    elif path.exists():
        checkpoint = open_checkpoint(path, ignore_config_keys=ignore_config_keys)
        config, nbytes, storage = checkpoint.config, checkpoint.nbytes, sorted(checkpoint.dtypes)
        group = checkpoint.scheme.group if checkpoint.scheme else None
    else:
        raise ValueError(
            f"no preset, config.json or folder {name!r}; the presets are {', '.join(PRESET_NAMES)}; "
            "the model that comes with the package is demo"
        )
    if name.lower() in TITLES:
        return Model(name, config, nbytes, storage, group, TITLES[name.lower()])
    hub, found = hub_name(path if path.is_dir() else path.parent), resolved(path)
    title = hub or (found.parent.name if found.name == "config.json" else found.name)
    return Model(hub or name, config, nbytes, storage, group, title)


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
        for key in one
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
