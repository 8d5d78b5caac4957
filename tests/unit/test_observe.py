"""Numbers of recorded stages."""

from dataclasses import replace

import numpy as np
import pytest

from minidecilm.backends import NUMPY
from minidecilm.model import DeciLM
from minidecilm.observe import Recorder, attention_entropy, first_token_share, root_mean_square
from tests import checks


def test_a_recorder_keeps_copies():
    """Arrays are live: a backend may go on to compute in their place."""
    seen, live = Recorder(["q"]), np.ones(3)
    seen(0, "q", live)
    live[:] = 0
    np.testing.assert_array_equal(seen.values[0, "q"], 1)


def test_attention_weights_are_computed_for_those_who_ask_only():
    def refuse(*arguments):
        raise AssertionError("computed for nobody")

    sound = checks.golden_model()
    model = DeciLM(sound.config, sound.weights, replace(NUMPY, attention_weights=refuse), "float64")
    model([[1, 2]], observer=Recorder(["attention", "hidden_states"]))
    with pytest.raises(AssertionError, match="for nobody"):
        model([[1, 2]], observer=Recorder(["attention_weights"]))


def test_entropy_counts_the_tokens_looked_at():
    alike = np.tril(np.ones((8, 8)))
    weights = np.stack([np.eye(8), alike / alike.sum(axis=1, keepdims=True)]).astype(np.float32)
    entropy = attention_entropy(weights)  # (heads, queries)
    assert entropy.shape == (2, 8)
    np.testing.assert_array_equal(entropy[0], 0)
    np.testing.assert_allclose(entropy[1], np.log2(np.arange(1, 9)), atol=1e-6)


def test_first_token_share_leaves_out_the_query_that_sees_nothing_else():
    weights = np.array([[[1, 0, 0], [0.5, 0.5, 0], [0.1, 0.3, 0.6]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    np.testing.assert_allclose(first_token_share(weights), [0.3, 0.0])


def test_root_mean_square():
    assert root_mean_square(np.array([[3.0, -4.0], [0.0, 0.0]])) == 2.5
    assert root_mean_square(np.full(9, 3e38, np.float32)) == np.float64(np.float32(3e38))  # no overflow
