"""A checkpoint for other programs: a Llama folder, a folder with ``per_layer_config``, or a GGUF file.

Other programs read one number of KV heads for the whole model, save two: llama.cpp, whose ``deci`` files have
one for each layer, and transformers from 5.15 on, whose config can say it. For the others, KV heads are
repeated until every layer has the same number. Query head h reads KV head h // (H / K), so a head's copies
stand next to each other, as ``np.repeat`` makes them and ``np.tile`` does not; then no result changes.

Dynamic NTK is a matter of its own: no two programs compute it alike. It starts beyond
``max_position_embeddings``, so a file that says nothing of it gives the same results up to there.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minidecilm.config import Config
from minidecilm.errors import CheckpointError, ConfigError
from minidecilm.files import brief
from minidecilm.ops import Array
from minidecilm.weights.adapters import ADAPTER_WEIGHTS, read_adapter
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.checkpoint_writer import MAX_SHARD_BYTES, companions_of, new_folder, write_checkpoint
from minidecilm.weights.foreign import ADAPTER_CONFIG
from minidecilm.weights.gguf_file import STORED, check_type, write_gguf
from minidecilm.weights.quantize import stored_source
from minidecilm.weights.safetensors_file import TensorSource, read_safetensors, write_safetensors

#: What a checkpoint is exported to.
FORMATS = ("llama", "per-layer", "gguf")

#: What becomes of dynamic NTK: left out, or kept.
ROPES = ("plain", "dynamic")


def export_checkpoint(
    source: str | Path,
    folder: str | Path,
    to: str = "llama",
    *,
    rope: str = "plain",
    gguf_type: str = STORED,
    adapter: str | Path | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    ignore_config_keys: Iterable[str] = (),
    progress: bool | None = None,
) -> None:
    """Write a checkpoint folder in a form that other programs read, some rows of one matrix at a time.

    Licence files come along, and so does the tokenizer: as its files, or inside the GGUF file.

    Parameters
    ----------
    source : str or Path
        A folder in Hugging Face layout with float weights.
    to : {"llama", "per-layer", "gguf"}
        "llama": KV heads repeated, and the config of a plain LlamaForCausalLM. "per-layer": weights as they
        are, and a ``per_layer_config``. "gguf": a file ``model.gguf`` of llama.cpp's architecture ``deci``.
    rope : {"plain", "dynamic"}
        Whether the config leaves dynamic NTK out, or keeps it. A GGUF file cannot hold it.
    gguf_type : {"stored", "F32", "F16", "BF16", "Q8_0", "Q4_0"}
        Type of the matrices in a GGUF file: :func:`minidecilm.weights.gguf_file.write_gguf`.
    adapter : str or Path, optional
        A LoRA adapter of the model, as PEFT saves it. The folder then holds this adapter alone, made to fit
        what "llama" makes of the model: rows that belong to a KV head are repeated as the head is.
    ignore_config_keys : iterable of str
        As for :func:`minidecilm.load`.
    folder, max_shard_bytes, progress
        As for :func:`minidecilm.weights.checkpoint_writer.write_checkpoint`.

    Raises
    ------
    CheckpointError, ConfigError
        If `source` is no checkpoint, is quantised, holds NaN or infinity, changes meanwhile, or is a model
        that the format cannot express.
    ValueError
        If options contradict each other.
    FileExistsError
        If `folder` exists and is not empty.

    Examples
    --------
    >>> import tempfile, minidecilm
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_checkpoint(minidecilm.catalog.DEMO_FOLDER, f"{folder}/demo-llama")
    ...     lm = minidecilm.load(f"{folder}/demo-llama")
    >>> lm.config.num_key_value_heads_per_layer
    (4, 4, 4, 4, 4, 4, 4, 4)
    """
    _check_choice("to", to, FORMATS)
    _check_choice("rope", rope, ROPES)
    check_type(gguf_type)
    if to == "gguf" and rope == "dynamic":
        raise ValueError("rope: llama.cpp has no dynamic NTK, so a GGUF file cannot keep it; leave it out")
    if to != "gguf" and gguf_type != STORED:
        raise ValueError(f"type {gguf_type}: only a GGUF file has one; {to} keeps weights as they are")
    if adapter is not None and to != "llama":
        raise ValueError(f"adapter: its own form fits {to}; to have it in the model, merge it first")
    checkpoint = open_checkpoint(source, ignore_config_keys=ignore_config_keys)
    config = checkpoint.config
    if rope == "dynamic" and config.rope_factor is None:
        raise ValueError(f"rope: {source} has no dynamic NTK to keep; leave it out")
    if checkpoint.scheme is not None:
        raise CheckpointError(
            f"{source}: expected float weights, found {checkpoint.scheme.weights}; export the checkpoint "
            "that it was made from"
            + ("" if to == "gguf" else ", and quantise with the program that reads it")
        )
    if to == "gguf":
        write_gguf(checkpoint, Path(folder), gguf_type, progress)
        return
    _require_llama(config, str(source), to)
    if adapter is not None:
        _export_adapter(Path(adapter), config, Path(folder))
        return
    written = config.with_equal_kv_heads() if to == "llama" else config
    written = written if rope == "dynamic" else replace(written, rope_factor=None)
    shapes = written.parameter_shapes()
    sources = []
    for name, weight in checkpoint.float_tensors().items():
        rows = repeated_rows(len(weight), shapes[name][0], config.head_dim)
        sources.append(stored_source(name, weight, f"{source}: tensor {name}", rows))
    write_checkpoint(
        written,
        folder,
        sources,
        values=_llama_values(written) if to == "llama" else _per_layer_values(written),
        companions=companions_of(checkpoint.folder),
        check=checkpoint.check_unchanged,
        max_shard_bytes=max_shard_bytes,
        progress=progress,
    )


def repeated_rows(rows: int, wanted: int, head_dim: int) -> Array | None:
    """Which rows of a key or value matrix repeat its heads until it has `wanted` rows; None if it has them.

    Examples
    --------
    >>> repeated_rows(4, 8, head_dim=2)
    array([0, 1, 0, 1, 2, 3, 2, 3])
    """
    if rows == wanted:
        return None
    heads = np.arange(rows).reshape(-1, head_dim)  # (K, D)
    return np.repeat(heads, wanted // rows, axis=0).reshape(-1)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected {' or '.join(allowed)}, found {brief(value)}")


def _require_llama(config: Config, where: str, to: str) -> None:
    """Refuse what transformers' LlamaConfig refuses, or has no key for."""
    H = config.num_attention_heads
    if config.hidden_size % H:
        raise ConfigError(
            f"{where}: hidden_size = {config.hidden_size} is no multiple of num_attention_heads = {H}, as "
            "transformers wants it of a Llama: choose gguf"
        )
    for key, found in (
        ("num_attention_heads", config.num_attention_heads_per_layer),
        ("intermediate_size", [layer.intermediate_size for layer in config.layers]),
    ):
        if to == "llama" and len(set(found)) > 1:
            raise ConfigError(
                f"{where}: layers differ in {key}, {min(found)} to {max(found)}, which a Llama's config "
                "cannot say: choose per-layer or gguf"
            )


def _export_adapter(adapter: Path, config: Config, folder: Path) -> None:
    """Repeat the rows of an adapter that belong to a KV head: of B, of DoRA's lengths, of whole weights."""
    read_adapter(adapter, config)  # refuses what does not fit the model
    wanted = config.with_equal_kv_heads().parameter_shapes()
    sources = []
    for key, tensor in read_safetensors(adapter / ADAPTER_WEIGHTS).items():
        module = re.search(r"model\.layers\.\d+\.self_attn\.[kv]_proj", key)
        if module and ".lora_A." not in key:
            rows = repeated_rows(len(tensor), wanted[f"{module[0]}.weight"][0], config.head_dim)
            tensor = tensor if rows is None else tensor[rows]
        sources.append(TensorSource.from_array(key, tensor))
    files = companions_of(adapter) + companions_of(adapter, (ADAPTER_CONFIG, "README.md"))
    with new_folder(folder, files) as new:
        write_safetensors(new / ADAPTER_WEIGHTS, sources, {"format": "pt"})


def _llama_values(config: Config) -> dict[str, Any]:
    """Say in a plain Llama's keys what layers are that are all alike."""
    values = config.to_dict() | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    [values["num_key_value_heads"]] = set(values.pop("num_key_value_heads_per_layer"))
    return values


def _per_layer_values(config: Config) -> dict[str, Any]:
    """Say it as transformers from 5.15 on writes it: common numbers, and where a layer differs from them."""
    values = config.to_dict() | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    heads, own = values.pop("num_key_value_heads_per_layer"), values.pop("per_layer_config", {})
    [(common, _)] = Counter(heads).most_common(1)
    entries = {
        index: ({"num_key_value_heads": K} if common != K else {}) | own.get(str(index), {})
        for index, K in enumerate(heads)
    }
    digits = len(str(max((index for index, entry in entries.items() if entry), default=0)))
    return values | {
        "num_key_value_heads": common,
        "per_layer_config": {f"{index:0{digits}}": entry for index, entry in entries.items() if entry},
    }
