"""A checkpoint as one GGUF file of llama.cpp's architecture ``deci``, which has KV heads per layer.

The only file that imports gguf (extra ``gguf``), and only when one is written. The library writes the header
and packs the values; they are streamed behind it, some rows of one matrix at a time.

llama.cpp turns neighbouring rows of a query or key head, 2i and 2i + 1, by one angle, and this network rows i
and i + D/2 (:mod:`minidecilm.rope`). So their rows change places, as llama.cpp's own converter has it:
``DeciModel.permute`` in https://github.com/ggml-org/llama.cpp/blob/master/conversion/deci.py.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minidecilm.config import Config
from minidecilm.errors import CheckpointError
from minidecilm.files import hub_name, replacing
from minidecilm.ops import Array
from minidecilm.progress import progress_bar
from minidecilm.tokenizer import Tokenizer
from minidecilm.weights.checkpoint import Checkpoint
from minidecilm.weights.checkpoint_writer import LICENCES, companions_of, new_folder
from minidecilm.weights.quantize import finite_blocks

FILE_NAME = "model.gguf"
STORED = "stored"

#: What the matrices of a GGUF file may be: as stored, or one of its types.
TYPES = (STORED, "F32", "F16", "BF16", "Q8_0", "Q4_0")

_OF_DTYPE = {"float64": "F32", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_GROUP = 32  # columns that share a scale in Q8_0 and Q4_0
_MOST = {"F32": np.finfo(np.float32).max, "BF16": 3.3895e38}  # largest magnitude; of the others float16's


def check_type(gguf_type: str) -> None:
    """Raise a ValueError for what is none of :data:`TYPES`."""
    if gguf_type not in TYPES:
        raise ValueError(f"type: expected {', '.join(TYPES)}, found {gguf_type!r}")


def write_gguf(checkpoint: Checkpoint, folder: Path, gguf_type: str, progress: bool | None = None) -> None:
    """Write ``model.gguf`` and the licence files into a new folder.

    Norms are F32. In a Q4_0 file the matrix of the output head is Q8_0. A matrix whose rows are no multiple
    of 32 is F16 in a Q8_0 or Q4_0 file. Of several end-of-text ids the file names the first two. Without a
    tokenizer.model the file has no vocabulary, and takes ids.

    Parameters
    ----------
    checkpoint : Checkpoint
        With float weights.
    folder : Path
        To be created; it appears when it is complete. An empty folder may be there.
    gguf_type : str
        One of :data:`TYPES`, for the matrices.
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal.

    Raises
    ------
    OSError
        If the gguf library is not installed.
    CheckpointError
        If a value is NaN or infinity, or too large for the type.
    """
    check_type(gguf_type)
    try:
        import gguf
    except ImportError:
        raise OSError("to write GGUF takes the gguf library: pip install '.[gguf]' in a clone") from None
    if folder.suffix == ".gguf":
        raise ValueError(f"{folder}: give a folder to be created; {FILE_NAME} and the licence go into it")
    licences = companions_of(checkpoint.folder, LICENCES)
    with new_folder(folder, licences, checkpoint.check_unchanged) as new, replacing(new / FILE_NAME) as file:
        writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.DECI])
        types = _write_header(writer, checkpoint, gguf_type)
        _append_tensors(writer, file, checkpoint, types, folder.name, progress)


def _write_header(writer: Any, checkpoint: Checkpoint, gguf_type: str) -> dict[str, str]:
    """Write all that stands before the values; return the type of every tensor."""
    import gguf

    config, weights = checkpoint.config, checkpoint.float_tensors()
    names: Any = gguf.get_tensor_name_map(gguf.MODEL_ARCH.DECI, len(config.layers))
    types = {name: type_of(name, weight, gguf_type, config) for name, weight in weights.items()}
    mostly = types["model.embed_tokens.weight"] if gguf_type == STORED else gguf_type
    writer.add_name(hub_name(checkpoint.folder) or checkpoint.folder.name)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if mostly == "F32" else f"MOSTLY_{mostly}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_sizes(writer, config)
    _add_tokenizer(writer, checkpoint, gguf.TokenType)
    for name, weight in weights.items():
        packing = gguf.GGMLQuantizationType[types[name]]
        nbytes = math.prod(gguf.quants.quant_shape_to_byte_shape(weight.shape, packing))
        own_name = names.get_name(name, try_suffixes=(".weight",))
        writer.add_tensor_info(own_name, weight.shape, np.dtype(np.float32), nbytes, packing)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return types


def _append_tensors(
    writer: Any, file: Path, checkpoint: Checkpoint, types: dict[str, str], title: str, progress: bool | None
) -> None:
    """Append the values of every tensor, each from a multiple of the file's alignment on."""
    from gguf import GGMLQuantizationType, quants

    weights, D = checkpoint.float_tensors(), checkpoint.config.head_dim
    total = sum(weight.size for weight in weights.values())
    with file.open("ab") as out, progress_bar(total, f"writing {title}", "weight", progress, True) as bar:
        writer.write_padding(out, out.tell())
        for name, weight in weights.items():
            kind, where = types[name], f"{checkpoint.folder}: tensor {name}"
            turned = name.endswith(("q_proj.weight", "k_proj.weight"))
            rows = neighbouring_rows(len(weight), D) if turned else None
            for block in _narrow(finite_blocks(weight, where, rows), kind, where):
                out.write(quants.quantize(block, GGMLQuantizationType[kind]).data)
                bar.update(block.size)
            writer.write_padding(out, out.tell())


def neighbouring_rows(rows: int, head_dim: int) -> Array:
    """Which rows bring the two of every rotary pair next to each other, head by head.

    Examples
    --------
    >>> neighbouring_rows(8, head_dim=4)
    array([0, 2, 1, 3, 4, 6, 5, 7])
    """
    return np.arange(rows).reshape(-1, 2, head_dim // 2).swapaxes(1, 2).reshape(-1)


def type_of(name: str, weight: Array, gguf_type: str, config: Config) -> str:
    """Return the type of one tensor: see :func:`write_gguf`."""
    if weight.ndim == 1:
        return "F32"
    found = _OF_DTYPE[str(weight.dtype)] if gguf_type == STORED else gguf_type
    head = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
    if found == "Q4_0" and name == head:
        found = "Q8_0"
    return "F16" if found in ("Q8_0", "Q4_0") and weight.shape[1] % _GROUP else found


def _narrow(blocks: Iterator[Array], kind: str, where: str) -> Iterator[Array]:
    """Widen blocks of rows to float32, which a type that cannot hold them refuses."""
    most = _MOST.get(kind, 65504.0)
    for block in blocks:
        largest = np.abs(block).max()
        if largest > most:
            raise CheckpointError(f"{where}: {largest:g} is too large for {kind}; choose BF16 or F32")
        yield block.astype(np.float32)


def _add_sizes(writer: Any, config: Config) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(len(config.layers))
    writer.add_feed_forward_length([layer.intermediate_size for layer in config.layers])
    writer.add_head_count(list(config.num_attention_heads_per_layer))
    writer.add_head_count_kv(list(config.num_key_value_heads_per_layer))
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_tokenizer(writer: Any, checkpoint: Checkpoint, kinds: Any) -> None:
    """Add pieces, scores and kinds as llama.cpp reads them of a SentencePiece model."""
    config = checkpoint.config
    tokenizer = Tokenizer.from_folder(checkpoint.folder, config.vocab_size)
    if tokenizer is None:
        writer.add_tokenizer_model("no_vocab")
        return
    pieces = [tokenizer.id_to_piece(token) for token in range(config.vocab_size)]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece or f"[PAD{token}]" for token, piece in enumerate(pieces)])
    writer.add_token_scores([tokenizer.score(token) for token in range(config.vocab_size)])
    writer.add_token_types([kinds[_kind(tokenizer, token)] for token in range(config.vocab_size)])
    writer.add_unk_token_id(tokenizer.unk_id)
    if config.bos_token_id is not None:
        writer.add_bos_token_id(config.bos_token_id)
    for add, token in zip(
        (writer.add_eos_token_id, writer.add_eot_token_id), config.eos_token_ids, strict=False
    ):
        add(token)
    writer.add_add_bos_token(tokenizer.add_bos)
    writer.add_add_eos_token(tokenizer.add_eos)


def _kind(tokenizer: Tokenizer, token: int) -> str:
    if token == tokenizer.unk_id:
        return "UNKNOWN"
    if tokenizer.is_byte(token):
        return "BYTE"
    if tokenizer.is_special(token):
        return "CONTROL" if tokenizer.id_to_piece(token) else "UNUSED"
    return "USER_DEFINED" if token in tokenizer.added else "NORMAL"
