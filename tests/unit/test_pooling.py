"""Pooled KV heads: equal heads change nothing, others average as by hand, impossible heads are refused."""

from dataclasses import replace

import numpy as np
import pytest

import minidecilm
from minidecilm.backends import NUMPY
from minidecilm.config import Config, LayerConfig
from minidecilm.experiments.pooling import pool_kv_heads
from minidecilm.model import DeciLM
from minidecilm.observe import Recorder
from minidecilm.weights.random_weights import random_weights

CONFIG = Config(
    vocab_size=40,
    hidden_size=24,
    num_attention_heads=8,
    head_dim=6,
    layers=(LayerConfig(4, 32), LayerConfig(8, 32), LayerConfig(2, 32)),
    max_position_embeddings=32,
)
IDS = np.random.default_rng(1).integers(0, 40, (2, 9))
KV = ("k_proj", "v_proj")


def name(layer, projection):
    return f"model.layers.{layer}.self_attn.{projection}.weight"


@pytest.fixture
def weights():
    """Large enough for attention to differ clearly from an even mix."""
    return {
        key: array * 12 if array.ndim == 2 else array
        for key, array in random_weights(CONFIG, "float64").items()
    }


def network(config, weights):
    return DeciLM(config, weights, NUMPY, "float64")


def heads_of(weight):
    return weight.reshape(-1, CONFIG.head_dim, CONFIG.hidden_size)  # (K, D, E)


def test_heads_that_are_equal_may_be_pooled_without_a_change(weights):
    for layer, distinct in ((0, 2), (1, 2), (2, 1)):
        for projection in KV:
            K = CONFIG.layers[layer].num_key_value_heads
            each = heads_of(weights[name(layer, projection)])[:distinct]
            weights[name(layer, projection)] = np.repeat(each, K // distinct, axis=0).reshape(-1, 24)
    before = network(CONFIG, weights)(IDS)
    after = network(*pool_kv_heads(CONFIG, weights, (2, 2, 1)))(IDS)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-12)
    # One head fewer is one too few: what was pooled then differs.
    fewer = network(*pool_kv_heads(CONFIG, weights, (1, 2, 1)))(IDS)
    assert np.abs(fewer - before).max() > 1e-3


@pytest.mark.parametrize(("layer", "new"), [(0, 2), (0, 1), (1, 4), (1, 2), (2, 1)])
def test_pooled_attention_is_attention_over_averaged_keys_and_values(weights, layer, new):
    """By hand, head by head, from the keys and values that the whole model has at every position."""
    heads = list(CONFIG.num_key_value_heads_per_layer)
    old, heads[layer] = heads[layer], new
    stages = ["q_rotated", "k_rotated", "v", "attention"]
    seen, pooled = Recorder(stages), Recorder(stages)
    network(CONFIG, weights)(IDS, observer=seen)
    config, changed = pool_kv_heads(CONFIG, weights, heads)
    network(config, changed)(IDS, observer=pooled)

    q, k, v, _ = (seen.values[layer, stage] for stage in stages)  # (B, H or K, T, D)
    B, H, T, D = q.shape
    expected = np.zeros((B, H, T, D))
    for h in range(H):
        j = h // (H // new)
        members = range(j * (old // new), (j + 1) * (old // new))
        assert h // (H // old) in members  # the head that this query read before is in the mean
        keys = sum(k[:, member] for member in members) / len(members)  # (B, T, D)
        values = sum(v[:, member] for member in members) / len(members)
        for b in range(B):
            for t in range(T):
                scores = np.exp(keys[b, : t + 1] @ q[b, h, t] / np.sqrt(D))
                expected[b, h, t] = scores / scores.sum() @ values[b, : t + 1]
    np.testing.assert_allclose(pooled.values[layer, "attention"], expected, rtol=0, atol=1e-12)


def test_only_what_changes_is_new(weights):
    config, pooled = pool_kv_heads(CONFIG, weights, (4, 2, 2))
    assert config.num_key_value_heads_per_layer == (4, 2, 2)
    assert config == replace(CONFIG, layers=(LayerConfig(4, 32), LayerConfig(2, 32), LayerConfig(2, 32)))
    changed = {name(1, projection) for projection in KV}
    assert {key for key in weights if pooled[key] is not weights[key]} == changed
    assert {key: array.shape for key, array in pooled.items()} == config.parameter_shapes()
    assert weights[name(1, "k_proj")].shape == (48, 24)


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "float16"])
def test_the_storage_dtype_stays_and_means_are_rounded_once(storage):
    stored = random_weights(CONFIG, storage)
    _, pooled = pool_kv_heads(CONFIG, stored, (1, 1, 1))
    for layer in range(3):
        for projection in KV:
            exact = heads_of(stored[name(layer, projection)].astype(np.float64)).mean(axis=0)
            found = pooled[name(layer, projection)]
            assert str(found.dtype) == storage
            np.testing.assert_array_equal(found, exact.astype(found.dtype))


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ((4, 8), "expected 3 entries, one per layer, found 2"),
        ((3, 8, 2), r"kv_heads\[0\]: expected a divisor of the layer's 4 heads \(1, 2, 4\), found 3"),
        ((4, 16, 2), r"kv_heads\[1\]: .*8 heads.*found 16"),
        ((4, 8, 0), r"kv_heads\[2\]: .*found 0"),
        ((4.0, 8, 2), r"kv_heads\[0\]: .*found 4.0"),
        ((True, 8, 2), r"kv_heads\[0\]: .*found True"),
    ],
)
def test_heads_that_cannot_be_reached_are_refused(weights, heads, message):
    with pytest.raises(ValueError, match=message):
        pool_kv_heads(CONFIG, weights, heads)


def test_packed_weights_are_refused():
    lm = minidecilm.load("demo", weights="int8")
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.k_proj.*pool first, then quantise"):
        pool_kv_heads(lm.config, lm.model.weights, [1] * 8)


def test_weights_of_another_model_are_refused():
    lm = minidecilm.load("demo")
    name = "model.layers.0.self_attn.k_proj.weight"
    with pytest.raises(ValueError, match=rf"{name}: expected the config's shape \(64, 128\), found none"):
        pool_kv_heads(lm.config, {}, [1] * 8)
    with pytest.raises(ValueError, match=rf"{name}: .* found \(2, 2\)"):
        pool_kv_heads(lm.config, {**lm.model.weights, name: np.ones((2, 2))}, [1] * 8)
