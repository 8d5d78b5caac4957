"""The small architecture search on the demo: its parts agree, and the published numbers are of this demo."""

import json
import math
from itertools import product

import pytest

import minidecilm
from analysis import allocation
from analysis.common import RESULTS
from minidecilm.experiments.allocate import allocation_front
from minidecilm.experiments.evaluate import text_rows
from training.stories import HELD_OUT_START, stories

TEXTS = ["Once upon a time, there was a fox.", "Lily lost her ball.", "One day, Tom ran home.", "The end."]


@pytest.fixture(scope="module")
def result():
    return allocation.measure("demo", TEXTS)


@pytest.fixture(scope="module")
def rows():
    return text_rows(minidecilm.load("demo"), TEXTS)


def test_every_allocation_is_there_once(result):
    present = minidecilm.load("demo").config.num_key_value_heads_per_layer
    everything = product(*([k for k in (1, 2, 4) if k <= old] for old in present))
    assert sorted(tuple(row["kv_heads"]) for row in result["allocations"]) == sorted(everything)
    sizes = [row["bytes_per_token"] for row in result["allocations"]]
    assert sizes == sorted(sizes)


def test_losses_are_real_and_on_stories_that_nothing_was_chosen_by(result, rows):
    for row in result["allocations"][::20]:
        [loss] = minidecilm.measure_allocations("demo", [row["kv_heads"]], rows[2:])
        assert row["loss"] == loss
        assert row["perplexity"] == math.exp(loss)
    [whole] = [row for row in result["allocations"] if row["extra_loss"] == 0]
    assert tuple(whole["kv_heads"]) == minidecilm.load("demo").config.num_key_value_heads_per_layer
    assert whole["predicted_extra_loss"] == 0
    assert result["tokens_for_choosing"] == sum(len(row) - 1 for row in rows[:2])
    assert result["tokens_for_checking"] == sum(len(row) - 1 for row in rows[2:])


def test_the_chosen_are_the_front_of_the_other_stories(result, rows):
    front = allocation_front(minidecilm.sensitivity("demo", rows[:2]))
    chosen = [row for row in result["allocations"] if row["chosen"]]
    assert [tuple(row["kv_heads"]) for row in chosen] == [point.kv_heads for point in front]
    for row, point in zip(chosen, front, strict=True):
        assert row["predicted_extra_loss"] == pytest.approx(point.extra_loss)
        assert row["bytes_per_token"] == point.bytes_per_token


def test_limits_are_the_same_in_every_layer(result):
    present = minidecilm.load("demo").config.num_key_value_heads_per_layer
    limited = {row["at_most_heads"]: row["kv_heads"] for row in result["allocations"] if row["at_most_heads"]}
    assert limited == {n: [min(n, old) for old in present] for n in (1, 2, 4)}


def test_the_table_shows_the_chosen_and_the_limited(result):
    lines = allocation.summary(result).splitlines()[1:]
    shown = [row for row in result["allocations"] if row["chosen"] or row["at_most_heads"]]
    assert len(lines) == len(shown) < len(result["allocations"])
    assert any(line.endswith("1 1 1 1 1 1 1 1  chosen  at most 1") for line in lines)


def test_the_stories_are_those_that_training_never_sees():
    """After a change of the story writer: see analysis/data/README.md."""
    assert allocation.read_stories() == list(stories(HELD_OUT_START, 100))


def test_the_published_numbers_are_of_the_demo_that_is_here():
    """After a change of the demo: python -m analysis.allocation."""
    published = json.loads((RESULTS / "allocation.json").read_text(encoding="utf-8"))
    assert published["weights_sha256"] == allocation.fingerprint(minidecilm.load("demo").checkpoint.files)
