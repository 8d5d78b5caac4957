"""One text fed token by token and in one call: which policies agree, and numbers that say how far apart."""

import numpy as np
import pytest

from minidecilm.experiments import feeding
from tests import checks


@pytest.fixture(scope="module")
def ids():
    """A text longer than the context of the golden model, 64 tokens."""
    return checks.golden_data()["long.input_ids"]


def fed(rope, ids):
    """Divergence of decoding from one call over each beginning, at 64, 80 and 101 tokens."""
    model, lengths = checks.golden_model(rope=rope), [64, 80, 101]
    decoded = feeding.decode_logits(model, ids)
    assert decoded.shape == (*ids.shape, model.config.vocab_size)
    at_once = feeding.prefix_logits(model, ids, lengths)
    return feeding.divergence(at_once, decoded[:, np.array(lengths) - 1])[0]


def test_the_golden_model_has_a_context_of_64():
    assert checks.golden_model().config.max_position_embeddings == 64


@pytest.mark.parametrize("rope", ["exact", "fixed"])
def test_these_policies_say_the_same_however_they_are_fed(rope, ids):
    np.testing.assert_allclose(fed(rope, ids), 0, atol=1e-9)


def test_reference_does_up_to_the_context_only(ids):
    at_limit, *beyond = fed("reference", ids)
    assert at_limit < 1e-9
    assert min(beyond) > 1e-6


def test_texts_of_a_batch_are_fed_side_by_side(ids, capsys):
    model = checks.golden_model(rope="exact")
    both = np.concatenate([ids[:, :70], ids[:, ::-1][:, :70]])
    at_once = model(both)
    decoded = feeding.decode_logits(model, both, progress=True)
    beginnings = feeding.prefix_logits(model, both, [3, 70], progress=True)
    np.testing.assert_allclose(decoded, at_once, rtol=0, atol=1e-9)
    np.testing.assert_allclose(beginnings, at_once[:, [2, 69]], rtol=0, atol=1e-9)
    err = capsys.readouterr().err
    assert "decoding, rope=exact: 100%" in err
    assert "70/70" in err
    assert "reading beginnings in one call: 100%" in err
    assert "73/73" in err


def test_divergence():
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.5, 0.25])
    expected = (p * np.log(p / q)).sum()
    logits = np.log(np.stack([p, p]))[None] + 7.0  # what is added to all logits does not count
    others = np.log(np.stack([q, p]))[None]
    np.testing.assert_allclose(feeding.divergence(logits, others), [[expected, 0.0]], atol=1e-12)


def test_perplexity_of_a_stretch_is_of_its_mean_loss():
    losses = np.log([[2.0, 8.0, 3.0, 3.0], [4.0, 4.0, 3.0, 27.0]])
    np.testing.assert_allclose(feeding.perplexity_by_position(losses, 2), [4.0, 3**1.5])


def test_what_is_no_text_or_no_beginning_is_refused():
    model = checks.golden_model()
    with pytest.raises(ValueError, match=r"expected \(B, T\) integers, found shape \(3,\)"):
        feeding.decode_logits(model, [1, 2, 3])
    with pytest.raises(ValueError, match="lengths: expected 1 to 3 tokens, found 5"):
        feeding.prefix_logits(model, [[1, 2, 3]], [5])
