"""A key-value cache as a safetensors file: its used slots, and in the metadata what they were computed by."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from minidecilm.config import Config
from minidecilm.errors import CheckpointError
from minidecilm.files import brief, parse_object
from minidecilm.ops import Array
from minidecilm.weights.safetensors_file import (
    DTYPES,
    TensorSource,
    format_name,
    read_metadata,
    read_safetensors,
    write_safetensors,
)

_FORMAT = "minidecilm key-value cache 1"
_CHANGE_NO_KEY = {"architectures", "bos_token_id", "eos_token_id", "torch_dtype"}
_MOST_TOKENS = 1 << 40  # a plan is a number in the file, with nothing behind it


@dataclass(frozen=True)
class StoredCache:
    """What a file holds.

    Attributes
    ----------
    rope_policy : str
    dtype : str
        Of keys and values.
    planned_lengths : (B,) int array
    unscaled : int
        Slots that were written with the rotary base of training.
    real : (B, S) bool array
        Which slots hold a token.
    arrays : iterable of (B, K, S, D) arrays
        The keys of all layers, then the values.
    """

    rope_policy: str
    dtype: str
    planned_lengths: Array
    unscaled: int
    real: Array
    arrays: Iterable[Array]


def write_cache(path: str | Path, config: Config, stored: StoredCache) -> None:
    """Write a file, one layer after another; it appears under its name only when it is complete."""
    name, (B, S) = format_name(stored.dtype), stored.real.shape
    given = iter(stored.arrays)  # each is asked for when its turn to be written comes
    tensors = {
        tensor: TensorSource(tensor, name, (B, K, S, config.head_dim), islice(given, 1))
        for tensor, K in _heads(config).items()
    }
    about = {
        "config": _sizes(config),
        "rope": stored.rope_policy,
        "dtype": stored.dtype,
        "planned_lengths": stored.planned_lengths.tolist(),
        "unscaled": stored.unscaled,
    }
    real = TensorSource.from_array("real", stored.real.astype(np.uint8))
    metadata = {"format": _FORMAT, "cache": json.dumps(about)}
    write_safetensors(path, [*tensors.values(), real], metadata)


def read_cache(path: str | Path, config: Config, rope_policy: str, dtype: str) -> StoredCache:
    """Read a file of a model with this config, rotary policy and storage of keys and values.

    Raises
    ------
    CheckpointError
        If it is another file, of another model, damaged, or holds numbers that are not finite.
    OSError
        If it cannot be read.
    """
    metadata = read_metadata(path)
    if metadata.get("format") != _FORMAT:
        found = brief(metadata.get("format"))
        raise CheckpointError(f"{path}: expected format {_FORMAT!r}, found {found}; save a cache there")
    about = parse_object(metadata.get("cache", "").encode(), f"{path}: cache", CheckpointError)
    _check_model(path, about, config, rope_policy, dtype)
    tensors = read_safetensors(path)
    heads = _heads(config)
    real = tensors.pop("real", None)
    if real is None or real.dtype != np.uint8 or real.ndim != 2 or not real.size or real.max() > 1:
        raise _damaged(path, "real of (rows, slots) 0 and 1", None if real is None else real.shape)
    if tensors.keys() != heads.keys():
        raise _damaged(path, f"keys and values of {len(config.layers)} layers", sorted(tensors))
    B, S = real.shape
    for name, array in tensors.items():
        shape = (B, heads[name], S, config.head_dim)
        if array.shape != shape or array.dtype != DTYPES[format_name(dtype)]:
            raise _damaged(path, f"{name} of {shape} {dtype}", f"{array.shape} {array.dtype}")
        if not np.isfinite(array).all():
            raise _damaged(path, f"finite numbers in {name}", "others")
    planned, unscaled = about.get("planned_lengths"), about.get("unscaled")
    if not isinstance(planned, list) or len(planned) != B or not all(map(_is_length, planned)):
        raise _damaged(path, f"planned_lengths of {B} rows", planned)
    if type(unscaled) is not int or not 0 <= unscaled <= S:
        raise _damaged(path, f"unscaled of 0 to {S}", unscaled)
    arrays = [tensors[name] for name in heads]
    return StoredCache(rope_policy, dtype, np.array(planned, np.int64), unscaled, real == 1, arrays)


def _check_model(path: str | Path, about: dict[str, Any], config: Config, rope: str, dtype: str) -> None:
    """Refuse what another model has computed, and say in what it differs."""
    sizes = about.get("config")
    if not isinstance(sizes, dict):
        raise _damaged(path, "a config", sizes)
    ours = json.loads(json.dumps(_sizes(config)))
    differing = [key for key in sorted({*sizes, *ours}) if sizes.get(key) != ours.get(key)]
    pairs = [(f"{key} of the model", sizes.get(key), ours.get(key)) for key in differing]
    pairs += [("rope", about.get("rope"), rope), ("kv_cache", about.get("dtype"), dtype)]
    for name, found, expected in pairs:
        if found != expected:
            raise CheckpointError(
                f"{path}: the cache was saved with {name} {brief(found)}, here it is {brief(expected)}: "
                "load the model as it was then"
            )


def _heads(config: Config) -> dict[str, int]:
    """Names of all tensors of keys and values, with the heads of each."""
    heads = config.num_key_value_heads_per_layer
    return {f"layers.{i}.{kind}": K for kind in ("keys", "values") for i, K in enumerate(heads)}


def _sizes(config: Config) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if key not in _CHANGE_NO_KEY}


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_TOKENS


def _damaged(path: str | Path, expected: str, found: Any) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected {expected}, found {brief(found)}; the file is damaged: save the cache again"
    )
