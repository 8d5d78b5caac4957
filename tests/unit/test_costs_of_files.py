"""Predicted bytes against bytes: of caches that exist, of tensors in files."""

from dataclasses import replace

import pytest

import minidecilm
from minidecilm import costs, write_random_checkpoint
from minidecilm.cache import KVCache
from minidecilm.catalog import DEMO_FOLDER
from minidecilm.config import LayerConfig
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.packed import GROUPS
from minidecilm.weights.quantize import quantize_checkpoint
from minidecilm.weights.random_weights import random_weights
from minidecilm.weights.scheme import Scheme
from tests import checks
from tests.configs import ODD


def tensors_of(weights):
    """What is stored of every tensor, as :func:`minidecilm.costs.stored_tensors` predicts it."""
    return {name: (str(weight.dtype), weight.nbytes) for name, weight in weights.items()}


def bytes_in(checkpoint):
    """Bytes behind the headers of a checkpoint's files."""
    total = 0
    for path in checkpoint.files:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        total += path.stat().st_size - 8 - header
    return total


def assert_predicted(folder, storage):
    checkpoint = open_checkpoint(folder)
    assert costs.stored_tensors(checkpoint.config, storage) == tensors_of(checkpoint.tensors)
    assert costs.weight_bytes(checkpoint.config, storage) == checkpoint.nbytes == bytes_in(checkpoint)


@pytest.mark.parametrize("kv_cache", ["float32", "bfloat16"])
@pytest.mark.parametrize(("rows", "length"), [(1, 16), (3, 101)])
def test_cache_of_a_model(rows, length, kv_cache):
    model = minidecilm.load("demo", kv_cache=kv_cache).model
    cache = model.new_cache(rows, length)
    assert costs.kv_cache_bytes(model.config, rows, length, kv_cache) == cache.nbytes
    per_layer = [keys.nbytes + values.nbytes for keys, values in zip(cache.keys, cache.values, strict=True)]
    assert list(costs.kv_cache_bytes_per_layer(model.config, rows, length, kv_cache)) == per_layer


def test_cache_of_layers_that_differ_in_query_heads():
    config = replace(ODD, layers=(LayerConfig(5, 45), LayerConfig(2, 30, 4), LayerConfig(3, 20, 9)))
    assert costs.kv_cache_bytes(config, 2, 7) == KVCache(config, 2, 7, "bfloat16").nbytes


def test_demo_and_golden_files():
    assert_predicted(DEMO_FOLDER, None)
    assert_predicted(checks.GOLDEN, None)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_random_files(tmp_path, dtype, tied):
    write_random_checkpoint(replace(ODD, tie_word_embeddings=tied), tmp_path / "random", dtype=dtype)
    assert_predicted(tmp_path / "random", dtype)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_quantised_files(tmp_path, weights, group, tied):
    write_random_checkpoint(replace(ODD, tie_word_embeddings=tied), tmp_path / "random")
    quantize_checkpoint(tmp_path / "random", tmp_path / "packed", weights, group)
    assert_predicted(tmp_path / "packed", Scheme(weights, group))


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_the_quantised_demo(tmp_path, weights):
    quantize_checkpoint(DEMO_FOLDER, tmp_path / weights, weights)
    assert_predicted(tmp_path / weights, weights)
    with pytest.raises(AssertionError):
        assert_predicted(tmp_path / weights, Scheme(weights, 128))


@pytest.mark.parametrize("storage", ["float64", "float32", "bfloat16", "int8", "int4"])
def test_weights_in_memory(storage):
    """Layers that differ in everything: config.json cannot say so, hence no file."""
    config = replace(ODD, layers=(LayerConfig(5, 45), LayerConfig(2, 30, 4), LayerConfig(3, 20, 9)))
    assert costs.stored_tensors(config, storage) == tensors_of(random_weights(config, storage))


def test_random_weights_of_an_unknown_storage():
    with pytest.raises(ValueError, match=r"weights 'int16': choose from float32, .*, int4"):
        random_weights(ODD, "int16")
