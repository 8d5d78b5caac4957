"""A LoRA adapter: a folder that PEFT saved, read for a model whose layers have their own shapes.

Every matrix W that it changes becomes ``W + s * B @ A``, with s = alpha / r, or alpha / sqrt(r) for
``use_rslora``; ``rank_pattern`` and ``alpha_pattern`` give single matrices their own r and alpha. DoRA then
scales every row to a length of its own: ``m * (W + s * B @ A) / |W + s * B @ A|``. An adapter may also hold
whole weights that take the place of the model's.

The tensors count: ``target_modules`` and the like only say how they came to be. What would be wrong if it was
passed over is refused, and nothing of such an adapter is used.
:mod:`minidecilm.weights.adapted` puts it on a model's weights.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minidecilm.config import Config
from minidecilm.errors import CheckpointError
from minidecilm.files import brief, read_object, refuse_lfs_pointer, require_file
from minidecilm.ops import Array
from minidecilm.weights.foreign import ADAPTER_CONFIG, MAX_ADAPTER_BYTES
from minidecilm.weights.scheme import EMBEDDING, HEAD

ADAPTER_WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."  # PEFT puts it before every name
_A, _B, _MAGNITUDE, _BASE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector", ".base_layer.weight"
_FLOATS = ("F64", "F32", "F16", "BF16")

# What keys of adapter_config.json are read, and those that change nothing at all once the adapter is trained.
_READ = ("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora")
_CHANGE_NOTHING = (
    *("task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
    *("lora_dropout", "init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
    *("velora_config", "qalora_group_size", "megatron_core", "ensure_weight_tying"),
)
_MERGE = "merge it in peft (merge_and_unload), and give the model saved then"
_CHANGED_BASE = (
    "training began with changed weights of the model, to which the adapter belongs: save it with "
    f"path_initial_model_for_weight_conversion in peft, or {_MERGE}"
)
# How training may have begun and left the model's weights as they were.
_BEGINNINGS = (True, False, None, "gaussian", "eva", "orthogonal")
# Known keys that change what is computed, the value with which they do not, and what to do.
_REFUSED: dict[str, tuple[Any, str]] = {
    "bias": ("none", "layers of this network have no bias: train without"),
    "lora_bias": (False, "layers of this network have no bias: train without"),
    "fan_in_fan_out": (False, "the matrices of this network are (out, in): train for such layers"),
    "layer_replication": (None, f"it repeats layers of the model: {_MERGE}"),
    "alora_invocation_tokens": (None, "it acts on a part of each text only, which is not in this version"),
    "trainable_token_indices": (None, f"it changes single rows of the embedding: {_MERGE}"),
    **{
        key: (default, f"another form of LoRA, which is not in this version: {_MERGE}")
        for key, default in {
            **{"use_qalora": False, "use_bdlora": None, "target_parameters": None, "kasa_config": None},
            **{"arrow_config": None, "monteclora_config": None, "megatron_config": None},
        }.items()
    },
}
# Keys of patterns are expressions from a stranger: only what is matched in little time.
_SLOW = re.compile(r"\)[*+{]|([*+{].*){5}|.{300}")


@dataclass(frozen=True, eq=False)
class LowRank:
    """The change of one matrix: W becomes W + scale * B @ A, and with a magnitude its rows get that length.

    Attributes
    ----------
    A : (r, in) array
    B : (out, r) array
    scale : float
    magnitude : (out,) array or None
        DoRA's; None for plain LoRA.
    """

    A: Array
    B: Array
    scale: float
    magnitude: Array | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in (self.A, self.B, self.magnitude) if array is not None)


@dataclass(frozen=True, eq=False)
class Adapter:
    """What an adapter does to a model; names are those of :meth:`Config.parameter_shapes`.

    Attributes
    ----------
    folder : Path
    config : Config
        Of the model with the adapter: a head that was the embedding, and is changed, has its own weights.
    updates : dict of str to LowRank
        By the name of the matrix, ``...k_proj.weight``.
    replaced : dict of str to array
        Whole weights in place of the model's; a matrix may be in `updates` too, which then changes this one.
    """

    folder: Path
    config: Config
    updates: dict[str, LowRank]
    replaced: dict[str, Array]


def read_adapter(folder: str | Path, config: Config) -> Adapter:
    """Read the adapter folder that PEFT saved for a model of this config.

    Parameters
    ----------
    folder : str or Path
        Holds adapter_config.json and adapter_model.safetensors.
    config : Config
        Of the model it was trained for; every shape must fit.

    Returns
    -------
    Adapter

    Raises
    ------
    CheckpointError
        If it does not fit the model, or is of a kind that is not read; the message names key or tensor.
    OSError
        If something cannot be read.
    """
    folder = Path(folder)
    path, weights = folder / ADAPTER_CONFIG, folder / ADAPTER_WEIGHTS
    if not path.is_file():
        found, advice = "no such file", "give the folder that save_pretrained of peft wrote"
        if (folder / "config.json").is_file():
            found, advice = "a model", "give it as the model"
        raise _refusal(path, "the configuration of an adapter", found, advice)
    values = read_object(path, MAX_ADAPTER_BYTES, CheckpointError)
    _check_config(values, path)
    if not weights.exists():
        pickled = next((file.name for file in sorted(folder.glob("adapter_model*.bin"))), None)
        advice = "save the adapter again with safe_serialization=True"
        if pickled:
            advice = f"pickle can run code and is never read: where you trust it, {advice}"
        raise _refusal(weights, "the weights of the adapter", pickled or "no such file", advice)
    return _read_weights(folder, config, values)


def _refusal(where: str | Path, expected: str, found: str, advice: str) -> CheckpointError:
    return CheckpointError(f"{where}: expected {expected}, found {found}; {advice}")


def _check_config(values: Mapping[str, Any], path: Path) -> None:
    """Refuse what is not read, and what is not known and not plainly off."""

    def check(ok: bool, key: str, expected: str, advice: str = "save the adapter again with peft") -> None:
        if not ok:
            raise _refusal(f"{path}: {key}", expected, brief(values.get(key)), advice)

    check(values.get("peft_type") == "LORA", "peft_type", "'LORA'", f"only LoRA is read: {_MERGE}")
    beginning = values.get("init_lora_weights", True)
    same = any(type(beginning) is type(value) and beginning == value for value in _BEGINNINGS)
    check(same, "init_lora_weights", " or ".join(map(str, _BEGINNINGS)), _CHANGED_BASE)
    for key, (default, advice) in _REFUSED.items():
        value = values.get(key, default)
        check(value == default or value in (None, False) or value in ([], {}), key, str(default), advice)
    check(_is_size(values.get("r")), "r", "a rank of at least 1")
    check(_is_number(values.get("lora_alpha")), "lora_alpha", "a number above 0")
    for key in ("use_rslora", "use_dora", "ensure_weight_tying"):
        check(type(values.get(key, False)) is bool, key, "true or false")
    for key, fits in (("rank_pattern", _is_size), ("alpha_pattern", _is_number)):
        patterns = values.get(key) or {}
        check(isinstance(patterns, dict) and all(map(fits, patterns.values())), key, "names and numbers")
        for pattern in patterns:
            if _SLOW.search(pattern) or not _compiles(pattern):
                expected = "the name of a module, or a short regular expression of it"
                raise _refusal(f"{path}: {key}", expected, brief(pattern), "name the modules one by one")
    unknown = [
        f"{brief(key)} = {brief(value)}"
        for key, value in values.items()
        if key not in (*_READ, *_CHANGE_NOTHING, *_REFUSED) and value not in (None, False, [], {})
    ]
    if unknown:
        found = ", ".join(unknown[:5])
        raise _refusal(path, "keys of LoRA that are known", found, f"if it changes the result, {_MERGE}")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 20


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e9


def _compiles(pattern: str) -> bool:
    try:
        re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, OverflowError, RecursionError):
        return False
    return True


class _Tensors:
    """The tensors of an adapter by what each is for; a shape is checked before its data is read."""

    def __init__(self, file: Any, path: Path, config: Config, values: Mapping[str, Any]) -> None:
        self.file, self.path, self.config, self.values = file, path, config, values
        self.shapes = config.parameter_shapes()
        self.shapes.setdefault(HEAD, self.shapes[EMBEDDING])  # a tied head may get weights of its own
        self.parts: dict[str, dict[str, str]] = {}  # of a matrix: the tensor of each suffix
        self.whole: dict[str, str] = {}
        for key in file.keys():  # noqa: SIM118
            self._find_place(key)

    def _find_place(self, key: str) -> None:
        name = key.removeprefix(_PREFIX)
        suffix = next((end for end in (_A, _B, _MAGNITUDE, _BASE) if name.endswith(end)), ".weight")
        weight = f"{name.removesuffix(suffix)}.weight"
        low_rank = suffix in (_A, _B, _MAGNITUDE)
        placed = key.startswith(_PREFIX) and weight in self.shapes
        if not placed or (low_rank and (len(self.shapes[weight]) != 2 or weight == EMBEDDING)):
            raise _refusal(self._where(key), "a name that belongs to a matrix of the model", *self._why(name))
        if low_rank:
            self.parts.setdefault(weight, {})[suffix] = key
        elif self.whole.setdefault(weight, key) != key:
            raise _refusal(self._where(key), "one tensor", f"{self.whole[weight]} too", "keep one")

    def _why(self, name: str) -> tuple[str, str]:
        """Say what is wrong with a tensor that finds no place, and what to do."""
        layer = re.match(r"model\.layers\.(\d{1,9})\.", name)
        if layer and int(layer[1]) >= len(self.config.layers):
            count = len(self.config.layers)
            return f"layer {layer[1]} of {count} layers", "give the model that it was trained for"
        if ".lora_embedding_" in name or name.startswith("model.embed_tokens.lora_"):
            return "LoRA of an embedding", f"not in this version: {_MERGE}"
        if re.search(r"\.lora_[AB]\.[^.]+\.weight$", name):
            return "an adapter's own name in it", "save it with save_pretrained of peft, which leaves it out"
        return "no such matrix", "give the model that it was trained for"

    def _where(self, key: str) -> str:
        return f"{self.path}: tensor {brief(key)}"

    def read(self, key: str, shape: tuple[int, ...], said: str = "") -> Array:
        """Read one tensor once its shape and dtype are those expected, and all its values finite."""
        header = self.file.get_slice(key)
        found, dtype = tuple(header.get_shape()), header.get_dtype()
        if found != shape:
            advice = "the adapter is of another model, or of another layer: give the model it was trained for"
            raise _refusal(self._where(key), f"shape {shape}{said}", brief(found), advice)
        if dtype not in _FLOATS:
            raise _refusal(self._where(key), ", ".join(_FLOATS), dtype, "save the adapter as floats")
        array: Array = self.file.get_tensor(key)
        if not np.isfinite(array).all():
            raise _refusal(self._where(key), "finite values", "NaN or infinity", "the training went wrong")
        return array

    def update(self, weight: str) -> LowRank:
        """Read the change of one matrix."""
        module, (rows, columns) = weight.removesuffix(".weight"), self.shapes[weight]
        values, parts = self.values, self.parts[weight]
        dora = values.get("use_dora", False)
        for suffix in (_A, _B, *((_MAGNITUDE,) if dora else ())):
            if suffix not in parts:
                where = self._where(f"{_PREFIX}{module}{suffix}")
                raise _refusal(where, "it beside the others of its matrix", "none", "save the adapter again")
        if not dora and _MAGNITUDE in parts:
            where = self._where(parts[_MAGNITUDE])
            raise _refusal(where, "none, since use_dora is false", "DoRA", "correct adapter_config.json")
        rank = _of_module(values.get("rank_pattern") or {}, module, values["r"])
        alpha = _of_module(values.get("alpha_pattern") or {}, module, values["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if values.get("use_rslora") else rank)
        by_config = f" (rank {rank} by {ADAPTER_CONFIG})"
        A = self.read(parts[_A], (rank, columns), by_config)
        layer = re.match(r"model\.layers\.(\d+)\.self_attn\.[kv]_proj\.", weight)
        if layer:
            heads = self.config.layers[int(layer[1])].num_key_value_heads
            by_config = f" (layer {layer[1]} has {heads} KV head{'s' * (heads > 1)})"
        B = self.read(parts[_B], (rows, rank), by_config)
        return LowRank(A, B, scale, self.read(parts[_MAGNITUDE], (rows,)) if dora else None)


def _of_module(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """Value of the first pattern that fits a module, as PEFT finds it."""
    fits = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module))
    return next(fits, default)


def _read_weights(folder: Path, config: Config, values: Mapping[str, Any]) -> Adapter:
    """Read adapter_model.safetensors; the library that PEFT writes it with checks the file."""
    from safetensors import SafetensorError, safe_open

    path = folder / ADAPTER_WEIGHTS
    require_file(path)
    with path.open("rb") as beginning:
        refuse_lfs_pointer(path, beginning.read(64))
    try:
        with safe_open(path, "np") as file:
            tensors = _Tensors(file, path, config, values)
            updates = {name: tensors.update(name) for name in tensors.shapes if name in tensors.parts}
            replaced = {
                name: tensors.read(tensors.whole[name], shape)
                for name, shape in tensors.shapes.items()
                if name in tensors.whole
            }
    except SafetensorError as problem:
        raise _refusal(path, "a safetensors file", " ".join(str(problem).split()), "save it again") from None
    listed = values.get("modules_to_save")
    for module in listed if isinstance(listed, list) else ():
        if not any(name.endswith(f"{module}.weight") for name in replaced):
            where = f"{folder / ADAPTER_CONFIG}: modules_to_save"
            raise _refusal(where, f"{brief(module)} in {ADAPTER_WEIGHTS}", "none", "save the adapter again")
    if not updates and not replaced:
        raise _refusal(path, "weights of an adapter", "none", "save the adapter again")
    if config.tie_word_embeddings and (HEAD in updates or HEAD in replaced):
        config = replace(config, tie_word_embeddings=False)
    elif config.tie_word_embeddings and EMBEDDING in replaced and not values.get("ensure_weight_tying"):
        where = f"{path}: tensor {_PREFIX}{EMBEDDING}"
        expected = "the head too, which is the embedding in this model"
        raise _refusal(where, expected, "the embedding alone", f"save both (modules_to_save), or {_MERGE}")
    return Adapter(folder, config, updates, replaced)
