"""Rotary bases, and what the three policies promise about the order tokens are fed in."""

import numpy as np
import pytest

from minidecilm import ops, preset
from minidecilm.rope import (
    dynamic_ntk_base,
    inverse_frequencies,
    rotary_table,
    score_by_distance,
    unseen_angles,
    wavelengths,
)
from tests import checks

ORDERS = {  # of 101 tokens
    "halves": [50, 51],
    "sevens": [7] * 14 + [3],
    "uneven": [1, 63, 1, 30, 6],
    "token by token": [1] * 101,
}


@pytest.fixture(scope="module")
def ids():
    return checks.golden_data()["long.input_ids"]


@pytest.mark.parametrize(
    ("length", "base"),
    [(1, 10000), (4096, 10000), (4097, 10004.96), (5000, 14497.957), (6144, 20221.262), (8192, 30527.737)],
)
def test_base_of_decilm_6b(length, base):
    assert dynamic_ntk_base(length, preset("decilm-6b")) == pytest.approx(base, abs=5e-3)


def test_base_without_scaling_never_changes():
    np.testing.assert_array_equal(dynamic_ntk_base([1, 10**6], preset("llama-3-8b")), 500000.0)


def test_inverse_frequencies_span_one_to_the_base():
    frequencies = inverse_frequencies(10000.0, 128)
    assert frequencies.shape == (64,)
    assert frequencies[0] == 1.0
    assert 1 / frequencies[-1] == pytest.approx(10000 ** (126 / 128))


def test_a_pair_turns_once_in_its_wavelength():
    lengths = wavelengths([10000.0, 30527.737], 128)
    assert lengths.shape == (2, 64)
    np.testing.assert_allclose(lengths * inverse_frequencies([10000.0, 30527.737], 128), 2 * np.pi)


@pytest.mark.parametrize("base", [10000.0, 30527.737])
def test_score_by_distance_is_that_of_the_network(base):
    equal = np.ones((1, 1, 1, 128))
    distances = np.array([0, 1, 7, 500, 4000])
    scores = []
    for position in distances:
        cos, sin = rotary_table(np.array([[9, 9 + position]]), np.array([base]), 128, np.float64)
        key = ops.rotate(equal, cos[:, :, :1], sin[:, :, :1])
        query = ops.rotate(equal, cos[:, :, 1:], sin[:, :, 1:])
        scores.append((query * key).sum() / 128)
    np.testing.assert_allclose(score_by_distance(distances, base, 128), scores, atol=1e-12)


def test_unseen_angles_begin_after_the_last_position_of_training():
    config = preset("decilm-6b")
    unseen = unseen_angles(np.arange(8192), 10000.0, config)  # (8192, 64)
    slow = wavelengths(10000.0, 128) > 4095
    assert slow.sum() == 18
    assert not unseen[:4096].any()
    assert not unseen[:, ~slow].any()
    assert unseen[4096:, slow].all()
    assert not unseen_angles(np.arange(16384), float(dynamic_ntk_base(16384, config)), config).any()


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_exact_does_not_depend_on_the_order_of_feeding(order, ids):
    """On six layers; test_rope_policies has batches, and says what each policy is."""
    model = checks.golden_model(rope="exact")
    np.testing.assert_allclose(checks.feed(model, ids, ORDERS[order]), model(ids), rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", ["sevens", "uneven"])
def test_reference_depends_on_order_beyond_m_only(order, ids):
    model = checks.golden_model(rope="reference")
    M = model.config.max_position_embeddings
    short = ids[:, :M]
    sizes, left = [], M
    for size in ORDERS[order]:
        sizes.append(min(size, left))
        left -= sizes[-1]
    sizes = [size for size in sizes if size]
    np.testing.assert_allclose(checks.feed(model, short, sizes), model(short), rtol=0, atol=1e-10)
    assert abs(checks.feed(model, ids, ORDERS[order]) - model(ids))[:, M:].max() > 1e-3


def test_policies_agree_up_to_m(ids):
    outputs = []
    for rope in ("reference", "fixed", "exact"):
        model = checks.golden_model(rope=rope)
        outputs.append(model(ids[:, : model.config.max_position_embeddings]))
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(outputs[2], outputs[0], rtol=0, atol=1e-12)


def test_reference_and_exact_part_beyond_m_in_one_call(ids):
    """Beyond M they part even in one call: exact gives every earlier query the base of its own length."""
    reference, exact = (checks.golden_model(rope=rope) for rope in ("reference", "exact"))
    M = exact.config.max_position_embeddings
    np.testing.assert_allclose(exact(ids[:, :M])[:, -1], reference(ids[:, :M])[:, -1], rtol=0, atol=1e-12)
    assert abs(exact(ids)[:, -1] - reference(ids)[:, -1]).max() > 1e-3


def test_a_new_cache_starts_from_the_unscaled_base(ids):
    model = checks.golden_model()
    before = model(ids[:, :20])
    model(ids)  # beyond M: the base grows in that cache
    np.testing.assert_array_equal(model(ids[:, :20]), before)
