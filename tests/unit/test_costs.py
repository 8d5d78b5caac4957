"""Counts of arithmetic and bytes: against counts by hand, and against what a running model does."""

from dataclasses import replace

import numpy as np
import pytest

from minidecilm import costs
from minidecilm.backends import create_backend
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


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize(("new", "past"), [(1, 0), (5, 0), (1, 9), (4, 3)])
def test_flops_are_those_of_a_run(new, past, last_only, tied):
    """Count every product that a model asks its backend for."""
    config = replace(TINY, tie_word_embeddings=tied)
    numpy, counted = create_backend("numpy"), []

    def linear(x, weight):
        counted.append(2 * x.size * len(weight))
        return numpy.linear(x, weight)

    def attention(q, k, v, visible, *rest):
        B, H, T, D = q.shape
        counted.append(2 * 2 * H * D * int(np.broadcast_to(visible, (B, T, k.shape[2])).sum()))
        return numpy.attention(q, k, v, visible, *rest)

    weights = {name: np.ones(shape, np.float32) for name, shape in config.parameter_shapes().items()}
    model = DeciLM(config, weights, replace(numpy, linear=linear, attention=attention))
    batch_size = 3
    cache = model.new_cache(batch_size, past + new)
    if past:
        model(np.ones((batch_size, past), int), cache)
    counted.clear()
    model(np.ones((batch_size, new), int), cache, last_only=last_only)
    assert costs.forward_flops(config, batch_size, new, past, last_only=last_only) == sum(counted)


def test_the_slower_of_reading_and_computing_sets_the_time():
    assert costs.roofline_seconds(100, 100, 10.0, 100.0) == (10.0, "memory")
    assert costs.roofline_seconds(100, 1000, 100.0, 100.0) == (10.0, "arithmetic")
