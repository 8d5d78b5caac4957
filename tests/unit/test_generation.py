import json
from dataclasses import asdict, replace

import numpy as np
import pytest

import minidecilm
from minidecilm import rope
from minidecilm.sampling import log_softmax
from tests import checks


@pytest.fixture(scope="module")
def model():
    return checks.golden_model("float32")


PROMPTS = [[5, 9, 300], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [77], list(range(20, 70))]
SAMPLED = {"max_new_tokens": 30, "temperature": 0.9, "top_p": 0.9, "seed": 7}


@pytest.mark.parametrize("policy", ["reference", "fixed", "exact"])
@pytest.mark.parametrize(
    "options", [SAMPLED, {"max_new_tokens": 30, "temperature": 0}], ids=["sampled", "greedy"]
)
def test_a_row_gives_the_same_alone_or_in_any_batch(policy, options):
    """The last prompt crosses M = 64; the others do not: their rotary base must not follow it."""
    model = checks.golden_model("float32", rope=policy)
    alone = [minidecilm.generate_tokens(model, prompt, **options) for prompt in PROMPTS]
    for order in ([0, 1, 2, 3], [3, 1], [2, 0, 3]):
        together = minidecilm.generate_tokens(model, [PROMPTS[i] for i in order], **options)
        for found, i in zip(together, order, strict=True):
            np.testing.assert_array_equal(found, alone[i])


def test_seeds(model):
    first, second = (minidecilm.generate_tokens(model, [5, 9], seed=s) for s in (1, 2))
    np.testing.assert_array_equal(first, minidecilm.generate_tokens(model, [5, 9], seed=1))
    assert first.tolist() != second.tolist()
    together = minidecilm.generate_tokens(model, [[5, 9], [5, 9]], seed=[1, 2])
    np.testing.assert_array_equal(together[0], first)
    np.testing.assert_array_equal(together[1], second)
    for seed in (-1, [1, 2, 3], []):
        with pytest.raises(ValueError, match="seed: expected"):
            minidecilm.generate_tokens(model, [5, 9], seed=seed)


def test_stop_sequences_end_a_row_and_are_left_out(model):
    whole = minidecilm.generate_tokens(model, [5, 9], max_new_tokens=20, temperature=0).tolist()
    ending = whole[6:8]
    cut = next(i for i in range(len(whole)) if whole[i : i + 2] == ending)
    trace = []
    found = minidecilm.generate_tokens(
        model, [5, 9], max_new_tokens=20, temperature=0, stop=[ending, [511] * 9], trace=trace
    )
    assert found.tolist() == whole[:cut]
    assert trace[-1].finished == ["stop"]
    with pytest.raises(ValueError, match=r"stop\[0\]: expected \(T,\) integers"):
        minidecilm.generate_tokens(model, [5, 9], stop=[[]])


def test_eos_ends_a_row_while_others_go_on(model):
    """Any token can be declared the end of text: the rows before and after are not disturbed."""
    whole = minidecilm.generate_tokens(model, [[5, 9], [8, 4, 2]], max_new_tokens=12, temperature=0)
    eos = int(whole[0][4])
    at = whole[0].tolist().index(eos)
    assert eos not in whole[1]
    ending = minidecilm.model.DeciLM(
        replace(model.config, eos_token_ids=(eos,)), model.weights, model.backend
    )
    trace = []
    found = minidecilm.generate_tokens(
        ending, [[5, 9], [8, 4, 2]], max_new_tokens=12, temperature=0, trace=trace
    )
    assert found[0].tolist() == whole[0][: at + 1].tolist()  # the end-of-text id included
    np.testing.assert_array_equal(found[1], whole[1])
    assert trace[-1].finished == ["eos", "length"]
    assert trace[at + 1].tokens[0] is None
    for one in (eos, np.int64(eos), [eos]):
        found = minidecilm.generate_tokens(model, [5, 9], max_new_tokens=12, temperature=0, eos_token_ids=one)
        assert found.tolist() == whole[0][: at + 1].tolist()
    going_on = minidecilm.generate_tokens(ending, [5, 9], max_new_tokens=12, temperature=0, eos_token_ids=())
    np.testing.assert_array_equal(going_on, whole[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: expected an integer of at least 1, found 0"),
        (
            {"max_new_tokens": 1000},
            r"prompt of 2 \+ 1000 new tokens exceeds 256 tokens \(4 x max_pos.*at most 254",
        ),
        ({"max_length": 10}, r"exceeds 10 tokens \(max_length\): ask for at most 8"),
        ({"max_length": 2}, "shorten the prompt"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"eos_token_ids": "</s>"}, "eos_token_ids: expected an integer or integers, found '</s>'"),
        ({"eos_token_ids": [2.5]}, r"eos_token_ids: expected an integer or integers, found \[2.5\]"),
    ],
)
def test_impossible_arguments(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        minidecilm.generate_tokens(model, [5, 9], **arguments)


def test_max_length_can_be_raised(model):
    new = minidecilm.generate_tokens(model, [5, 9], max_new_tokens=260, max_length=300, temperature=0)
    assert len(new) == 260 or new[-1] in model.config.eos_token_ids


def test_unknown_option_is_refused(model):
    with pytest.raises(TypeError, match="top_q"):
        minidecilm.generate_tokens(model, [5, 9], top_q=1)


@pytest.mark.parametrize("ids", [[], [[]], [[1], []], [1.5], [[1], [2.5]]])
def test_empty_or_fractional_prompts_are_refused(model, ids):
    with pytest.raises(ValueError, match="input_ids"):
        minidecilm.generate_tokens(model, ids)


def test_ctrl_c_reaches_the_caller_with_what_there_is(model):
    expected = minidecilm.generate_tokens(model, [5, 9], max_new_tokens=8, temperature=0)
    calls = 0

    class Interrupted(minidecilm.model.DeciLM):
        def __call__(self, *args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == 4:
                raise KeyboardInterrupt
            return super().__call__(*args, **kwargs)

    slow = Interrupted(model.config, model.weights, model.backend)
    trace = []
    with pytest.raises(KeyboardInterrupt) as stopped:
        minidecilm.generate_tokens(slow, [5, 9], max_new_tokens=8, temperature=0, trace=trace)
    assert isinstance(stopped.value, minidecilm.Interrupted)
    np.testing.assert_array_equal(stopped.value.generated, expected[:3])
    assert [step.tokens[0] for step in trace] == expected[:3].tolist()


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("model.norm.weight", np.nan, "norm is not finite"),
        ("lm_head.weight", np.inf, "lm_head is not finite"),
        ("model.layers.3.self_attn.v_proj.weight", np.nan, "v of layer 3 is not finite"),
        ("model.layers.2.mlp.down_proj.weight", 1e30, "input_layernorm of layer 3 vanishes"),
        ("model.layers.5.mlp.down_proj.weight", 1e30, "norm vanishes"),
        ("model.embed_tokens.weight", 1e25, "input_layernorm of layer 0 vanishes"),
    ],
)
def test_damaged_weights_are_named_not_sampled(model, name, value, fault):
    """Also those that are finite, but whose squares are not: all that follows would come from zeros."""
    weights = dict(model.weights)
    weights[name] = np.full(weights[name].shape, value, np.float32)
    if np.isfinite(value):  # not all the same, so that the sums do not cancel out
        weights[name] *= np.sign(np.random.default_rng(0).standard_normal(weights[name].shape))
    damaged = minidecilm.model.DeciLM(model.config, weights, model.backend)
    with pytest.raises(ValueError, match=f"^{fault}.* in float32: the weights are damaged, or too large"):
        minidecilm.generate_tokens(damaged, [5, 9])
    if np.isfinite(value):
        wide = minidecilm.model.DeciLM(model.config, weights, model.backend, "float64")
        assert len(minidecilm.generate_tokens(wide, [5, 9], max_new_tokens=3, eos_token_ids=())) == 3


def test_trace_says_what_every_step_did():
    model = checks.golden_model("float64")
    prompt, trace = list(range(40, 100)), []
    new = minidecilm.generate_tokens(model, prompt, max_new_tokens=10, temperature=0, trace=trace)
    assert len(trace) == len(new) == 10
    cache = model.new_cache(1, 70)
    logits = model([prompt], cache)[0, -1]
    for number, step in enumerate(trace):
        assert step.tokens == [new[number]]
        log_p = logits - np.log(np.exp(logits).sum())
        assert step.log_probabilities[0] == pytest.approx(log_p[new[number]])
        best = np.argsort(-log_p)[:5]
        assert [token for token, _ in step.alternatives[0]] == best.tolist()
        np.testing.assert_allclose([value for _, value in step.alternatives[0]], log_p[best])
        assert step.rope_base == [pytest.approx(float(rope.dynamic_ntk_base(60 + number, model.config)))]
        assert step.cache_nbytes == (60 + number) * 2 * 16 * 8 * 14  # (4+2+1+1+2+4) heads of 16 float64
        assert len(step.layer_seconds) == 6
        assert 0 < sum(step.layer_seconds) < step.seconds
        assert step.finished == ["length" if number == 9 else None]
        logits = model([[new[number]]], cache)[0, -1]
    assert trace[0].rope_base == [10000.0]  # 60 tokens, below M = 64
    assert trace[-1].rope_base[0] > 10000.0
    json.dumps([asdict(step) for step in trace])  # plain data


def test_a_step_computes_log_probabilities_only_for_a_trace(model, monkeypatch):
    calls = []
    monkeypatch.setattr(minidecilm.trace, "log_softmax", lambda x: calls.append(1) or log_softmax(x))
    minidecilm.generate_tokens(model, [5, 9], max_new_tokens=4, temperature=0)
    assert calls == []
    minidecilm.generate_tokens(model, [5, 9], max_new_tokens=4, temperature=0, trace=[])
    assert len(calls) == 4


def test_totals_add_up(model):
    totals = minidecilm.Totals()
    for prompts in ([[5, 9], [1, 2, 3]], [[7]]):
        minidecilm.generate_tokens(model, prompts, max_new_tokens=4, eos_token_ids=(), totals=totals)
    assert (totals.rows, totals.read_tokens, totals.written_tokens) == (3, 6, 12)
    assert totals.cache_nbytes == (1 + 3) * 2 * 16 * 4 * 14
    assert totals.read_seconds > 0
    assert totals.write_seconds > 0
    assert str(minidecilm.Totals(1, 5, 1, 0.5)) == "read 5 tokens (10 a second), wrote 1, cache 0 bytes"


def test_progress_bars_go_to_stderr(model, capsys):
    minidecilm.generate_tokens(model, [5, 9], max_new_tokens=3, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading 2 tokens" in err
    assert "writing" in err
