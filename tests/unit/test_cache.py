import json
from dataclasses import replace

import numpy as np
import pytest

import minidecilm
from minidecilm import costs
from minidecilm.cache import KVCache
from minidecilm.errors import CheckpointError
from minidecilm.model import DeciLM
from minidecilm.weights.safetensors_file import (
    TensorSource,
    read_metadata,
    read_safetensors,
    write_safetensors,
)
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


def test_a_cache_of_another_policy_is_refused():
    cache = checks.golden_model(rope="exact").new_cache(1, 4)
    with pytest.raises(ValueError, match="cache holds keys of rope='exact', this model has 'reference'"):
        checks.golden_model()([[1]], cache)


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


LONG = np.random.default_rng(3).integers(3, 500, (1, 90))  # M = 64


def fed(model, *ends, planned=None):
    """Return a cache that has read LONG in calls up to these tokens."""
    cache, start = model.new_cache(1, 96, planned), 0
    for end in ends:
        model(LONG[:, start:end], cache)
        start = end
    return cache


def assert_goes_on_alike(model, found, expected):
    checks.same_state(found, expected)
    for part in (slice(0, 3), slice(3, 4)):
        np.testing.assert_array_equal(model(LONG[:, part], found), model(LONG[:, part], expected))
    checks.same_state(found, expected)


@pytest.mark.parametrize(
    ("policy", "calls", "length"),
    [
        ("reference", (30, 40, 64), 40),
        ("reference", (40, 60, 61, 80), 60),  # later calls went beyond M, those that are kept did not
        ("reference", (40, 64, 65, 66), 64),
        ("exact", (50, 70, 80), 50),
        ("exact", (50, 70, 80), 70),
        ("fixed", (50, 70, 80), 50),
        ("fixed", (50, 70, 80), 70),
    ],
)
def test_trim_is_right_where_it_is_allowed(policy, calls, length):
    """Beyond M too, where every call is bit for bit what it was; and again after going beyond M once more."""
    model = checks.golden_model(rope=policy)
    cache = fed(model, *calls)
    for _ in range(2):
        cache.trim(length)
        assert_goes_on_alike(model, cache.fork(), fed(model, *(end for end in calls if end <= length)))
        model(LONG[:, length:80], cache)


def test_exact_may_be_cut_within_a_call():
    """Keys are those of any feeding; how a product rounds may hang by the tokens of its call."""
    model = checks.golden_model(rope="exact")
    cache, expected = fed(model, 90), fed(model, 70)
    cache.trim(70)
    assert cache.rope_base.tolist() == expected.rope_base.tolist()
    checks.assert_close(model(LONG[:, :4], cache), model(LONG[:, :4], expected), model)


@pytest.mark.parametrize(
    ("calls", "length", "unscaled"),
    [((80,), 50, 0), ((40, 65), 64, 40), ((40, 65), 41, 40), ((40, 64, 65, 66), 65, 64)],
)
def test_reference_refuses_to_trim_what_a_call_beyond_the_context_stored(calls, length, unscaled):
    model = checks.golden_model()
    cache = fed(model, *calls)
    said = (
        rf"rope='reference' cannot trim {calls[-1]} slots to {length}: from {unscaled} on they keep the "
        "rotary base of a call beyond the 64 tokens of the context; fork before such a call, feed the "
        r"shorter text into a new cache, or load with rope='exact'$"
    )
    for whose in (cache, cache.fork()):
        with pytest.raises(ValueError, match=said):
            whose.trim(length)
        assert whose.length == calls[-1]
        whose.trim(calls[-1])  # forgets nothing
        whose.trim(unscaled)
        assert_goes_on_alike(model, whose, fed(model, *(end for end in calls if end <= unscaled)))


def test_a_model_without_scaling_is_trimmed_anywhere():
    sound = checks.golden_model()
    model = DeciLM(replace(sound.config, rope_factor=None), sound.weights, sound.backend, "float64")
    cache = fed(model, 70, 80)
    cache.trim(70)
    assert_goes_on_alike(model, cache, fed(model, 70))


def test_a_call_beyond_the_context_is_remembered_after_going_back():
    cache = fed(checks.golden_model(), 60)
    cache.trim(10)
    checks.golden_model()(LONG[:, 10:80], cache)
    with pytest.raises(ValueError, match="from 10 on they keep"):
        cache.trim(60)


def test_a_fork_keeps_each_rows_plan_and_base():
    model = checks.golden_model(rope="fixed")
    cache = model.new_cache(2, 96, planned_lengths=[80, 20])
    model(LONG[:, :20].repeat(2, axis=0), cache)
    copy = cache.fork([1, 0, 0], max_length=120)
    assert copy.planned_lengths.tolist() == [20, 80, 80]
    assert copy.rope_base.tolist() == [10000.0, *[cache.rope_base[0]] * 2]
    assert copy.rope_base[1] > 10000.0


@pytest.mark.parametrize("length", [-1, 5, 2.5])
def test_impossible_trims_are_refused(length):
    with pytest.raises((ValueError, TypeError), match=r"length: expected 0 to the 4 used slots|integer"):
        fed(checks.golden_model(), 4).trim(length)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": [0, 1]}, r"rows: expected some of 0 to 0, found \[0, 1\]"),
        ({"rows": [-1]}, r"rows: expected some of 0 to 0, found \[-1\]"),
        ({"rows": []}, "rows: expected some of 0 to 0"),
        ({"max_length": 3}, "room for 3 slots, 0 are used and this call adds 4: make it with max_length=4"),
        ({"max_length": 0}, "max_length of at least 1"),
    ],
)
def test_impossible_forks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fed(checks.golden_model(), 4).fork(**arguments)


def golden(**options):
    return minidecilm.load(checks.GOLDEN, **{"backend": "numpy"} | options).model


@pytest.mark.parametrize("kv_cache", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("policy", ["reference", "fixed", "exact"])
def test_a_saved_cache_goes_on_bit_for_bit(policy, kv_cache, tmp_path):
    dtype = "float64" if kv_cache == "float64" else "float32"
    model = golden(dtype=dtype, rope=policy, kv_cache="bfloat16" if kv_cache == "bfloat16" else "compute")
    ids, mask = LONG[:, :70].repeat(2, axis=0), np.ones((2, 70), int)
    mask[1, :9] = 0
    cache = model.new_cache(2, 96, planned_lengths=[90, 75])
    model(ids[:, :50], cache, mask[:, :50])
    model(ids[:, 50:], cache, mask[:, 50:])
    cache.save(tmp_path / "a.cache")
    found = model.load_cache(tmp_path / "a.cache", 80)
    assert (found.max_length, found.keys[0].dtype) == (80, cache.keys[0].dtype)
    checks.same_state(found, cache)
    for part in (slice(0, 3), slice(3, 4)):
        np.testing.assert_array_equal(model(ids[:, part], found), model(ids[:, part], cache))
    if policy == "reference":
        with pytest.raises(ValueError, match="from 50 on they keep"):
            found.trim(60)
    found.trim(50)
    assert (tmp_path / "a.cache").stat().st_size < cache.nbytes  # used slots only


def test_a_saved_cache_keeps_its_file_until_the_new_one_is_whole(tmp_path, monkeypatch):
    cache, path = fed(golden(), 5), tmp_path / "a.cache"
    cache.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(minidecilm.cache, "on_host", lambda array: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cache.save(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["a.cache"]


def rewritten(path, about=None, **tensors):
    """Write a saved cache anew with some of its metadata and tensors changed; None takes them away."""
    metadata, arrays = read_metadata(path), {**read_safetensors(path), **tensors}
    metadata["cache"] = json.dumps(json.loads(metadata["cache"]) | (about or {}))
    arrays = {name: np.array(array) for name, array in arrays.items() if array is not None}
    write_safetensors(path, [TensorSource.from_array(*item) for item in arrays.items()], metadata)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "the file is damaged"),
        (lambda path: path.write_bytes(b"hello"), "a safetensors file.*found a file of 5 bytes"),
        (
            lambda path: write_safetensors(path, []),
            "expected format 'minidecilm key-value cache 1', found None",
        ),
        (
            lambda path: write_safetensors(path, [], {"format": "minidecilm key-value cache 1"}),
            "cache: not valid JSON",
        ),
        (lambda path: rewritten(path, {"config": 7}), "expected a config, found 7"),
        (lambda path: rewritten(path, {"rope": "exact"}), "saved with rope 'exact', here it is 'reference'"),
        (lambda path: rewritten(path, {"unscaled": 6}), "unscaled of 0 to 5, found 6"),
        (lambda path: rewritten(path, {"unscaled": True}), "unscaled of 0 to 5, found True"),
        (lambda path: rewritten(path, {"planned_lengths": []}), r"planned_lengths of 1 rows, found \[\]"),
        (lambda path: rewritten(path, {"planned_lengths": [2**60]}), "planned_lengths of 1 rows"),
        (lambda path: rewritten(path, real=None), "real of .rows, slots. 0 and 1, found None"),
        (lambda path: rewritten(path, real=np.full((1, 5), 2, np.uint8)), "real of .rows, slots. 0 and 1"),
        (
            lambda path: rewritten(path, real=np.ones((1, 4), np.uint8)),
            r"layers.0.keys of \(1, 4, 4, 16\) float32, found '\(1, 4, 5, 16\) float32'",
        ),
        (lambda path: rewritten(path, **{"layers.5.values": None}), "keys and values of 6 layers"),
        (
            lambda path: rewritten(path, **{"layers.2.values": np.full((1, 1, 5, 16), np.nan, np.float32)}),
            "finite numbers in layers.2.values",
        ),
    ],
)
def test_a_damaged_cache_is_refused_in_one_line(damage, message, tmp_path):
    model, path = golden(), tmp_path / "a.cache"
    fed(model, 5).save(path)
    damage(path)
    with pytest.raises(CheckpointError, match=message) as refused:
        model.load_cache(path, 10)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_cache_of_another_model_is_refused_by_what_differs(tmp_path):
    model, path = golden(), tmp_path / "a.cache"
    fed(model, 5).save(path)
    with pytest.raises(
        CheckpointError, match=r"saved with \w+ of the model .*: load the model as it was then"
    ):
        minidecilm.load("demo").model.load_cache(path, 10)
    with pytest.raises(CheckpointError, match="saved with rope 'reference', here it is 'exact'"):
        golden(rope="exact").load_cache(path, 10)
    with pytest.raises(CheckpointError, match="saved with kv_cache 'float32', here it is 'bfloat16'"):
        golden(kv_cache="bfloat16").load_cache(path, 10)
    with pytest.raises(ValueError, match="room for 4 slots, 0 are used and this call adds 5"):
        model.load_cache(path, 4)
