"""Roofline times: they add up to the pass, switch where they must, and bound what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from minidecilm import costs
from minidecilm.config import LayerConfig
from minidecilm.costs import Device
from minidecilm.presets import preset
from tests.configs import SMALL

FULL_SIZE = Path(__file__).parents[2] / "benchmarks" / "results" / "full_size.json"
MIXED = replace(
    SMALL, layers=(LayerConfig(4, 96), LayerConfig(1, 70, 2), LayerConfig(2, 96)), rope_factor=None
)
MACHINE = Device("machine", "A machine", 10**9, 100.0, {"float32": 1000.0, "bfloat16": 4000.0}, {})


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("storage", [None, "float32", "int8", "int4"])
@pytest.mark.parametrize(("rows", "new", "past"), [(1, 1, 0), (3, 1, 40), (2, 17, 0), (2, 5, 9)])
def test_operations_add_up_to_the_pass(rows, new, past, storage, tied):
    config = replace(MIXED, tie_word_embeddings=tied)
    times = costs.operation_times(config, MACHINE, rows, new, past, storage, "float32")
    nbytes = costs.forward_bytes(config, rows, past + new, storage, "float32")
    assert sum(time.nbytes for time in times) == nbytes
    assert sum(time.flops for time in times) == costs.forward_flops(config, rows, new, past)
    names = [time.operation for time in times]
    assert names == ["attention q, o", "attention k, v", "attention", "feed-forward", "head"]


def test_seconds_by_hand():
    times = {time.operation: time for time in costs.operation_times(MIXED, MACHINE, 3, 1, 40, "bfloat16")}
    head = times["head"]
    assert (head.nbytes, head.flops) == (2 * 80 * 64, 2 * 3 * 80 * 64)
    assert (head.seconds, head.limit) == (head.nbytes / 100, "memory")  # computing takes 30720 / 4000 s
    attention = times["attention"]
    assert attention.nbytes == 3 * 41 * 2 * (4 + 1 + 2) * 16 * 2
    assert attention.flops == 3 * 41 * 4 * (4 + 2 + 4) * 16
    many = {time.operation: time for time in costs.operation_times(MIXED, MACHINE, 300, 1, 40, "float32")}
    assert (many["head"].seconds, many["head"].limit) == (2 * 300 * 80 * 64 / 1000, "arithmetic")


@pytest.mark.parametrize(("kv_cache", "rate"), [("float32", 1000.0), ("bfloat16", 4000.0)])
def test_each_operation_is_computed_in_what_it_reads(kv_cache, rate):
    """Weights in the arithmetic of their storage, attention in that of the cache; reading takes no time."""
    machine = replace(MACHINE, bytes_per_second=1e12)
    for storage, of_weights in (("float32", 1000.0), ("bfloat16", 4000.0)):
        for time in costs.operation_times(MIXED, machine, 3, 1, 40, storage, kv_cache):
            expected = time.flops / (rate if time.operation == "attention" else of_weights)
            assert (time.seconds, time.limit) == (expected, "arithmetic"), time.operation


def test_a_published_bound_is_of_its_device_and_batch():
    point = costs.PublishedThroughput("decilm-6b", "PyTorch", "h100", 32, 1.0)
    config, h100 = preset("decilm-6b"), costs.device("h100")
    for kv_cache, width in (("bfloat16", 2), ("float32", 4)):
        nbytes = 2 * 5_585_764_352 + 32 * 700 * 12_800 * width
        assert point.bound(config, 700, kv_cache) == pytest.approx(32 * h100.bytes_per_second / nbytes)


def test_rates_are_tokens_over_seconds():
    decode = costs.operation_times(MIXED, MACHINE, 3, 1, 40)
    rate = costs.decode_tokens_per_second(MIXED, MACHINE, 3, context=41)
    assert rate == pytest.approx(3 / sum(time.seconds for time in decode))
    prefill = costs.operation_times(MIXED, MACHINE, 3, 41)
    rate = costs.prefill_tokens_per_second(MIXED, MACHINE, 3, new_tokens=41)
    assert rate == pytest.approx(3 * 41 / sum(time.seconds for time in prefill))


def test_batch_at_which_an_a10_is_busy():
    """A bfloat16 weight takes 2 bytes and 2 operations a row: reading is slower up to 125e12 / 600e9 rows."""
    config, a10 = preset("decilm-6b"), costs.device("a10")

    def limits(rows):
        return {time.operation: time.limit for time in costs.operation_times(config, a10, rows)}

    assert limits(208)["feed-forward"] == "memory"
    assert limits(209)["feed-forward"] == "arithmetic"
    assert limits(209)["attention"] == "memory"  # each row reads its own cache


@pytest.mark.parametrize("context", [1, 512, 1024, 2048])
def test_model_card_points_lie_below_their_bounds_in_the_same_order(context):
    """The card's contexts are not known; up to 2508 tokens its 8 rows of Llama 2 7B fit into an A10."""
    points = costs.MODEL_CARD
    bounds = [point.bound(preset(point.model), context) for point in points]
    measured = [point.tokens_per_second for point in points]
    assert [(p.batch_size, p.tokens_per_second) for p in points] == [(8, 136.0), (64, 652.49), (128, 2029.6)]
    assert all(found < bound for found, bound in zip(measured, bounds, strict=True))
    assert bounds == sorted(bounds)
    assert context <= costs.largest_context(preset("llama-2-7b"), costs.device("a10").memory_bytes, 8) == 2508


def test_share_that_the_model_card_reached():
    """At 1,024 tokens, an assumption: the better engine reaches more of what the hardware allows."""
    llama, pytorch, infery = (
        point.tokens_per_second / point.bound(preset(point.model), 1024) for point in costs.MODEL_CARD
    )
    # bytes of a step over 600 GB/s, by hand: 13.21 + 8 x 0.537, and 11.17 + rows x 0.0262 GB
    assert llama == pytest.approx(136 / 8 * (13.215 + 8 * 0.53687) / 600, rel=1e-3)
    assert pytorch == pytest.approx(652.49 / 64 * (11.1715 + 64 * 0.026214) / 600, rel=1e-3)
    assert infery == pytest.approx(2029.6 / 128 * (11.1715 + 128 * 0.026214) / 600, rel=1e-3)


@pytest.mark.parametrize("storage", ["bf16", "int8", "int4"])
def test_bounds_lie_above_what_was_measured_here(storage):
    """benchmarks/full_size.py measured on the CPU that the record is of."""
    run = json.loads(FULL_SIZE.read_text())["runs"][f"Numba {storage}"]
    config, weights = preset("decilm-6b"), storage.replace("bf16", "bfloat16")
    bound = costs.decode_tokens_per_second(
        config, costs.device("cpu-epyc"), 1, run["prompt_tokens"] + 1, weights, "float32"
    )
    assert 1 / run["decode_seconds"]["min"] < bound


@pytest.mark.parametrize("sizes", [{"batch_size": 0}, {"context": 0}])
def test_empty_passes_are_refused(sizes):
    [name] = sizes
    with pytest.raises(ValueError, match=f"{name}: expected an integer of at least 1, found 0"):
        costs.decode_tokens_per_second(MIXED, MACHINE, **sizes)
