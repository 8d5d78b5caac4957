"""The choice of KV heads is the best there is, by trying all; budgets are kept to the byte."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidecilm.backends import NUMPY
from minidecilm.config import Config, LayerConfig
from minidecilm.experiments.allocate import Sensitivity, allocation_front, cache_bytes, choose_allocation
from minidecilm.model import DeciLM
from minidecilm.weights.random_weights import random_weights

unhurried = settings(deadline=None)  # the machine may be busy

PER_HEAD = 2 * 4 * 2  # bytes per token: keys and values, head_dim 4, bfloat16


def sensitivity_of(extra_losses):
    layers = tuple(LayerConfig(max(options), 16) for options in extra_losses)
    return Sensitivity(Config(32, 8, 24, 4, layers, 64), 3.0, tuple(extra_losses))


def every_allocation(sensitivity):
    """(bytes per token, extra loss, heads) of each there is."""
    for heads in itertools.product(*sensitivity.extra_losses):
        extra = zip(sensitivity.extra_losses, heads, strict=True)
        yield PER_HEAD * sum(heads), sum(options[k] for options, k in extra), heads


# Multiples of 1/64: sums are exact in any order, so ties are ties.
losses = st.integers(-8, 64).map(lambda number: number / 64)
sensitivities = st.lists(
    st.dictionaries(st.sampled_from([1, 2, 3, 4, 6, 8]), losses, min_size=1), min_size=1, max_size=5
).map(sensitivity_of)


@unhurried
@given(sensitivities, st.data())
def test_the_choice_is_the_best_of_all_that_fit(sensitivity, data):
    everything = list(every_allocation(sensitivity))
    smallest, largest = min(everything)[0], max(everything)[0]
    budget = data.draw(st.integers(smallest, largest + PER_HEAD))
    found = choose_allocation(sensitivity, budget)
    loss, nbytes = min((loss, nbytes) for nbytes, loss, _ in everything if nbytes <= budget)
    assert (found.extra_loss, found.bytes_per_token) == (loss, nbytes)
    assert (nbytes, loss, found.kv_heads) in everything


@unhurried
@given(sensitivities)
def test_the_front_is_everything_that_nothing_beats(sensitivity):
    everything = [(nbytes, loss) for nbytes, loss, _ in every_allocation(sensitivity)]
    unbeaten = {
        (nbytes, loss)
        for nbytes, loss in everything
        if not any(b <= nbytes and o <= loss and (b, o) != (nbytes, loss) for b, o in everything)
    }
    front = allocation_front(sensitivity)
    assert [(point.bytes_per_token, point.extra_loss) for point in front] == sorted(unbeaten)


def test_budgets_are_kept_to_the_byte():
    sensitivity = sensitivity_of([{4: 0.0, 2: 0.25, 1: 1.0}, {2: 0.0, 1: 0.125}])
    heads = {
        budget: choose_allocation(sensitivity, budget).kv_heads
        for budget in (32, 47, 48, 63, 64, 80, 95, 96, 999)
    }
    assert heads == {
        32: (1, 1),
        47: (1, 1),
        48: (2, 1),
        63: (2, 1),
        64: (2, 2),
        80: (4, 1),
        95: (4, 1),
        96: (4, 2),
        999: (4, 2),
    }
    assert choose_allocation(sensitivity, 96, "float32").kv_heads == (2, 1)


@pytest.mark.parametrize("budget", [31, 0, -1])
def test_a_budget_that_nothing_fits_is_refused(budget):
    sensitivity = sensitivity_of([{4: 0.0, 1: 1.0}, {2: 0.0, 1: 0.125}])
    with pytest.raises(
        ValueError, match=rf"budget: {budget} bytes per token.*\[1, 1\], needs 32 in bfloat16"
    ):
        choose_allocation(sensitivity, budget)


def test_bytes_are_those_of_a_cache():
    sensitivity = sensitivity_of([{4: 0.0, 2: 0.25}, {2: 0.0, 1: 0.125}])
    [small, *_] = allocation_front(sensitivity, "float32")
    layers = tuple(LayerConfig(k, 16) for k in small.kv_heads)
    config = replace(sensitivity.config, layers=layers)
    model = DeciLM(config, random_weights(config, "float32"), NUMPY, "float32")
    assert model.new_cache(1, 10).nbytes == 10 * small.bytes_per_token


def test_a_layer_that_gains_by_pooling_is_pooled_whatever_the_budget():
    sensitivity = sensitivity_of([{2: 0.0, 1: -0.5}, {2: 0.0, 1: 0.25}])
    assert [point.kv_heads for point in allocation_front(sensitivity)] == [(1, 1), (1, 2)]


def test_a_model_of_full_size_is_chosen_for_at_once():
    """32 layers of 32 heads: 6^32 allocations. Losses grow with depth, so first layers give way first."""
    config = Config(32, 8, 32, 128, tuple(LayerConfig(32, 16) for _ in range(32)), 64)
    options = [{k: (layer + 1) * (32 / k - 1) for k in (1, 2, 4, 8, 16, 32)} for layer in range(32)]
    chosen = choose_allocation(Sensitivity(config, 3.0, tuple(options)), 100_000)
    assert chosen.bytes_per_token <= 100_000
    assert list(chosen.kv_heads) == sorted(chosen.kv_heads)
    assert chosen.bytes_per_token == cache_bytes(config, chosen.kv_heads)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (({2: 0.0},), "expected 2 entries, one per layer, found 1"),
        (({2: 0.0}, {}), r"extra_losses\[1\]: expected a loss for some number of heads"),
        (({2: 0.0}, {2: 0.0, 1: float("nan")}), r"extra_losses\[1\]: .*found nan for 1"),
        (({2: float("inf")}, {2: 0.0}), r"extra_losses\[0\]: .*found inf for 2"),
        (({2: 0.0}, {0: 0.0}), r"extra_losses\[1\]: .*found 0.0 for 0"),
        (({2: 0.0}, {"1": 0.0}), r"extra_losses\[1\]: .*found 0.0 for '1'"),
    ],
)
def test_impossible_sensitivities_are_refused(extra, message):
    config = Config(32, 8, 2, 4, (LayerConfig(2, 16), LayerConfig(2, 16)), 64)
    with pytest.raises(ValueError, match=message):
        Sensitivity(config, 3.0, extra)


def test_the_cheapest_layer_first_is_not_always_right():
    """A budget of 5 heads: taking them from the cheap layers does not reach it, so it is wasted."""
    sensitivity = sensitivity_of([{6: 0.0, 1: 0.5}, {2: 0.0, 1: 0.25}, {2: 0.0, 1: 0.375}])
    assert choose_allocation(sensitivity, 5 * PER_HEAD).kv_heads == (1, 2, 2)
