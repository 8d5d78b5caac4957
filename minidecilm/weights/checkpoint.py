"""A checkpoint folder: config.json beside weights in one safetensors file, or in shards under an index.

Opening maps the files into memory and reads only their headers, so it costs the same for 1 MB and for 11 GB.
Weights are floats, or packed by :mod:`minidecilm.weights.quantize`.
A folder opens only if its files hold exactly the tensors that config.json asks for. Pickle is never read.
Of generation_config.json only the end-of-text ids count, beside those of config.json.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minidecilm.config import MAX_CONFIG_BYTES, Config
from minidecilm.config_keys import key_set, without
from minidecilm.errors import CheckpointError, ConfigError
from minidecilm.files import Seen, brief, read_object, require_file
from minidecilm.ops import Array
from minidecilm.weights.checkpoint_writer import INDEX_NAME, SINGLE_NAME
from minidecilm.weights.foreign import refuse_folder, unknown_name
from minidecilm.weights.packed import PackedWeight, Weight
from minidecilm.weights.safetensors_file import MAX_HEADER_BYTES, read_safetensors
from minidecilm.weights.scheme import Scheme, StoredAs, tensors_in_files

_MISMATCH = "weights and config.json or index are not of one model: download them together"
_COMPARED_ELEMENTS = 1 << 20

# A name and nothing more: no separator of any system, no drive, no NUL, nothing a file system cannot encode.
_PLAIN_NAME = re.compile(r"[\w+ -][\w.+ -]{0,200}\.safetensors")

# Buffers that some versions of model code saved among the weights: rotary frequencies and tables, masks,
# positions. They follow from config.json, so they are skipped, whatever their dtype.
_SKIPPED = (
    *(".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached"),
    *(".masked_bias", ".attn.bias", ".attention.bias", ".self_attn.bias", ".causal_mask", ".position_ids"),
)


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint.

    Attributes
    ----------
    folder : Path
    config : Config
    tensors : dict of str to ndarray or PackedWeight
        Exactly the names and shapes of ``config.parameter_shapes()``, in that order, as read-only views of
        the memory-mapped files in their storage dtype (bfloat16, float16, float32, float64, int8 or
        int4).
    files : tuple of Path
        The safetensors files that are mapped.
    scheme : Scheme or None
        How weights are packed; None if all are floats.
    seen : tuple of Seen
        What config.json and the safetensors files were when they were opened.
    """

    folder: Path
    config: Config
    tensors: dict[str, Weight]
    files: tuple[Path, ...]
    scheme: Scheme | None = None
    seen: tuple[Seen, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def dtypes(self) -> Counter[str]:
        """Number of tensors by storage dtype: ``Counter({"bfloat16": 291})``."""
        return Counter(str(tensor.dtype) for tensor in self.tensors.values())

    def check_unchanged(self, mapped: bool = False) -> None:
        """Raise a CheckpointError if a file changed since it was opened: :class:`minidecilm.files.Seen`."""
        for file in self.seen:
            if not mapped or file.path in self.files:
                file.check(mapped)

    def float_tensors(self) -> dict[str, Array]:
        """Return the tensors. If they are packed, a CheckpointError: codes of codes add up their errors."""
        floats = {name: tensor for name, tensor in self.tensors.items() if isinstance(tensor, np.ndarray)}
        if self.scheme is not None:
            found = f"{self.scheme.weights} in groups of {self.scheme.group}"
            raise _refusal(self.folder, "float weights", found, "take the checkpoint it was made from")
        return floats


def open_checkpoint(folder: str | Path, *, ignore_config_keys: Iterable[str] = ()) -> Checkpoint:
    """Open a folder in Hugging Face layout without reading its weights.

    Parameters
    ----------
    folder : str or Path
        Holds config.json and model.safetensors, or shards and model.safetensors.index.json.
    ignore_config_keys : iterable of str
        Keys of config.json and generation_config.json to pass over: see :meth:`Config.from_dict`.

    Returns
    -------
    Checkpoint
        Config and memory-mapped weights.

    Raises
    ------
    CheckpointError
        If the files do not hold exactly the tensors of the config; the message names file and tensor.
    ConfigError
        If config.json is not a model that this package computes.
    OSError
        If something cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from minidecilm import LayerConfig, write_random_checkpoint
    >>> config = Config(32, 8, 2, 4, (LayerConfig(2, 16), LayerConfig(1, 16)), 64)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_random_checkpoint(config, f"{folder}/tiny")
    ...     checkpoint = open_checkpoint(f"{folder}/tiny")
    >>> checkpoint.nbytes == 2 * config.num_parameters
    True
    >>> checkpoint.tensors["model.layers.1.self_attn.k_proj.weight"].shape
    (4, 8)
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise _refusal(folder, "a checkpoint folder", found, "give the folder that holds config.json")
    weight_map = _find_weights(folder)
    config_path = folder / "config.json"
    if not config_path.exists():
        advice = "copy it from the weights' source"
        raise _refusal(config_path, "the model's config.json", "no such file", advice)
    require_file(config_path)
    names = {SINGLE_NAME} if weight_map is None else set(weight_map.values())
    files = tuple(folder / name for name in sorted(names))
    seen = tuple(Seen.now(path) for path in (config_path, *files) if path.exists())  # before any is read
    ignored = key_set(ignore_config_keys)
    config, scheme = _read_config(config_path, ignored)
    config = _add_ends(config, folder / "generation_config.json", ignored)
    tensors, origin = _map_files(folder, files, weight_map)
    shapes = config.parameter_shapes()
    if config.tie_word_embeddings:
        _drop_tied_head(tensors, origin, shapes["model.embed_tokens.weight"])
    expected = tensors_in_files(shapes, scheme)
    for name, array in tensors.items():
        _check_tensor(origin[name], name, array, expected)
    missing = [name for name in expected if name not in tensors]
    if missing:
        where = f"{folder / (SINGLE_NAME if weight_map is None else INDEX_NAME)}: tensor {missing[0]}"
        found = f"none, and {len(missing) - 1:,} more are missing" if len(missing) > 1 else "none"
        advice = _MISMATCH
        if missing == ["lm_head.weight"]:
            advice = "where the head is the embedding, set tie_word_embeddings to true in config.json"
        raise _refusal(where, f"shape {expected[missing[0]][0]}", found, advice)
    weights: dict[str, Weight] = {}
    for name, shape in shapes.items():
        if scheme is None or name in tensors:
            weights[name] = tensors[name]
        else:
            rows, columns = shape
            codes, scales = tensors[f"{name}.codes"], tensors[f"{name}.scales"]
            weights[name] = PackedWeight(codes, scales, (rows, columns), scheme.group)
    return Checkpoint(folder, config, weights, files, scheme, seen)


def _read_config(path: Path, ignored: frozenset[str]) -> tuple[Config, Scheme | None]:
    """Read config.json, and from it how weights are packed, which is no part of what the network is."""
    values = without(read_object(path, MAX_CONFIG_BYTES, ConfigError), ignored)
    packed = values.pop("quantization_config", None)
    try:
        config = Config.from_dict(values)
        return config, None if packed is None else Scheme.from_dict(packed, config.tie_word_embeddings)
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem}") from None


def _add_ends(config: Config, path: Path, ignored: frozenset[str]) -> Config:
    """Add the end-of-text ids of generation_config.json, where there is one; nothing else of it is read."""
    if not path.exists():
        return config
    require_file(path)
    eos = without(read_object(path, MAX_CONFIG_BYTES, ConfigError), ignored).get("eos_token_id")
    more = eos if isinstance(eos, list) else [] if eos is None else [eos]
    if not all(type(token) is int and 0 <= token < config.vocab_size for token in more):
        expected = f"an id from 0 to {config.vocab_size - 1}, or a list of them"
        raise ConfigError(
            f"{path}: eos_token_id: expected {expected}, found {brief(eos)}; correct it, or remove the key"
        )
    return replace(config, eos_token_ids=tuple(dict.fromkeys((*config.eos_token_ids, *more))))


def _check_tensor(path: Path, name: str, array: Array, expected: Mapping[str, StoredAs]) -> None:
    where = f"{path}: tensor {brief(name)}"
    if name not in expected:
        said = unknown_name(name, expected)
        if said is not None:
            raise CheckpointError(f"{where}: expected a name of the model, found {said}")
        packed = name.endswith((".codes", ".scales"))
        advice = "quantised weights need quantization_config in config.json" if packed else _MISMATCH
        raise _refusal(where, "none of that name", f"shape {brief(array.shape)}", advice)
    shape, dtypes = expected[name]
    if array.shape != shape:
        raise _refusal(where, f"shape {shape}", brief(array.shape), _MISMATCH)
    if array.dtype not in dtypes:
        advice = "open the model before quantisation, or quantise it with this package"
        raise _refusal(where, " or ".join(map(str, dtypes)), str(array.dtype), advice)


def _refusal(where: str | Path, expected: str, found: str, advice: str) -> CheckpointError:
    return CheckpointError(f"{where}: expected {expected}, found {found}; {advice}")


def _find_weights(folder: Path) -> dict[str, str] | None:
    """Return the file name of every tensor as the index has it, or None for a single file."""
    single, index = folder / SINGLE_NAME, folder / INDEX_NAME
    if index.exists():
        weight_map = _read_index(index)
        if single.exists() and SINGLE_NAME not in weight_map.values():
            found = f"{SINGLE_NAME} beside other files"
            raise _refusal(index, "one set of weights", found, "remove the set that is not the model's")
        return weight_map
    if single.exists():
        return None
    raise refuse_folder(folder)


def _read_index(path: Path) -> dict[str, str]:
    """Return ``weight_map``. ``metadata.total_size`` is not read: it is advisory, and wrong in real files."""
    require_file(path)
    weight_map = read_object(path, MAX_HEADER_BYTES, CheckpointError).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        where, expected = f"{path}: weight_map", "tensor names and their files"
        raise _refusal(where, expected, brief(weight_map), "download it again")
    for name, file in weight_map.items():
        if not isinstance(file, str) or not _PLAIN_NAME.fullmatch(file):
            expected = "the plain name of a .safetensors file in this folder"
            raise _refusal(f"{path}: tensor {brief(name)}", expected, brief(file), "correct the index")
    return {name: file for name, file in weight_map.items() if not _is_buffer(name)}


def _is_buffer(name: str) -> bool:
    return f".{name}".endswith(_SKIPPED)


def _map_files(
    folder: Path, files: Iterable[Path], weight_map: dict[str, str] | None
) -> tuple[dict[str, Array], dict[str, Path]]:
    """Map every file into memory; return the tensors and the path of each, checked against the index."""
    tensors: dict[str, Array] = {}
    origin: dict[str, Path] = {}
    for path in files:
        if not path.exists():  # or a hub cache's link that leads nowhere
            raise _refusal(path, f"the file that {INDEX_NAME} names", "no such file", "download it")
        for name, array in read_safetensors(path, _is_buffer).items():
            where = f"{path}: tensor {brief(name)}"
            if name in tensors:
                raise _refusal(where, "it once", f"it in {origin[name]} too", "keep one")
            if weight_map is not None and weight_map.get(name) != path.name:
                said = brief(weight_map.get(name, "no file"))
                raise _refusal(where, f"it in {said} by {INDEX_NAME}", "it here", _MISMATCH)
            tensors[name], origin[name] = array, path
    for name, file in (weight_map or {}).items():
        if name not in tensors:
            where = f"{folder / file}: tensor {brief(name)}"
            raise _refusal(where, f"it here by {INDEX_NAME}", "none", _MISMATCH)
    return tensors, origin


def _drop_tied_head(tensors: dict[str, Array], origin: Mapping[str, Path], shape: tuple[int, ...]) -> None:
    """Drop a stored output head that repeats the embedding; one that differs contradicts the config."""
    # Tied models are often saved with both names. The price is to read both here, a few rows at a time.
    head, embedding = tensors.get("lm_head.weight"), tensors.get("model.embed_tokens.weight")
    if head is None or embedding is None:
        return
    step = max(1, _COMPARED_ELEMENTS // shape[1])
    same = head.dtype == embedding.dtype and head.shape == embedding.shape == shape
    if not same or any(
        not np.array_equal(head[row : row + step].view(np.uint8), embedding[row : row + step].view(np.uint8))
        for row in range(0, shape[0], step)
    ):
        where = f"{origin['lm_head.weight']}: tensor lm_head.weight"
        raise _refusal(where, "the embedding's values (tie_word_embeddings is true)", "others", _MISMATCH)
    del tensors["lm_head.weight"]
