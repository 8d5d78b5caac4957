import json
from dataclasses import asdict, replace

import numpy as np
import pytest

import minidecilm
from minidecilm import rope
from minidecilm.generation import check_length, length_limit
from minidecilm.model import DeciLM
from minidecilm.ops import log_softmax
from tests import checks
from tests.unit.scripted import Scripted, saying


@pytest.fixture(scope="module")
def model():
    return checks.golden_model("float32")


PROMPTS = [[5, 9, 300], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [77], list(range(20, 70))]
SAMPLED = {"max_new_tokens": 30, "temperature": 0.9, "top_p": 0.9, "seed": 7}


@pytest.mark.parametrize("policy", ["reference", "fixed", "exact"])
def test_a_row_gives_the_same_alone_or_in_any_batch(policy):
    """The last prompt crosses M = 64; the others do not: their rotary base must not follow it."""
    model = checks.golden_model("float32", rope=policy)
    alone = [minidecilm.generate_tokens(model, prompt, **SAMPLED) for prompt in PROMPTS]
    for order in ([0, 1, 2, 3], [3, 1], [2, 0, 3]):
        together = minidecilm.generate_tokens(model, [PROMPTS[i] for i in order], **SAMPLED)
        for found, i in zip(together, order, strict=True):
            np.testing.assert_array_equal(found, alone[i])


def test_seeds(model):
    options = {"max_new_tokens": 20}
    first, second = (minidecilm.generate_tokens(model, [5, 9], seed=s, **options) for s in (1, 2))
    np.testing.assert_array_equal(first, minidecilm.generate_tokens(model, [5, 9], seed=1, **options))
    assert first.tolist() != second.tolist()
    together = minidecilm.generate_tokens(model, [[5, 9], [5, 9]], seed=[1, 2], **options)
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
    for one in (eos, np.int64(eos), np.array(eos), [eos], {eos}):
        found = minidecilm.generate_tokens(model, [5, 9], max_new_tokens=12, temperature=0, eos_token_ids=one)
        assert found.tolist() == whole[0][: at + 1].tolist()
    going_on = minidecilm.generate_tokens(ending, [5, 9], max_new_tokens=12, temperature=0, eos_token_ids=())
    np.testing.assert_array_equal(going_on, whole[0])


def test_a_row_that_ends_counts_nowhere_from_then_on(model):
    """Row 0 ends with its second token, at 64 = M tokens in the cache; row 1 goes on."""
    quick = replace(model.config, eos_token_ids=(300, 400))
    ending = saying(minidecilm.model.DeciLM(quick, model.weights, model.backend), [7, 400], [7, 8, 9, 8, 300])
    totals, trace = minidecilm.Totals(), []
    prompts = [[5] * 63, [5] * 66]
    found = minidecilm.generate_tokens(
        ending, prompts, max_new_tokens=5, temperature=0, trace=trace, totals=totals
    )
    assert [row.tolist() for row in found] == [[7, 400], [7, 8, 9, 8, 300]]
    assert ending.caches[0].row_lengths.tolist() == [63 + 1, 66 + 4]
    assert [step.tokens for step in trace] == [[7, 7], [400, 8], [None, 9], [None, 8], [None, 300]]
    assert [step.finished for step in trace] == [[None, None], *[["eos", None]] * 3, ["eos", "eos"]]
    bases = [rope.dynamic_ntk_base(length, model.config) for length in (66, 67, 68, 69, 70)]
    assert [step.rope_base for step in trace] == [[10000.0, base] for base in bases]
    assert all(step.log_probabilities[0] is None for step in trace[2:])
    assert totals.written_tokens == 2 + 5


def test_all_rows_ended_ends_the_run(model):
    ending = saying(model, [7, 8], [9])
    found = minidecilm.generate_tokens(
        ending, [[5], [6]], max_new_tokens=9, temperature=0, eos_token_ids=[8, 9]
    )
    assert [row.tolist() for row in found] == [[7, 8], [9]]
    assert ending.calls == 2


def test_penalty_counts_prompt_and_new_tokens_of_the_row_and_no_padding(model):
    """Row 0 is padded with id 0, the likeliest token; row 1 has 7 in its prompt."""
    logits = np.full((1, 512), -1.0)
    logits[0, [0, 7, 8]] = 2.0, 1.5, 1.2
    found = minidecilm.generate_tokens(
        Scripted(model, logits), [[5], [5, 7, 9, 3]], max_new_tokens=4, temperature=0, repetition_penalty=2.0
    )
    assert [row.tolist() for row in found] == [[0, 7, 8, 0], [0, 8, 0, 0]]


@pytest.mark.parametrize(
    "option",
    [{"temperature": 1e-3}, {"temperature": 0}, {"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}],
    ids=str,
)
def test_each_sampling_option_decides(model, option):
    """One token in 512 is a little likelier: none of the options, and others are chosen as well."""
    nearly_flat = np.zeros((1, 512))
    nearly_flat[0, 7] = 0.1
    run = {"max_new_tokens": 8, "eos_token_ids": ()}
    free = minidecilm.generate_tokens(Scripted(model, nearly_flat), [5], **run)
    assert (free != 7).sum() > 4
    assert (minidecilm.generate_tokens(Scripted(model, nearly_flat), [5], **run, **option) == 7).all()


@pytest.mark.parametrize("long_row", [0, 1, 2])
def test_the_length_of_every_row_is_checked_to_the_token(model, long_row):
    prompts = [[5], [5, 6], [7]]
    prompts[long_row] = [1, 2, 3, 4]
    run = {"max_new_tokens": 3, "temperature": 0, "eos_token_ids": ()}
    found = minidecilm.generate_tokens(model, prompts, max_length=7, **run)
    assert [len(row) for row in found] == [3, 3, 3]
    with pytest.raises(ValueError, match=r"prompt of 4 \+ 3 new tokens exceeds 6 tokens \(max_length\)"):
        minidecilm.generate_tokens(model, prompts, max_length=6, **run)


@pytest.mark.parametrize(("scaling", "limit"), [(2.0, 4 * 64), (None, 64)], ids=["dynamic", "none"])
def test_limits_to_the_token(model, scaling, limit):
    config = replace(model.config, rope_factor=scaling)
    assert length_limit(config)[0] == limit
    check_length(config, limit - 5, 5, None)
    with pytest.raises(ValueError, match=rf"exceeds {limit} tokens .*: ask for at most 4 new tokens"):
        check_length(config, limit - 4, 5, None)
    with pytest.raises(ValueError, match=r": shorten the prompt"):
        check_length(config, limit, 1, None)


def test_each_row_is_planned_for_its_own_length(model):
    """What the ``fixed`` rotary policy goes by: not the width of the padded batch."""
    spy = saying(model, [7], [7])
    minidecilm.generate_tokens(spy, [[5], [5, 6, 7, 8]], max_new_tokens=3, eos_token_ids=())
    assert spy.caches[0].planned_lengths.tolist() == [4, 7]


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
    monkeypatch.setattr(minidecilm.generation, "log_softmax", lambda x: calls.append(1) or log_softmax(x))
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


def test_totals_tell_reading_from_writing():
    """The first step reads the prompts and gives every row a token: rows count with no rate of writing."""
    totals = minidecilm.Totals(rows=2, read_tokens=6, written_tokens=12)
    for reading, seconds in ((True, 0.5), (False, 2.0), (False, 3.0)):
        totals.add_step(seconds, 100, reading)
    assert (totals.read_seconds, totals.write_seconds) == (0.5, 5.0)
    assert str(totals) == "read 6 tokens (12 a second), wrote 12 (2 a second), cache 100 bytes"


def test_every_row_of_a_trace_is_that_row(model):
    together, alone = [], []
    options = {"max_new_tokens": 3, "temperature": 0, "eos_token_ids": ()}
    minidecilm.generate_tokens(model, [[5, 9], [8, 4, 2]], trace=together, **options)
    minidecilm.generate_tokens(model, [8, 4, 2], trace=alone, **options)
    for step, other in zip(together, alone, strict=True):
        assert step.tokens[1] == other.tokens[0]
        assert step.log_probabilities[1] == pytest.approx(other.log_probabilities[0], abs=1e-5)
        assert [token for token, _ in step.alternatives[1]] == [token for token, _ in other.alternatives[0]]


def test_progress_bars_go_to_stderr(model, capsys):
    minidecilm.generate_tokens(model, [5, 9], max_new_tokens=3, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading 2 tokens" in err
    assert "writing" in err


GREEDY = {"max_new_tokens": 6, "temperature": 0}


@pytest.mark.parametrize("policy", ["reference", "fixed", "exact"])
def test_a_conversation_is_as_one_text(policy):
    """Three calls of a batch in one cache, the last beyond M = 64 where feeding order does not matter."""
    model = checks.golden_model(rope=policy)
    turns = [[[5, 9, 300], [7] * 9], [list(range(20, 40)), [8, 3]], [[11, 12], [13]]]
    if policy != "reference":
        turns[1][0] = list(range(20, 80))
    cache = model.new_cache(2, 120)
    texts = [[], []]
    for turn in turns:
        new = minidecilm.generate_tokens(model, turn, cache=cache, **GREEDY)
        for row in range(2):
            texts[row] += turn[row]
            if policy == "fixed":  # goes by the plan of the cache
                expected = [int(new[row][0])]
                planned = model.new_cache(1, 200, planned_lengths=120)
                assert model([texts[row]], planned)[0, -1].argmax() == expected[0]
            else:
                alone = minidecilm.generate_tokens(model, texts[row], **GREEDY)
                np.testing.assert_array_equal(new[row], alone)
            texts[row] += new[row].tolist()
        assert cache.row_lengths.tolist() == [len(text) for text in texts]


def test_a_cache_holds_the_last_token_of_rows_that_end_at_unlike_times(model):
    """An end of text and a stop sequence too, for which the model made place: both were written."""
    quick = replace(model.config, eos_token_ids=(300,))
    ending = saying(DeciLM(quick, model.weights, model.backend), [7, 300], [7, 8, 9, 8], [5, 6, 6])
    cache = DeciLM(quick, model.weights, model.backend).new_cache(3, 20)
    found = minidecilm.generate_tokens(
        ending, [[5], [5, 6], [5, 6, 7]], max_new_tokens=4, temperature=0, stop=[[6, 6]], cache=cache
    )
    assert [row.tolist() for row in found] == [[7, 300], [7, 8, 9, 8], [5]]
    assert ending.caches == []
    assert cache.row_lengths.tolist() == [1 + 2, 2 + 4, 3 + 3]
    for row, text in enumerate([[5, 7, 300], [5, 6, 7, 8, 9, 8], [5, 6, 7, 5, 6, 6]]):
        alone = model.new_cache(1, 20)
        model([text], alone)
        held = cache.past_mask()[row]
        keys = cache.keys[2][row][:, : cache.length][:, held]
        np.testing.assert_allclose(keys, alone.keys[2][0][:, : len(text)], rtol=0, atol=1e-5)


def test_nothing_is_fed_behind_the_last_token_without_a_cache_of_ones_own(model):
    spy = saying(model, [7])
    minidecilm.generate_tokens(spy, [5], max_new_tokens=3, eos_token_ids=())
    assert (spy.calls, spy.caches[0].length) == (3, 3)
    cache = model.new_cache(1, 4)  # there is room for the last token and no more
    minidecilm.generate_tokens(spy, [5], max_new_tokens=3, eos_token_ids=(), cache=cache)
    assert cache.length == 4


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([[5], [6]], {}, "the cache was made for batch size 1, this call has 2 rows"),
        (
            [5, 6],
            {"max_new_tokens": 5},
            r"room for 9 slots, 3 are used and this call adds 7: make it with max_",
        ),
        ([5], {"max_new_tokens": 2, "max_length": 5}, r"a prompt of 4 \+ 2 new tokens exceeds 5 tokens"),
        ([5], {"cache": "mine"}, "cache: expected a KVCache, found 'mine'"),
    ],
)
def test_a_cache_that_does_not_serve_is_refused_and_left_alone(model, prompts, options, message):
    cache = model.new_cache(1, 9)
    model([[1, 2, 3]], cache)
    with pytest.raises(ValueError, match=message):
        minidecilm.generate_tokens(model, prompts, **{"cache": cache} | options)
    assert cache.length == 3
    assert (
        len(minidecilm.generate_tokens(model, [4, 5], cache=cache, max_new_tokens=4, eos_token_ids=())) == 4
    )


def test_penalty_counts_tokens_of_this_call_only(model):
    logits = np.full((1, 512), -1.0)
    logits[0, [0, 7]] = 2.0, 1.5
    cache, options = (
        model.new_cache(1, 20),
        {"max_new_tokens": 1, "temperature": 0, "repetition_penalty": 2.0},
    )
    found = [
        minidecilm.generate_tokens(Scripted(model, logits), prompt, cache=cache, **options)[0]
        for prompt in ([0], [5], [0])
    ]
    assert found == [7, 0, 7]
