import numpy as np
import pytest

import minidecilm
from minidecilm import costs
from minidecilm.cache import KVCache
from tests import checks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 16), (3, 101)])
def test_bytes_are_what_the_formula_says(dtype, shape):
    model = checks.golden_model(dtype)
    cache = model.new_cache(*shape)
    expected = costs.kv_cache_bytes(model.config, *shape, dtype=dtype)
    assert cache.nbytes == expected
    assert cache.used_nbytes == 0
    model(np.ones((shape[0], 4), int), cache)
    assert cache.used_nbytes == expected * 4 // shape[1]


def test_published_bytes_per_token():
    decilm, llama = (costs.kv_cache_bytes(minidecilm.preset(name)) for name in ("decilm-6b", "llama-2-7b"))
    assert (decilm, llama, llama / decilm) == (25_600, 524_288, 20.48)
    assert costs.kv_cache_bytes(minidecilm.preset("decilm-7b")) == 34_304


@pytest.mark.parametrize(
    ("kv_cache", "dtype"), [("compute", "float64"), ("float32", "float32"), ("bfloat16", "bfloat16")]
)
def test_keys_and_values_are_stored_as_asked(kv_cache, dtype):
    model = minidecilm.load(checks.GOLDEN, backend="numpy", dtype="float64", kv_cache=kv_cache).model
    cache = model.new_cache(1, 4)
    assert {str(array.dtype) for array in (*cache.keys, *cache.values)} == {dtype}
    assert model([[1, 2]], cache).dtype == np.float64


def test_layers_have_their_own_heads():
    cache = checks.golden_model().new_cache(2, 8)
    assert [keys.shape[1] for keys in cache.keys] == [4, 2, 1, 1, 2, 4]
    assert [values.shape[1] for values in cache.values] == [4, 2, 1, 1, 2, 4]


def test_a_full_cache_says_what_to_make():
    model = checks.golden_model()
    cache = model.new_cache(1, 4)
    model([[1, 2, 3]], cache)
    with pytest.raises(ValueError, match=r"room for 4 slots, 3 are used and this call adds 2.*max_length=5"):
        model([[4, 5]], cache)
    assert cache.length == 3


def test_another_batch_size_is_refused():
    model = checks.golden_model()
    with pytest.raises(ValueError, match="made for batch size 2, this call has 1 rows"):
        model([[1]], model.new_cache(2, 4))


def test_a_call_that_fails_leaves_the_cache_usable():
    """Ctrl-C in the middle of a forward pass: the same call again gives the same result."""
    model = checks.golden_model()
    expected = model([[1, 2, 3]])

    class Interrupt:
        stages = ("hidden_states",)

        def __call__(self, layer, stage, value):
            if layer == 2:
                raise KeyboardInterrupt

    cache = model.new_cache(1, 3)
    model([[1, 2]], cache)
    with pytest.raises(KeyboardInterrupt):
        model([[500]], cache, observer=Interrupt())
    assert (cache.length, cache.row_lengths.tolist()) == (2, [2])
    np.testing.assert_allclose(model([[3]], cache)[:, -1], expected[:, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", [(0, 4), (1, 0), (-1, 4)])
def test_empty_caches_are_refused(sizes):
    with pytest.raises(ValueError, match="at least 1"):
        KVCache(minidecilm.preset("decilm-6b"), *sizes, dtype="float32")
