"""A GGUF file of llama.cpp's ``llama`` architecture, turned back into config, weights and tokenizer.

The only file here that imports gguf and tokenizers (extra ``smollm2``). Quantised matrices are widened to
float32, which holds their values exactly.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from minidecilm.config import Config, LayerConfig
from minidecilm.ops import Array
from minidecilm.weights.checkpoint_writer import write_checkpoint
from minidecilm.weights.gguf_file import neighbouring_rows
from minidecilm.weights.safetensors_file import TensorSource

_PRE_TOKENIZER = "smollm"  # single digits, then the pattern of GPT-2


class LlamaFile:
    """An open GGUF file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ValueError
        If it is of another architecture, or its tokenizer splits text in another way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = gguf.GGUFReader(path)
        for key, expected in {
            "general.architecture": "llama",
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": _PRE_TOKENIZER,
        }.items():
            if self.value(key) != expected:
                raise ValueError(f"{path}: {key}: expected {expected!r}, found {self.value(key)!r}")

    def value(self, key: str) -> Any:
        """Return an entry of the file's metadata."""
        field = self._reader.get_field(key)
        if field is None:
            raise ValueError(f"{self.path}: {key} is missing")
        return field.contents()

    def config(self) -> Config:
        """Sizes of the network. The head is the embedding where the file has no other."""
        heads, hidden = self.value("llama.attention.head_count"), self.value("llama.embedding_length")
        layer = LayerConfig(
            self.value("llama.attention.head_count_kv"), self.value("llama.feed_forward_length")
        )
        epsilon = np.float32(self.value("llama.attention.layer_norm_rms_epsilon"))
        return Config(
            vocab_size=self.value("llama.vocab_size"),
            hidden_size=hidden,
            num_attention_heads=heads,
            head_dim=hidden // heads,
            layers=(layer,) * self.value("llama.block_count"),
            max_position_embeddings=self.value("llama.context_length"),
            rms_norm_eps=float(str(epsilon)),  # the shortest decimal, 1e-05, not the float32 nearest to it
            rope_theta=self.value("llama.rope.freq_base"),
            tie_word_embeddings="output.weight" not in {tensor.name for tensor in self._reader.tensors},
            bos_token_id=self.value("tokenizer.ggml.bos_token_id"),
            eos_token_ids=(self.value("tokenizer.ggml.eos_token_id"),),
            torch_dtype="float32",
        )

    def write_checkpoint(self, folder: Path) -> None:
        """Write config.json and float32 safetensors: a folder that :func:`minidecilm.load` opens."""
        write_checkpoint(self.config(), folder, self._weights())

    def tokenizer(self) -> Tokenizer:
        """Build the byte-level BPE tokenizer from the file's pieces and merges."""
        vocabulary = {piece: token for token, piece in enumerate(self.value("tokenizer.ggml.tokens"))}
        merges = [tuple(merge.split(" ")) for merge in self.value("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE(vocabulary, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    def _weights(self) -> Iterator[TensorSource]:
        """Yield every weight under its Hugging Face name; each is widened when it is written."""
        config = self.config()
        stored = {tensor.name: tensor for tensor in self._reader.tensors}
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, len(config.layers))
        for name, shape in config.parameter_shapes().items():
            own_name = names.get_name(name, try_suffixes=(".weight",))
            if own_name not in stored:
                raise ValueError(f"{self.path}: tensor {own_name} is missing")
            yield TensorSource(name, "F32", shape, _widen(stored[own_name], name, config.head_dim))


def _widen(tensor: gguf.ReaderTensor, name: str, head_dim: int) -> Iterator[Array]:
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    if name.endswith(("q_proj.weight", "k_proj.weight")):
        values = values[np.argsort(neighbouring_rows(len(values), head_dim))]  # back to halves
    yield values
