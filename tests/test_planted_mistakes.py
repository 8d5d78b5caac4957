"""Tests of the tests: each classic mistake, planted on purpose, must make a check fail."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from minidecilm import ops, rope
from minidecilm.backends import NUMPY
from minidecilm.cache import KVCache
from minidecilm.model import DeciLM
from tests import checks
from tests.unit.test_ops import rms_norm_casts_before_the_weight


@pytest.fixture(scope="module")
def data():
    return checks.golden_data()


def broken(**operations):
    """Return the golden model with some operations replaced by wrong ones."""
    sound = checks.golden_model()
    return DeciLM(sound.config, sound.weights, replace(NUMPY, name="broken", **operations), "float64")


def failing_checks(model, data):
    failed = set()
    for check in checks.REFERENCE:
        try:
            check(model, data)
        except AssertionError:
            failed.add(check.__name__)
    return failed


def test_unbroken_model_passes_every_check(data):
    assert failing_checks(broken(), data) == set()


def tiled_heads(q, k, v, visible):
    groups = q.shape[1] // k.shape[1]
    return ops.attention(q, np.tile(k, (1, groups, 1, 1)), np.tile(v, (1, groups, 1, 1)), visible)


def swapped_heads(q, k, v, visible):
    mixed = ops.attention(q, k, v, visible)
    return mixed[:, [1, 0, *range(2, q.shape[1])]]


def no_scale(q, k, v, visible):
    return ops.attention(q * np.sqrt(q.shape[-1]), k, v, visible)


def sees_next_token(q, k, v, visible):
    T, S = visible.shape[1:]
    return ops.attention(q, k, v, visible | np.eye(T, S, k=S - T + 1, dtype=bool))


def misses_itself(q, k, v, visible):
    T, S = visible.shape[1:]
    return ops.attention(q, k, v, visible & ~np.eye(T, S, k=S - T, dtype=bool))


def sees_padding(q, k, v, visible):
    T, S = visible.shape[1:]
    return ops.attention(q, k, v, np.broadcast_to(np.tri(T, S, k=S - T, dtype=bool), visible.shape))


def interleaved(x, cos, sin):
    turned = np.empty_like(x)
    even, odd = x[..., ::2], x[..., 1::2]
    turned[..., ::2], turned[..., 1::2] = even * cos - odd * sin, odd * cos + even * sin
    return turned


def backwards(x, cos, sin):
    return ops.rotate(x, cos, -sin)


def silu_on_the_wrong_branch(gate, up):
    return ops.swiglu(up, gate)


def no_epsilon(x, weight, eps):
    return ops.rms_norm(x, weight, 0.0)


EVERY_FORWARD = {"short", "hidden_states", "long_one_call", "long_stepwise", "padded"}


@pytest.mark.parametrize(
    ("operations", "caught_by"),
    [
        pytest.param({"attention": tiled_heads}, EVERY_FORWARD, id="KV heads tiled instead of repeated"),
        pytest.param({"attention": swapped_heads}, EVERY_FORWARD, id="two query heads swapped"),
        pytest.param({"attention": no_scale}, EVERY_FORWARD, id="softmax scale missing"),
        pytest.param({"attention": sees_next_token}, EVERY_FORWARD, id="mask off by one: future seen"),
        pytest.param({"attention": misses_itself}, EVERY_FORWARD, id="mask off by one: itself hidden"),
        pytest.param({"attention": sees_padding}, {"padded"}, id="padding attended to"),
        pytest.param({"rotate": interleaved}, EVERY_FORWARD, id="interleaved rotary layout"),
        pytest.param({"rotate": backwards}, {"cached_keys"}, id="rotated the wrong way"),
        pytest.param({"swiglu": silu_on_the_wrong_branch}, EVERY_FORWARD, id="silu on the wrong branch"),
        pytest.param({"rms_norm": no_epsilon}, EVERY_FORWARD, id="epsilon left out"),
    ],
)
def test_wrong_operation_is_caught(operations, caught_by, data):
    assert caught_by <= failing_checks(broken(**operations), data)


def test_base_not_grown_is_caught(monkeypatch, data):
    monkeypatch.setattr(rope, "dynamic_ntk_base", lambda length, config: np.full(np.shape(length), 1e4))
    assert {"long_one_call", "long_stepwise", "cached_keys", "greedy"} <= failing_checks(broken(), data)


def test_base_reset_is_caught(monkeypatch, data):
    """The base follows the new tokens of a call instead of past + new."""

    def from_this_call_only(self, cache, window):
        return rope.dynamic_ntk_base(np.full(cache.batch_size, window.positions.shape[1]), self.config)

    monkeypatch.setattr(DeciLM, "_rope_base", from_this_call_only)
    assert {"long_stepwise", "cached_keys", "greedy"} <= failing_checks(broken(), data)


def test_base_of_the_cached_keys_updated_is_caught(data):
    """Turning cached keys to the newest base is the ``exact`` policy, not what Deci's code does."""
    model = checks.golden_model(rope="exact")
    assert {"long_one_call", "long_stepwise"} <= failing_checks(model, data)


def test_padding_counted_is_caught(monkeypatch, data):
    honest = KVCache.open_window

    def count_slots(self, real):
        window = honest(self, real)
        slots = np.arange(self.length, self.length + real.shape[1])
        return replace(
            window,
            positions=np.broadcast_to(slots, real.shape),
            row_lengths=np.full(self.batch_size, self.length + real.shape[1]),
        )

    monkeypatch.setattr(KVCache, "open_window", count_slots)
    caught_by = {"row_alone_equals_row_in_batch", "trimmed_is_as_never_fed"}
    assert failing_checks(broken(), data) == caught_by


def test_norm_weight_before_the_cast_is_caught():
    def weight_first(x, weight, eps):
        wide = x.astype(np.float32)
        normalised = wide / np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True) + eps)
        return (weight.astype(np.float32) * normalised).astype(x.dtype)

    rms_norm_casts_before_the_weight(ops.rms_norm, ml_dtypes.bfloat16)
    with pytest.raises(AssertionError):
        rms_norm_casts_before_the_weight(weight_first, ml_dtypes.bfloat16)
