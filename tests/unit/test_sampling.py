"""Sampling against transformers' own processors (golden/make_sampling.py), and what it promises besides."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidecilm import sampling
from minidecilm.ops import log_softmax
from minidecilm.sampling import Options, apply_repetition_penalty, process, sample

unhurried = settings(deadline=None)  # the machine may be busy

NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}


def load_golden():
    with np.load(Path(__file__).parents[1] / "golden" / "sampling.npz") as file:
        data = dict(file)
    return data, json.loads(str(data["meta"]))


DATA, META = load_golden()


def matches_transformers(setting):
    for row, logits in enumerate(DATA["logits"]):
        expected = DATA["processed"][META["settings"].index(setting), row]
        nudged = [
            process(logits, DATA["token_ids"], Options(**NEUTRAL | chosen)) for chosen in nudges(setting)
        ]
        kept = [np.array_equal(np.isneginf(found), np.isneginf(expected)) for found in nudged]
        assert any(kept), META["rows"][row]
        np.testing.assert_allclose(nudged[kept.index(True)], expected, rtol=1e-6, err_msg=META["rows"][row])


def nudges(setting):
    """A setting, and it with thresholds a trifle off: half of 512 equal tokens lie exactly at top_p = 0.5."""
    yield setting
    for name in {"top_p", "min_p"} & setting.keys():
        for factor in (1 - 1e-12, 1 + 1e-12):
            if setting[name] * factor <= 1:
                yield {**setting, name: setting[name] * factor}


@pytest.mark.parametrize("setting", META["settings"], ids=str)
def test_process_matches_transformers(setting):
    matches_transformers(setting)


@pytest.mark.parametrize("seed", range(5))
def test_rounding_of_another_cpu_is_let_pass(monkeypatch, seed):
    """Whichever way the last bits of the probabilities fall; what is equal stays equal."""
    honest, noise = log_softmax, np.random.default_rng(seed)

    def rounded(logits):
        values, where = np.unique(honest(logits), return_inverse=True)
        return (values * (1 + 3e-16 * noise.standard_normal(len(values))))[where]

    monkeypatch.setattr(sampling, "log_softmax", rounded)
    for setting in META["settings"]:
        matches_transformers(setting)


def test_transformers_in_float32_differs_only_where_rounding_decides():
    """Two rows, each with a token exactly at the threshold."""
    assert META["float32_keeps_other_number"] == [
        [{"top_p": 0.5}, "two_peaks"],
        [{"min_p": 0.5}, "long_tail"],
    ]


def penalty_divides_negatives(logits, token_ids, penalty):
    scores = logits.copy()
    scores[token_ids] /= penalty
    return scores


def penalty_counts_repetitions(logits, token_ids, penalty):
    for token in token_ids:
        logits = apply_repetition_penalty(logits, [token], penalty)
    return logits


def exactly_k(logits, top_k):
    best = np.argsort(-logits, kind="stable")[: top_k or None]
    return np.where(np.isin(np.arange(len(logits)), best), logits, -np.inf)


def nucleus_without_the_token_that_crosses(logits, top_p):
    order = np.argsort(-logits, kind="stable")
    crossed = np.cumsum(np.exp(log_softmax(logits[order]))) > top_p
    return np.where(np.isin(np.arange(len(logits)), order[crossed][1:]), -np.inf, logits)


def absolute_min_p(logits, min_p):
    return np.where(np.exp(log_softmax(logits)) < min_p, -np.inf, logits)


MISTAKES = {
    penalty_divides_negatives: "apply_repetition_penalty",
    penalty_counts_repetitions: "apply_repetition_penalty",
    exactly_k: "keep_top_k",
    nucleus_without_the_token_that_crosses: "keep_top_p",
    absolute_min_p: "keep_min_p",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_planted_mistakes_are_found(mistake, monkeypatch):
    monkeypatch.setattr(sampling, MISTAKES[mistake], mistake)
    failed = 0
    for setting in META["settings"]:
        try:
            matches_transformers(setting)
        except AssertionError:
            failed += 1
    assert failed


FILTERS = {
    "apply_repetition_penalty": ([1, 2], 2.0),
    "apply_temperature": (2.0,),
    "keep_top_k": (2,),
    "keep_top_p": (0.5,),
    "keep_min_p": (0.5,),
}
OFF = {
    "apply_repetition_penalty": ([1, 2], 1.0),
    "apply_temperature": (1.0,),
    "keep_top_k": (0,),
    "keep_top_p": (1.0,),
    "keep_min_p": (0.0,),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FILTERS)
def test_filters_return_a_new_array_of_the_same_dtype(name, dtype):
    logits = np.array([1.0, -2.0, 3.0, 0.5], dtype)
    logits.flags.writeable = False
    for arguments in (FILTERS[name], OFF[name]):
        found = getattr(sampling, name)(logits, *arguments)
        assert found.dtype == dtype
        assert not np.shares_memory(found, logits)
    np.testing.assert_array_equal(found, logits)  # the last arguments change nothing


def test_penalty_of_nothing_seen():
    np.testing.assert_array_equal(apply_repetition_penalty(np.ones(3), [], 2.0), np.ones(3))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("temperature", value) for value in (-1, -0.1, np.nan, np.inf, True, "1", None, 1e-40)),
        *(("top_k", value) for value in (-1, 1.5, 2.0, True, np.nan, "3", None)),
        *(("top_p", value) for value in (0, -0.5, 1.01, np.nan, True, "0.9", None)),
        *(("min_p", value) for value in (-0.01, 1.01, np.nan, False, "0", None)),
        *(("repetition_penalty", value) for value in (0, -1, np.nan, np.inf, True, "1", None)),
    ],
)
def test_impossible_values_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, found "):
        Options(**{name: value})


def test_numpy_numbers_are_numbers():
    Options(
        temperature=np.float32(0.5),
        top_k=np.int64(3),
        top_p=np.float32(0.9),
        min_p=np.float64(0),
        repetition_penalty=np.float32(1.5),
    )


def test_log_softmax():
    logits = np.array([[1e4, 1e4, -np.inf], [-5, -5, -5]], np.float32)
    found = log_softmax(logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(np.exp(found), [[0.5, 0.5, 0], [1 / 3] * 3])


def test_greedy_takes_the_first_best_token_after_the_penalty():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    logits, greedy = np.array([1.0, 4.0, 3.0, 3.0]), Options(temperature=0, repetition_penalty=2.0)
    assert sample(logits, [], greedy, rng) == 1
    assert sample(logits, [1], greedy, rng) == 2
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("settings", [{}, {"top_k": 1}, {"temperature": 100.0, "top_p": 1.0}])
def test_one_draw_per_token(settings):
    used, other = np.random.default_rng(3), np.random.default_rng(3)
    sample(DATA["logits"][0], [5], Options(**settings), used)
    other.random()
    assert used.random() == other.random()


def test_tokens_follow_the_distribution():
    logits = np.array([0.0, 1.0, -np.inf, 2.0, 0.5, -30.0])
    chosen = Options(temperature=0.8, top_p=0.97)
    rng = np.random.default_rng(0)
    count = 5_000
    found = np.bincount([sample(logits, [], chosen, rng) for _ in range(count)], minlength=6)
    expected = count * np.exp(log_softmax(process(logits, [], chosen)))
    assert (found[expected == 0] == 0).all()
    some = expected > 0
    chi_square = np.sum((found - expected)[some] ** 2 / expected[some])
    assert chi_square < 16  # 3 degrees of freedom: one seed in a thousand exceeds it


class Draw:
    """Stands for a random generator that draws a given number."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@unhurried
@given(
    st.lists(st.floats(-50, 50, width=32) | st.just(-np.inf), min_size=1, max_size=40),
    st.sampled_from([0.0, 2.0**-53, 0.5, 1 - 2.0**-53]) | st.floats(0, 1, exclude_max=True),
    st.fixed_dictionaries({"temperature": st.floats(0.05, 20), "top_p": st.floats(0.01, 1)}),
)
def test_no_draw_chooses_a_removed_token(logits, draw, settings):
    logits = np.array([*logits, 0.0])  # at least one is finite
    chosen = Options(**settings)
    token = sample(logits, [], chosen, Draw(draw))
    assert np.isfinite(process(logits, [], chosen)[token])


def test_rounding_of_logits_almost_never_changes_the_token():
    rng = np.random.default_rng(0)
    logits = DATA["logits"][0].astype(np.float64)
    changed = 0
    for seed in range(500):
        noisy = logits + rng.normal(size=len(logits)) * 1e-6
        first, second = (sample(x, [], Options(), np.random.default_rng(seed)) for x in (logits, noisy))
        changed += first != second
    assert changed <= 1


@pytest.mark.parametrize("bad", [[0, np.nan], [0, np.inf], [-np.inf, -np.inf]])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_logits_without_a_distribution_are_refused(bad, temperature):
    with pytest.raises(ValueError, match=r"^logits: expected a finite largest value, found "):
        sample(np.array(bad), [], Options(temperature=temperature), np.random.default_rng(0))


def test_extreme_settings_do_not_overflow():
    logits = np.array([-3e38, 3e38, 1.0], np.float32)
    tiny = Options(temperature=1e-30, repetition_penalty=1e-30)
    assert sample(logits, [0, 1, 2], tiny, np.random.default_rng(0)) == 1
