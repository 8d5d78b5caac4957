"""Held-out losses: by hand, alone as in a batch, in the order given; and clear refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest

import minidecilm
from minidecilm.experiments import evaluate
from minidecilm.experiments.evaluate import TokenLosses, cross_entropy, text_rows, token_losses
from minidecilm.model import DeciLM
from tests import checks

M = 64  # context length of the golden model


@pytest.fixture(scope="module")
def model():
    return checks.golden_model()


def random_rows(*lengths):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 512, length) for length in lengths]


def loss_by_hand(model, row):
    """From the definition, one token at a time: p = exp(logit) / sum of exp."""
    logits = model([row[:-1]])[0]
    return [
        -math.log(math.exp(z[token]) / sum(map(math.exp, z)))
        for z, token in zip(logits, row[1:], strict=True)
    ]


def test_losses_are_those_of_the_definition(model):
    [row] = random_rows(9)
    np.testing.assert_allclose(token_losses(model, [row]).rows[0], loss_by_hand(model, row), rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_a_row_has_the_same_losses_in_any_batch(model, batch_size):
    """Lengths on both sides of M: where padding counted, the rotary base of the short rows would grow."""
    rows = random_rows(M + 30, 5, M - 1, 2, M + 3, 40)
    assert model.config.max_position_embeddings == M
    together = token_losses(model, rows, batch_size=batch_size).rows
    for row, found in zip(rows, together, strict=True):
        np.testing.assert_allclose(found, token_losses(model, [row]).rows[0], rtol=0, atol=1e-10)


def test_losses_are_of_the_target_in_the_place_of_the_logits():
    p = np.array([[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], [[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]])
    losses = cross_entropy(np.log(p), [[1, 2], [0, 0]])
    np.testing.assert_allclose(losses, -np.log([[0.25, 0.7], [0.5, 1 / 3]]))


def test_large_vocabularies_are_taken_in_blocks(model, monkeypatch):
    rows = random_rows(30)
    whole = token_losses(model, rows).rows[0]
    monkeypatch.setattr(evaluate, "_BLOCK", 7 * 512 + 1)
    np.testing.assert_array_equal(token_losses(model, rows).rows[0], whole)


def test_sums_count_tokens_not_rows():
    losses = TokenLosses((np.array([1.0, 2.0, 6.0]), np.array([7.0])))
    assert losses.tokens == 4
    assert losses.mean == 4.0
    assert losses.perplexity == pytest.approx(math.exp(4))
    means, counts = losses.by_position()
    assert means.tolist() == [4.0, 2.0, 6.0]
    assert counts.tolist() == [2, 1, 1]


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large(model):
    blind = minidecilm.load(checks.GOLDEN, backend="numpy", dtype="float64")
    blind.model.weights = dict(blind.model.weights)
    blind.model.weights["lm_head.weight"] = np.zeros((512, model.config.hidden_size))
    assert token_losses(blind.model, random_rows(20)).perplexity == pytest.approx(512)


def test_the_demo_model_predicts_a_story_better_than_its_words_shuffled():
    lm = minidecilm.load("demo")
    story = "Once upon a time, there was a little girl named Lily. She lived with her mom."
    shuffled = " ".join(np.random.default_rng(0).permutation(story.split()))
    told, mixed = (token_losses(lm.model, text_rows(lm, [text])).mean for text in (story, shuffled))
    assert told + 1 < mixed


def test_texts_begin_end_and_are_cut_off():
    lm = minidecilm.load("demo")
    short, long = text_rows(lm, ["The end.", "a b c " * 300])
    assert short == [1, *lm.tokenizer.encode("The end.", add_bos=False), 2]
    assert len(long) == lm.config.max_position_embeddings + 1
    assert token_losses(lm.model, [long]).tokens == lm.config.max_position_embeddings
    config = replace(lm.config, eos_token_ids=(7, 2))
    network = DeciLM(config, lm.model.weights, lm.backend)
    other = minidecilm.LanguageModel(network, lm.tokenizer, lm.checkpoint)
    assert text_rows(other, ["The end."]) == [[*short[:-1], 7]]  # the first of several, and once
    with pytest.raises(minidecilm.CheckpointError, match=r"tokenizer\.model is missing"):
        text_rows(minidecilm.load(checks.GOLDEN), ["a"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row"),
        ([[1, 2], [3]], r"rows\[1\]: expected at least two token ids, found shape \(1,\)"),
        ([[1, 2], [[3, 4]]], r"rows\[1\]: .*\(1, 2\)"),
        ([[1.0, 2.0]], r"rows\[0\]: .*float64"),
        ([[1, 512]], r"rows\[0\]: 512 is not in the vocabulary of 512"),
        ([[1, 2], [-1, 2]], r"rows\[1\]: -1 is not in the vocabulary"),
    ],
)
def test_what_is_not_rows_of_ids_is_refused(model, rows, message):
    with pytest.raises(ValueError, match=message):
        token_losses(model, rows)


@pytest.mark.parametrize("batch_size", [0, 1.5, "3", None])
def test_an_impossible_batch_size_is_refused(model, batch_size):
    with pytest.raises(
        ValueError, match=f"batch_size: expected an integer of at least 1, found {batch_size!r}"
    ):
        token_losses(model, [[1, 2]], batch_size=batch_size)


def test_one_text_is_not_a_list_of_texts():
    with pytest.raises(ValueError, match="expected a list of texts, found a single one"):
        text_rows(minidecilm.load("demo"), "Once upon a time")


def test_progress_counts_rows(model, capsys):
    token_losses(model, random_rows(4, 5, 6), batch_size=2, progress=True)
    assert "3/3" in capsys.readouterr().err
