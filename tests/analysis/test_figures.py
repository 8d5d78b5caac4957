"""All figures of the analysis are drawn, small, the same every time, with the numbers that they show."""

import csv
from functools import partial
from xml.etree import ElementTree

import pytest

from analysis import make_all, policies, rotary
from analysis.common import save

NAMES = {
    "activations",
    "allocation",
    "allocation-sensitivity",
    "architecture",
    "attention-entropy",
    "attention-first-token",
    "attention-maps",
    "fifteen-times",
    "kv-cache-batch",
    "kv-cache-context",
    "kv-heads",
    "largest-batch",
    "parameters",
    "policy-error",
    "policy-order",
    "policy-perplexity",
    "roofline",
    "roofline-cpu",
    "rope-base",
    "rotary-angles",
    "score-by-distance",
    "smollm2-sensitivity",
    "throughput",
    "wavelengths",
}


def numbers(file):
    with file.open(newline="") as lines:
        return list(csv.reader(lines))


@pytest.mark.slow
def test_every_figure_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(policies, "ROWS", 1)  # of the text that three models read token by token
    make_all.main(partial(save, tmp_path / "new"))
    files = {file.name: file for file in (tmp_path / "new").iterdir()}
    assert set(files) == {f"{name}{end}" for name in NAMES for end in ("-light.svg", "-dark.svg", ".csv")}
    for name, file in files.items():
        assert file.stat().st_size < 300_000, name
        if name.endswith(".svg"):
            ElementTree.parse(file)
        else:
            assert len(numbers(file)) > 2, name
    order = numbers(files["policy-order.csv"])[1:]
    beyond = {series: float(value) for _, series, position, value in order if position == "512"}
    assert beyond["reference"] > 1e-3
    assert beyond["fixed"] < 1e-8
    assert beyond["exact"] < 1e-8


@pytest.mark.slow
def test_the_same_numbers_give_the_same_files(tmp_path):
    for folder in ("first", "second"):
        rotary.main(partial(save, tmp_path / folder))
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name
