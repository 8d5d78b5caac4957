"""The numbers that the scripts of the analysis draw, against the library and against counts by hand.

Figures are drawn and not written: only their CSV files are read here.
"""

import csv
import json
from functools import partial

import numpy as np
import pytest

import minidecilm
from analysis import (
    activations,
    architecture,
    attention,
    kv_allocation,
    kv_cache,
    kv_heads,
    kv_sensitivity,
    largest_batch,
    parameters,
    roofline,
    throughput,
)
from analysis.common import RESULTS, save
from minidecilm import Recorder, costs, plots, preset

# Bytes in bfloat16: of the cache of a token, 2 x 2 x 128 times the KV heads; of the weights.
TOKEN = {
    "Llama 2 7B": 524_288,
    "Mistral 7B": 131_072,
    "DeciLM-6b padded to 4 heads": 65_536,
    "DeciLM-7B": 34_304,
    "DeciLM-6b": 25_600,
}
WEIGHTS = {"Llama 2 7B": 13_476_831_232, "DeciLM-6b": 11_434_205_184}


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Run a script and return the rows of one of its CSV files, numbers as floats where they are any."""
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: None)

    def number(text):
        try:
            return float(text)
        except ValueError:
            return text

    def read(script, name):
        if not (tmp_path / f"{name}.csv").exists():
            script.main(partial(save, tmp_path))
        with (tmp_path / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            return [
                [panel, series, *map(number, rest)] for panel, series, *rest in list(csv.reader(file))[1:]
            ]

    return read


def by_series(rows):
    """Points by series: name to (N, 2)."""
    found = {}
    for _, series, *point in rows:
        found.setdefault(series, []).append(point)
    return found


def test_caches(rows):
    contexts, batches = 2 ** np.arange(8, 16), 2 ** np.arange(9)
    by_context = by_series(rows(kv_cache, "kv-cache-context"))
    by_batch = by_series(rows(kv_cache, "kv-cache-batch"))
    assert list(by_context) == list(by_batch) == list(TOKEN)
    for name, nbytes in TOKEN.items():
        np.testing.assert_allclose(by_context[name], np.c_[contexts, contexts * nbytes], rtol=1e-9)
        np.testing.assert_allclose(by_batch[name], np.c_[batches, batches * 4096 * nbytes], rtol=1e-9)
    [title] = {panel for panel, *_ in rows(kv_cache, "kv-cache-batch")}
    fitting = [24 * 10**9 // (4096 * TOKEN[name]) for name in ("Llama 2 7B", "DeciLM-6b")]
    assert title.startswith(
        f"The cache alone fills 24 GB at {fitting[0]} rows of Llama 2 7B, {fitting[1]} of"
    )


def test_rows_that_fit(rows):
    found = {(series, name): fitting for _, series, fitting, name in rows(largest_batch, "largest-batch")}
    for (memory, name), fitting in found.items():
        if name in WEIGHTS:
            nbytes = int(memory.removesuffix(" GB")) * 10**9 - WEIGHTS[name]
            assert fitting == nbytes // (4096 * TOKEN[name])
    assert {name for _, name in found} == set(TOKEN)
    padded, own = (found["80 GB", name] for name in ("DeciLM-6b padded to 4 heads", "DeciLM-6b"))
    assert own / padded == pytest.approx(2.56, rel=0.01)


def test_heads_and_parameters(rows):
    found = by_series(rows(kv_heads, "kv-heads"))
    names = {"DeciLM-6b": "decilm-6b", "DeciLM-7B": "decilm-7b", "DeciCoder-6B": "decicoder-6b"}
    for title, name in (names | {"Llama 2 7B": "llama-2-7b"}).items():
        heads = preset(name).num_key_value_heads_per_layer
        assert [tuple(point) for point in found[title]] == list(enumerate(heads))
    by_name = {}
    for _, part, width, name in rows(parameters, "parameters"):
        by_name.setdefault(name, {})[part] = width * 1e9
    assert sum(by_name["DeciLM-6b"].values()) == pytest.approx(5_717_102_592)
    assert by_name["DeciLM-6b"]["attention k, v"] == pytest.approx(2 * 4096 * 128 * 50)
    assert by_name["Llama 2 7B"]["attention k, v"] == pytest.approx(2 * 4096 * 128 * 32 * 32)
    bars = by_series(rows(architecture, "architecture"))  # widths: 32 query heads shared by 4, 2 or 1
    decilm = preset("decilm-6b").num_key_value_heads_per_layer
    assert [width for width, _ in bars["KV head 0"]] == [32 / heads for heads in decilm]
    assert [len(bars[f"KV head {head}"]) for head in range(4)] == [
        sum(k > head for k in decilm) for head in range(4)
    ]


def test_bounds_and_the_fifteen_times(rows):
    """An A10 reads 600 GB/s: a step of few rows takes as long as its weights and caches take to be read."""
    found = by_series(rows(throughput, "throughput"))
    for name, streamed, last in (("DeciLM-6b", 5_585_764_352, 64), ("Llama 2 7B", 6_607_077_376, 19)):
        bound = dict(map(tuple, found[name]))
        for size in (1, 8, last):
            nbytes = 2 * streamed + size * 1024 * TOKEN[name]
            assert bound[size] == pytest.approx(size * 600e9 / nbytes, rel=1e-8)
    assert found["DeciLM-6b, Infery LLM, measured"] == [[128, 2029.6]]
    assert found["DeciLM-6b, PyTorch, measured"] == [[64, 652.49]]
    assert found["Llama 2 7B, PyTorch, measured"] == [[8, 136.0]]
    ends = {}
    for _, series, rate, _ in rows(throughput, "fifteen-times"):
        ends.setdefault(series, []).append(rate)
    factors = [stop / start for start, stop in ends.values()]
    assert [round(factor, 2) for factor in factors] == [14.92, 4.8, 1.54, 3.11]
    assert factors[0] == pytest.approx(factors[1] * factors[3])


def test_intensities(rows):
    """Of a step with 1,024 cached tokens; an A10 only reads in it, a CPU computes some of it for longer."""
    flops = 2 * 5_585_764_352 + 32 * 4 * 4096 * 1024
    intensity = flops / (2 * 5_585_764_352 + 1024 * 25_600)
    [x, y], *_ = by_series(rows(roofline, "roofline"))["DeciLM-6b"]
    assert (x, y) == (pytest.approx(intensity, rel=1e-8), pytest.approx(intensity * 0.6, rel=1e-8))
    [x, y], *_ = by_series(rows(roofline, "roofline-cpu"))["DeciLM-6b"]
    reading = costs.device("cpu-epyc").bytes_per_second / 1e12
    assert (x, y) == (pytest.approx(intensity, rel=1e-8), pytest.approx(intensity * reading, rel=0.02))


@pytest.fixture(scope="module")
def seen():
    lm = minidecilm.load("demo")
    recorder = Recorder(["attention_weights", "o_proj", "down_proj", "hidden_states"])
    lm.model([lm.tokenizer.encode(attention.STORY)], observer=recorder)
    return recorder.values


def test_attention(rows, seen):
    cells = {}
    for panel, _, key, query, weight in rows(attention, "attention-maps"):
        cells[panel, int(query), int(key)] = weight
    weights = seen[attention.LAYER, "attention_weights"][0]
    T = weights.shape[1]
    assert len(cells) == 8 * T * (T + 1) // 2
    for (panel, query, key), weight in cells.items():
        head, kv_head = (int(part.split()[-1]) for part in panel.split(", "))
        assert kv_head == head // 4  # of the 2 KV heads of layer 1
        assert weight == pytest.approx(weights[head, query, key], rel=1e-3, abs=1e-9)
    entropy, share = (by_series(rows(attention, f"attention-{name}")) for name in ("entropy", "first-token"))
    for layer in range(8):
        for head, p in enumerate(seen[layer, "attention_weights"][0].astype(np.float64)):
            kv_heads = minidecilm.load("demo").config.num_key_value_heads_per_layer[layer]
            name = f"layer {layer}, head {head}, KV head {head * kv_heads // 8}"
            bits = np.where(p > 0, -p * np.log2(np.maximum(p, 1e-300)), 0).sum(axis=1).mean()
            assert entropy[name][0][1] == pytest.approx(bits, rel=1e-6)
            assert share[name][0][1] == pytest.approx(p[1:, 0].mean(), rel=1e-6)


def test_activations(rows, seen):
    found = by_series(rows(activations, "activations"))
    stages = {
        "hidden state": "hidden_states",
        "added by attention": "o_proj",
        "added by feed-forward": "down_proj",
    }
    assert set(found) == set(stages)
    for name, stage in stages.items():
        sizes = [np.sqrt(np.mean(seen[layer, stage].astype(np.float64) ** 2)) for layer in range(8)]
        np.testing.assert_allclose(found[name], np.c_[np.arange(8), sizes], rtol=1e-6)


def test_what_pooling_costs(rows):
    result = json.loads((RESULTS / "allocation.json").read_text(encoding="utf-8"))
    found = by_series(rows(kv_allocation, "allocation"))
    places = {
        "every allocation": result["allocations"],
        "chosen layer by layer": [row for row in result["allocations"] if row["chosen"]],
        "the same limit in every layer": [row for row in result["allocations"] if row["at_most_heads"]],
    }
    assert set(found) == set(places)
    for name, expected in places.items():
        points = [[row["bytes_per_token"], row["perplexity"]] for row in expected]
        np.testing.assert_allclose(sorted(found[name]), sorted(points), rtol=1e-9)
    bars = by_series(rows(kv_allocation, "allocation-sensitivity"))
    for left in (1, 2):
        layers = [layer for layer in result["sensitivity"] if str(left) in layer["extra_losses"]]
        losses = [[layer["layer"], layer["extra_losses"][str(left)]] for layer in layers]
        shown = bars[f"{left} KV head{'s' * (left > 1)} left"]
        np.testing.assert_allclose([[round(x), y] for x, y in shown], losses, rtol=1e-9)


def test_sensitivity_of_another_model(rows):
    result = json.loads((RESULTS / "smollm2.json").read_text(encoding="utf-8"))
    found = by_series(rows(kv_sensitivity, "smollm2-sensitivity"))
    losses = result["extra_loss_with_one_kv_head"]
    np.testing.assert_allclose(found["1 KV head left"], np.c_[np.arange(len(losses)), losses], rtol=1e-9)
    heads = preset("decilm-6b").num_key_value_heads_per_layer
    np.testing.assert_array_equal(found["DeciLM-6b"], np.c_[np.arange(32), heads])
