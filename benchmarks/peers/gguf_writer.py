"""The checkpoint as a GGUF file of llama.cpp's ``deci`` architecture, which takes KV heads per layer."""

import ctypes
import os
from pathlib import Path

import gguf
import numpy as np

import minidecilm
from benchmarks.peers.scenarios import THREADS, Array

FLOATS = ("F32", "BF16")


def ensure_gguf(models: Path, storage: str) -> Path:
    """Write ``<storage>.gguf`` beside the checkpoint unless it is there.

    Parameters
    ----------
    models : Path
        Holds the folder ``checkpoint``.
    storage : str
        "F32" or "BF16": of every matrix, norm weights are float32. Or what llama.cpp's quantiser makes of
        the BF16 file by default, such as "Q8_0", "Q4_0" or "Q4_K_M"; it keeps more bits of the head.
    """
    file = models / f"{storage}.gguf"
    if not file.exists():
        partial = file.with_suffix(".part")
        if storage in FLOATS:
            _write(models / "checkpoint", partial, gguf.GGMLQuantizationType[storage])
        else:
            _quantize(ensure_gguf(models, "BF16"), partial, storage)
        os.rename(partial, file)
    return file


def _quantize(source: Path, file: Path, storage: str) -> None:
    import llama_cpp  # only in the environment of the peers

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, None)  # else a line for every tensor
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{storage}")
    parameters.nthread = THREADS
    failure = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(file), ctypes.byref(parameters))
    if failure:
        raise RuntimeError(f"llama_model_quantize returned {failure}")


def _write(checkpoint: Path, file: Path, matrices: gguf.GGMLQuantizationType) -> None:
    model = minidecilm.load(checkpoint, backend="numpy").model
    config = model.config
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.DECI])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(len(config.layers))
    writer.add_feed_forward_length([layer.intermediate_size for layer in config.layers])
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(list(config.num_key_value_heads_per_layer))
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.DECI, len(config.layers))
    for name, weight in model.weights.items():
        values = weight.astype(np.float32)
        if "q_proj" in name or "k_proj" in name:
            values = _interleave(values, config.head_dim)
        storage = matrices if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(
            names.get_name(name, try_suffixes=(".weight",)),
            gguf.quants.quantize(values, storage),
            raw_dtype=storage,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleave(weight: Array, head_dim: int) -> Array:
    """Reorder the rows of each head: llama.cpp turns neighbours, minidecilm the two halves."""
    halves = weight.reshape(-1, 2, head_dim // 2, weight.shape[1])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def streamed_bytes(file: Path) -> int:
    """Size of the matrices in a GGUF file but for the embedding."""
    matrices = [tensor for tensor in gguf.GGUFReader(file).tensors if len(tensor.shape) == 2]
    return sum(int(matrix.n_bytes) for matrix in matrices if matrix.name != "token_embd.weight")
