from dataclasses import replace

import numpy as np
import pytest

import minidecilm
from minidecilm.backends import NUMPY
from minidecilm.config import Config, LayerConfig
from minidecilm.model import DeciLM
from minidecilm.observe import STAGES, Recorder
from tests import checks


@pytest.fixture(scope="module")
def model():
    return checks.golden_model()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2], r"expected \(B, T\) integers, found shape \(2,\)"),
        ([[]], r"found shape \(1, 0\)"),
        ([[1.0, 2.0]], "of float64"),
        ([[1, 512]], "512 is not in the vocabulary of 512"),
        ([[1, -1]], "-1 is not in the vocabulary"),
    ],
)
def test_bad_ids(model, ids, message):
    with pytest.raises(ValueError, match=message):
        model(ids)


@pytest.mark.parametrize(
    ("mask", "message"),
    [([[1]], r"found \(1, 1\)"), ([[1, 2, 1]], "nothing but 0 and 1"), ([1, 1, 1], r"found \(3,\)")],
)
def test_bad_masks(model, mask, message):
    with pytest.raises(ValueError, match=message):
        model([[1, 2, 3]], attention_mask=mask)


def test_ids_on_padding_are_not_looked_at(model):
    mask = [[0, 0, 1, 1]]
    np.testing.assert_array_equal(
        model([[-100, 32000, 3, 4]], attention_mask=mask), model([[0, 0, 3, 4]], attention_mask=mask)
    )


def test_mask_may_cover_the_new_tokens_or_all(model):
    def run(second_mask):
        cache = model.new_cache(2, 5)
        model([[0, 1, 2], [3, 4, 5]], cache, [[0, 1, 1], [1, 1, 1]])
        return model([[6, 7], [8, 9]], cache, second_mask)

    expected = run([[1, 1], [1, 1]])
    np.testing.assert_array_equal(run([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]), expected)
    np.testing.assert_array_equal(run(None), expected)
    with pytest.raises(ValueError, match="contradicts the mask of the tokens in the cache"):
        run([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])


def test_a_row_of_padding_only_is_harmless(model):
    logits = model([[1, 2], [0, 0]], attention_mask=[[1, 1], [0, 0]])
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[0], model([[1, 2]])[0], rtol=0, atol=1e-12)


def test_last_only_is_the_last_row(model):
    ids = [[5, 6, 7], [8, 9, 10]]
    np.testing.assert_allclose(model(ids, last_only=True), model(ids)[:, -1:], rtol=0, atol=1e-12)


def random_weights(config, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.1, shape) for name, shape in config.parameter_shapes().items()}


def tiny_config(**changes):
    sizes = {"vocab_size": 40, "hidden_size": 24, "num_attention_heads": 6, "head_dim": 4}
    layers = tuple(LayerConfig(k, 20) for k in (6, 3, 2, 1))
    return Config(**{**sizes, "layers": layers, "max_position_embeddings": 16, "rope_factor": 3.0, **changes})


def test_heads_that_are_no_powers_of_two():
    config = tiny_config(rope_theta=777.0)
    model = DeciLM(config, random_weights(config), NUMPY, "float64", "exact")
    ids = np.arange(30)[None]
    np.testing.assert_allclose(checks.feed(model, ids, [1] * 30), model(ids), rtol=0, atol=1e-9)


def test_tied_embeddings_use_the_embedding_as_head():
    tied = tiny_config(tie_word_embeddings=True)
    weights = random_weights(tied)
    untied = tiny_config()
    copies = {**weights, "lm_head.weight": weights["model.embed_tokens.weight"]}
    ids = [[1, 2, 3]]
    np.testing.assert_array_equal(
        DeciLM(tied, weights, NUMPY, "float64")(ids), DeciLM(untied, copies, NUMPY, "float64")(ids)
    )


def test_head_dim_may_differ_from_hidden_over_heads():
    config = tiny_config(head_dim=8)
    assert DeciLM(config, random_weights(config), NUMPY, "float64")([[1, 2]]).shape == (1, 2, 40)


def test_layers_may_differ_in_width():
    config = tiny_config(layers=(LayerConfig(6, 20), LayerConfig(1, 12)))
    assert DeciLM(config, random_weights(config), NUMPY, "float64")([[1, 2]]).shape == (1, 2, 40)


def deafened(config, weights):
    """The same network with as many heads in every layer: those added are computed, and not listened to.

    Query heads keep their KV head only where all groups have one size.
    """
    E, D, rng = config.hidden_size, config.head_dim, np.random.default_rng(1)
    heads_of_layers = config.num_attention_heads_per_layer, config.num_key_value_heads_per_layer
    assert len({heads // kv_heads for heads, kv_heads in zip(*heads_of_layers, strict=True)}) == 1
    most_heads, most_kv = map(max, heads_of_layers)
    layers = tuple(LayerConfig(most_kv, layer.intermediate_size) for layer in config.layers)
    wide = replace(config, num_attention_heads=most_heads, layers=layers)
    padded = dict(weights)
    for index in range(len(layers)):
        for name, heads in (("q_proj", most_heads), ("k_proj", most_kv), ("v_proj", most_kv)):
            key = f"model.layers.{index}.self_attn.{name}.weight"
            more = rng.normal(0, 0.1, (heads * D - len(weights[key]), E))
            padded[key] = np.concatenate([weights[key], more])
        key = f"model.layers.{index}.self_attn.o_proj.weight"
        deaf = np.zeros((E, most_heads * D - weights[key].shape[1]))
        padded[key] = np.concatenate([weights[key], deaf], axis=1)
    return wide, padded


@pytest.mark.parametrize("rope", ["reference", "fixed", "exact"])
def test_layers_may_differ_in_query_heads(rope):
    """Beyond M tokens too, fed whole and token by token."""
    config = tiny_config(layers=(LayerConfig(3, 24, 6), LayerConfig(2, 20, 4), LayerConfig(1, 16, 2)))
    weights = random_weights(config)
    wide, padded = deafened(config, weights)
    ids = np.random.default_rng(2).integers(40, size=(2, 20))
    model, other = (DeciLM(*pair, NUMPY, "float64", rope) for pair in ((config, weights), (wide, padded)))
    np.testing.assert_allclose(model(ids), other(ids), rtol=0, atol=1e-12)
    for chunks in ([1] * 20, [13, 1, 6]):
        fed = [checks.feed(each, ids, chunks) for each in (model, other)]
        np.testing.assert_allclose(*fed, rtol=0, atol=1e-12)
    seen = Recorder(["q", "attention_weights"])
    model(ids, observer=seen)
    assert [seen.values[layer, "q"].shape[1] for layer in range(3)] == [6, 4, 2]
    assert seen.values[2, "attention_weights"].shape == (2, 2, 20, 20)


def test_unknown_dtype_and_policy_are_refused(model):
    with pytest.raises(ValueError, match=r"float16.*float32 or float64"):
        DeciLM(model.config, model.weights, NUMPY, "float16")
    with pytest.raises(ValueError, match=r"'dynamic'.*reference, fixed, exact"):
        DeciLM(model.config, model.weights, NUMPY, rope_policy="dynamic")


@pytest.mark.parametrize("rope", ["reference", "exact"])
def test_every_stage_is_shown_in_its_shape(rope):
    model = checks.golden_model(rope=rope)
    seen = Recorder()
    logits = model(np.arange(2 * 70).reshape(2, 70), observer=seen)
    rotated = {"q_rotated", "k_rotated"}
    assert {stage for _, stage in seen.values} == set(STAGES) - (rotated if rope == "exact" else set())
    for layer, heads in enumerate(model.config.num_key_value_heads_per_layer):
        assert seen.values[layer, "k"].shape == (2, heads, 70, 16)
        weights = seen.values[layer, "attention_weights"]
        assert weights.shape == (2, 8, 70, 70)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=0, atol=1e-12)
        assert not weights[:, :, np.triu_indices(70, 1)[0], np.triu_indices(70, 1)[1]].any()
    np.testing.assert_array_equal(seen.values[None, "lm_head"], logits)


def test_unknown_stage_is_refused():
    with pytest.raises(ValueError, match="no stage 'logits'"):
        Recorder(["logits"])


def test_float32_and_float64_differ_by_rounding_only():
    """The float64 test for noise: a mistake would not shrink with the precision."""
    ids = checks.golden_data()["short.input_ids"]
    narrow, wide = (checks.golden_model(dtype) for dtype in ("float32", "float64"))
    assert minidecilm.first_difference(minidecilm.compare(wide, narrow, ids), tolerance=1e-4) is None
