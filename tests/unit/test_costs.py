"""Counts of arithmetic and bytes: against counts by hand, and against what a running model does."""

from dataclasses import replace

import numpy as np
import pytest

from minidecilm import costs, rope
from minidecilm.backends import NUMPY
from minidecilm.config import Config, LayerConfig
from minidecilm.model import DeciLM
from minidecilm.presets import preset

TINY = Config(
    vocab_size=10,
    hidden_size=6,
    num_attention_heads=4,
    head_dim=2,
    layers=(LayerConfig(4, 5), LayerConfig(1, 7)),
    max_position_embeddings=64,
)
# Query heads differ too.
MIXED = replace(TINY, layers=(LayerConfig(4, 5), LayerConfig(1, 7, 2), LayerConfig(3, 6, 6)))


def test_streamed_weights_by_hand():
    # q and o: 8 x 6 each; k and v: 2K x 6 each; gate, up and down: F x 6 each; the head: 10 x 6
    expected = (2 * 48 + 2 * 48 + 3 * 30) + (2 * 48 + 2 * 12 + 3 * 42) + 60
    assert costs.streamed_parameters(TINY) == expected
    tied = replace(TINY, tie_word_embeddings=True)
    assert costs.streamed_parameters(tied) == expected
    assert "model.embed_tokens.weight" in costs.streamed_weights(tied)
    assert "model.embed_tokens.weight" not in costs.streamed_weights(TINY)


def test_bytes_by_hand():
    # of one token: keys and values of 4 + 1 heads of 2 values each
    assert costs.forward_bytes(TINY, 3, 7, "float32", "float16") == 4 * 588 + 3 * 7 * 2 * (4 + 1) * 2 * 2


def test_decilm_6b_reads_no_embedding():
    config = preset("decilm-6b")
    embedding, norms = 32000 * 4096, (2 * 32 + 1) * 4096
    assert costs.streamed_parameters(config) == config.num_parameters - embedding - norms
    assert costs.forward_bytes(config, context=0) == 2 * costs.streamed_parameters(config)


class CountingBackend:
    """NumPy's backend, which writes down the operations of every product it is asked for."""

    def __init__(self):
        self.counted = []
        self.value = replace(NUMPY, linear=self.linear, attention=self.attention)

    def linear(self, x, weight):
        self.counted.append(2 * x.size * len(weight))
        return NUMPY.linear(x, weight)

    def attention(self, q, k, v, visible):
        B, H, T, D = q.shape
        self.counted.append(2 * 2 * H * D * int(np.broadcast_to(visible, (B, T, k.shape[2])).sum()))
        return NUMPY.attention(q, k, v, visible)


class PerLayer:
    """An observer that adds up, layer by layer, what a counting backend wrote down."""

    stages = ("hidden_states",)

    def __init__(self, backend):
        self.counted, self.layers = backend.counted, []

    def __call__(self, layer, stage, value):
        self.layers.append(sum(self.counted) - sum(self.layers))


@pytest.mark.parametrize("config", [TINY, MIXED], ids=["kv heads", "query heads too"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize(("new", "past"), [(1, 0), (5, 0), (1, 9), (4, 3)])
def test_flops_are_those_of_a_run(new, past, last_only, tied, config):
    """Count every product that a model asks its backend for."""
    config = replace(config, tie_word_embeddings=tied)
    backend, batch_size = CountingBackend(), 3
    weights = {name: np.ones(shape, np.float32) for name, shape in config.parameter_shapes().items()}
    model = DeciLM(config, weights, backend.value)
    cache = model.new_cache(batch_size, past + new)
    if past:
        model(np.ones((batch_size, past), int), cache)
    backend.counted.clear()
    seen = PerLayer(backend)
    model(np.ones((batch_size, new), int), cache, last_only=last_only, observer=seen)
    assert costs.forward_flops(config, batch_size, new, past, last_only=last_only) == sum(backend.counted)
    rows = costs.layer_costs(config, batch_size, new, past, kv_cache="float32")
    assert [row.flops for row in rows] == seen.layers
    cached = [keys.nbytes + values.nbytes for keys, values in zip(cache.keys, cache.values, strict=True)]
    assert [row.kv_cache_bytes for row in rows] == cached
    assert sum(row.bytes_written for row in rows) == cache.nbytes * new // (past + new)


def test_layers_add_up_to_the_pass():
    """What belongs to no layer is the embedding, the last norm and the head."""
    for storage in ("bfloat16", "int4"):
        rows = costs.layer_costs(MIXED, 3, 2, 5, storage)
        stored = costs.stored_tensors(MIXED, storage)
        outside = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
        rest = sum(stored[name].nbytes for name in outside)
        assert sum(row.weight_bytes for row in rows) + rest == costs.weight_bytes(MIXED, storage)
        read = sum(row.bytes_read for row in rows) + stored["lm_head.weight"].nbytes
        assert read == costs.forward_bytes(MIXED, 3, 7, storage)
    assert tuple(row.parameters for row in rows) == costs.parameters_per_layer(MIXED)
    shapes = [(row.kv_heads, row.queries_per_kv_head, row.intermediate_size) for row in rows]
    assert shapes == [(4, 1, 5), (1, 2, 7), (3, 2, 6)]


def test_parameters_by_hand():
    # norms 2 x 6; q and o: 6 x 2H each; k and v: 6 x 2K each; gate, up and down: 6 F each
    layers = [12 + 12 * (4 + 4) * 2 + 18 * 5, 12 + 12 * (2 + 1) * 2 + 18 * 7, 12 + 12 * (6 + 3) * 2 + 18 * 6]
    assert costs.parameters_per_layer(MIXED) == tuple(layers)
    assert MIXED.num_parameters == 60 + sum(layers) + 6 + 60


@pytest.mark.parametrize("tied", [False, True])
def test_parts_by_hand(tied):
    config = replace(MIXED, tie_word_embeddings=tied)
    parts = costs.parameters_by_part(config)
    assert tuple(parts) == costs.PARTS
    assert parts == {
        "embedding": 10 * 6,
        "attention q, o": 2 * 6 * 2 * (4 + 2 + 6),
        "attention k, v": 2 * 6 * 2 * (4 + 1 + 3),
        "feed-forward": 3 * 6 * (5 + 7 + 6),
        "norms": (2 * 3 + 1) * 6,
        "head": 0 if tied else 10 * 6,
    }
    assert sum(parts.values()) == config.num_parameters


def test_the_published_numbers():
    decilm, llama = preset("decilm-6b"), preset("llama-2-7b")
    assert decilm.num_parameters == 5_717_102_592
    assert costs.kv_cache_bytes(decilm) == 25_600
    assert costs.kv_cache_bytes(llama) == 524_288
    assert costs.kv_cache_bytes(llama) / costs.kv_cache_bytes(decilm) == 20.48
    assert costs.kv_cache_bytes(decilm, context=4096) == 100 * 2**20
    assert costs.kv_cache_bytes(llama, context=4096) == 2 * 2**30
    assert costs.kv_cache_bytes(costs.padded_to_uniform(decilm)) == 65_536
    assert rope.dynamic_ntk_base(8192, decilm) == pytest.approx(30527.737, abs=5e-4)


def test_openelm_270m():
    """Query heads, KV heads and widths differ: lists from config.json of apple/OpenELM-270M."""
    heads = [12] * 5 + [16] * 7 + [20] * 4
    kv_heads = [3] * 5 + [4] * 7 + [5] * 4
    factors = [0.5, 0.73, 0.97, 1.2, 1.43, 1.67, 1.9, 2.13, 2.37, 2.6, 2.83, 3.07, 3.3, 3.53, 3.77, 4.0]
    widths = [int(1280 * factor + 128) // 256 * 256 for factor in factors]  # to the nearest multiple of 256
    layers = tuple(LayerConfig(k, f, h) for k, f, h in zip(kv_heads, widths, heads, strict=True))
    config = Config(32000, 1280, 20, 64, layers, 2048, tie_word_embeddings=True)
    assert costs.kv_cache_bytes(config) == 2 * 64 * 2 * (5 * 3 + 7 * 4 + 4 * 5)
    assert [row.queries_per_kv_head for row in costs.layer_costs(config)] == [4] * 16
    assert round(config.num_parameters / 1e9, 2) == 0.27
    first = 2 * 1280 * 12 * 64 + 2 * 1280 * 3 * 64 + 3 * 1280 * 768 + 2 * 1280
    assert costs.parameters_per_layer(config)[0] == first


def test_largest_batch_and_context_are_the_largest():
    decilm, memory = preset("decilm-6b"), 24 * 10**9
    for storage, cache in (("bfloat16", "bfloat16"), ("int4", "float32")):

        def needed(rows, tokens, storage=storage, cache=cache):
            return costs.weight_bytes(decilm, storage) + costs.kv_cache_bytes(decilm, rows, tokens, cache)

        rows = costs.largest_batch(decilm, memory, 1000, storage, cache, reserved_bytes=10**9)
        assert needed(rows, 1000) <= memory - 10**9 < needed(rows + 1, 1000)
        tokens = costs.largest_context(decilm, memory, 7, storage, cache, reserved_bytes=10**9)
        assert needed(7, tokens) <= memory - 10**9 < needed(7, tokens + 1)


def test_what_does_not_fit_is_0():
    assert costs.largest_batch(preset("decilm-6b"), 11 * 10**9, 1) == 0
    assert costs.largest_context(preset("decilm-6b"), 11 * 10**9) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: costs.largest_batch(TINY, 10**6, 0), "context: expected an integer of at least 1, found 0"),
        (lambda: costs.largest_context(TINY, 10**6, 0), "batch_size: expected an integer of at least 1"),
        (
            lambda: costs.largest_batch(TINY, 10**6, 1.5),
            "context: expected an integer of at least 1, found 1.5",
        ),
        (
            lambda: costs.kv_cache_bytes(TINY, -1, 4),
            "batch_size: expected an integer of at least 0, found -1",
        ),
        (lambda: costs.forward_flops(TINY, 1, 0), "new_tokens: expected an integer of at least 1, found 0"),
        (lambda: costs.layer_costs(TINY, past_tokens=-2), "past_tokens: expected an integer of at least 0"),
        (lambda: costs.weight_bytes(TINY, 1.5), "weights: expected the name of a storage or a Scheme, found"),
        (lambda: costs.weight_bytes(TINY, "int2"), "weights 'int2': choose from .*float64, int8, int4"),
        (lambda: costs.kv_cache_bytes(TINY, dtype="int8"), "KV cache 'int8': choose from float32, bfloat16"),
    ],
)
def test_what_has_no_cost_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_the_slower_of_reading_and_computing_sets_the_time():
    assert costs.roofline_seconds(100, 100, 10.0, 100.0) == (10.0, "memory")
    assert costs.roofline_seconds(100, 1000, 100.0, 100.0) == (10.0, "arithmetic")
    assert costs.roofline_seconds(100, 100, 10.0, 10.0) == (10.0, "memory")  # where both take as long
