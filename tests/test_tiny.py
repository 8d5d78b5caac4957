"""Read this first: the whole package in one page, from loading a model to looking inside it."""

import numpy as np

import minidecilm
from minidecilm import costs


def test_text_comes_out():
    lm = minidecilm.load("demo")
    text = lm.generate("Once upon a time", max_new_tokens=60, temperature=0.7, seed=0)
    assert len(text.split()) > 20
    assert text.startswith((" ", ","))  # the text as it follows the prompt


def test_every_layer_has_its_own_kv_heads():
    config = minidecilm.preset("decilm-6b")
    assert config.num_key_value_heads_per_layer == (4, *[2] * 9, *[1] * 20, 4, 4)
    assert config.num_parameters == 5_717_102_592


def test_the_small_cache_is_what_that_buys():
    decilm, llama = minidecilm.preset("decilm-6b"), minidecilm.preset("llama-2-7b")
    assert costs.kv_cache_bytes(decilm, context=4096) == 100 * 2**20
    assert costs.kv_cache_bytes(llama, context=4096) == 2 * 2**30


def test_with_and_without_a_cache_the_logits_are_the_same():
    model = minidecilm.load("demo", dtype="float64").model
    ids = np.array([[1, 400, 500, 600, 700]])
    cache = model.new_cache(batch_size=1, max_length=5)
    token_by_token = [model(ids[:, t : t + 1], cache) for t in range(5)]
    np.testing.assert_allclose(np.concatenate(token_by_token, axis=1), model(ids), rtol=0, atol=1e-10)


def test_attention_can_be_looked_at():
    lm = minidecilm.load("demo")
    seen = minidecilm.Recorder(["attention_weights"])
    ids = lm.tokenizer.encode("Once upon a time")
    lm.model([ids], observer=seen)
    weights = seen.values[0, "attention_weights"]  # layer 0: (B, H, T, S)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
