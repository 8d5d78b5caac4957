"""Each figure of `minidecilm plot` shows what it is asked for: what is drawn, against counts by hand."""

import json

import numpy as np
import pytest

import minidecilm
from minidecilm import plots, preset
from minidecilm.observe import Recorder
from minidecilm.plots.axes import points_of

PROMPT = "One day, Sam ran home."
# The published numbers: bytes of cache per token, bytes of weights, streamed weights.
CACHE = {"decilm-6b": 25_600, "llama-2-7b": 524_288}
STREAMED = {"decilm-6b": 5_585_764_352}
#: A device that waits for memory, whatever it computes; and its file.
SLOW = {"memory_bytes": 24 * 10**9, "bytes_per_second": 1e11, "flops_per_second": 1e18}
FLOATS = ("bfloat16", "float32")


@pytest.fixture
def drawn(monkeypatch, tmp_path, run_command):
    """Run `minidecilm plot` and return the figure that it would have written."""

    def draw(*arguments):
        figures = []
        monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
        assert run_command("plot", *arguments, "--out", tmp_path / "p.svg")[0] == 0
        return figures[0]

    return draw


@pytest.fixture
def devices(tmp_path):
    record = {key: {"value": value, "source": "s"} for key, value in SLOW.items()}
    record |= {"title": "A slow one", "flops_per_second": dict.fromkeys(FLOATS, record["flops_per_second"])}
    file = tmp_path / "devices.json"
    source = {"title": "made up", "date": "2026-01-01"}
    file.write_text(json.dumps({"sources": {"s": source}, "devices": {"slow": record}}))
    return file


@pytest.fixture(scope="module")
def seen():
    """Stages of the demo model, which reads the prompt."""
    lm = minidecilm.load("demo")
    recorder = Recorder(["attention_weights", "o_proj", "down_proj", "hidden_states"])
    lm.model([lm.tokenizer.encode(PROMPT)], observer=recorder)
    return recorder.values


def lines(ax):
    """What labelled lines join: label to (N, 2)."""
    return {line.get_label(): points_of(line) for line in ax.lines if not line.get_label().startswith("_")}


@pytest.mark.parametrize("layer", [0, 1, 4])
def test_attention_of_a_layer(drawn, seen, layer):
    figure = drawn("attention", "demo", "--layer", layer, "--prompt", PROMPT)
    weights = seen[layer, "attention_weights"][0]  # (H, T, T)
    kv_heads = minidecilm.load("demo").config.num_key_value_heads_per_layer[layer]
    panels = {ax.get_label(): ax for ax in figure.axes if ax.get_visible() and ax.images}
    assert list(panels) == [f"head {h}, KV head {h // (8 // kv_heads)}" for h in range(8)]
    for ax, expected in zip(panels.values(), weights, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array().filled(0), expected)
        assert (ax.images[0].norm.vmin, ax.images[0].norm.vmax) == (0, 1)  # one scale for all
    assert figure.get_suptitle() == f"demo: attention in layer {layer}"


def by_head(figure):
    """Numbers of dots by layer and head, once their place and the name of their KV head are right."""
    [ax] = figure.axes
    kv_heads = minidecilm.load("demo").config.num_key_value_heads_per_layer
    found = np.empty((8, 8))
    places = []
    for label, points in lines(ax).items():
        layer, head, kv_head = (int(part.split()[-1]) for part in label.split(", "))
        assert kv_head == head // (8 // kv_heads[layer])
        [[place, found[layer, head]]] = points
        assert abs(place - layer) < 0.5
        places.append(place)
    assert len(places) == 64
    assert places == sorted(places)
    return found


def test_entropy_is_the_mean_of_all_queries(drawn, seen):
    expected = np.zeros((8, 8))
    for layer in range(8):
        for head, queries in enumerate(seen[layer, "attention_weights"][0]):
            expected[layer, head] = np.mean([-sum(p * np.log2(p) for p in q if p > 0) for q in queries])
    found = by_head(drawn("attention-entropy", "--prompt", PROMPT))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_first_token_share_is_that_of_the_queries_after_it(drawn, seen):
    weights = [seen[layer, "attention_weights"][0] for layer in range(8)]
    expected = [[head[1:, 0].mean() for head in heads] for heads in weights]
    np.testing.assert_allclose(
        by_head(drawn("attention-first-token", "--prompt", PROMPT)), expected, rtol=1e-6
    )


def test_activations_are_those_of_each_stage_and_layer(drawn, seen):
    [ax] = drawn("activations", "--prompt", PROMPT).axes
    found = lines(ax)
    stages = {"attention": "o_proj", "feed-forward": "down_proj"}
    labels = {f"added by {name}": stage for name, stage in stages.items()} | {"hidden state": "hidden_states"}
    assert set(found) == set(labels)
    for label, stage in labels.items():
        expected = [np.sqrt(np.mean(seen[layer, stage].astype(np.float64) ** 2)) for layer in range(8)]
        np.testing.assert_allclose(found[label], np.c_[np.arange(8), expected], rtol=1e-9)


def test_a_prompt_is_read_whole(drawn):
    ids = minidecilm.load("demo").tokenizer.encode("One day")
    [image] = drawn("attention", "--layer", 3, "--prompt", "One day").axes[0].images
    assert image.get_array().shape == (len(ids), len(ids))


def test_cache_by_batch(drawn):
    [ax] = drawn("kv-cache-batch", "decilm-6b", "Llama-2-7B", "--context", 99).axes
    rows = 2 ** np.arange(9)
    for title, name in (("DeciLM-6b", "decilm-6b"), ("Llama 2 7B", "llama-2-7b")):
        np.testing.assert_array_equal(lines(ax)[title], np.c_[rows, 99 * CACHE[name] * rows])
    assert ax.get_xlabel() == "batch size (rows of 99 tokens)"
    [ax] = drawn("kv-cache-batch", "decilm-6b").axes
    assert lines(ax)["DeciLM-6b"][0, 1] == 4096 * CACHE["decilm-6b"]


def test_cache_by_context(drawn):
    [ax] = drawn("kv-cache", "decilm-6b", "demo").axes
    contexts = 2 ** np.arange(6, 14)  # to twice the longest context of training
    np.testing.assert_array_equal(lines(ax)["DeciLM-6b"], np.c_[contexts, contexts * CACHE["decilm-6b"]])


@pytest.mark.parametrize(("weights", "nbytes"), [(None, 11_434_205_184), ("int4", 3_295_649_792)])
def test_largest_batch(drawn, weights, nbytes):
    options = ["--weights", weights] if weights else []
    [ax] = drawn("largest-batch", "decilm-6b", "--context", 1000, *options).axes
    found = {label: points.tolist() for label, points in lines(ax).items()}
    row = 1000 * CACHE["decilm-6b"]
    assert found == {f"{size} GB": [[(size * 10**9 - nbytes) // row, 0]] for size in (24, 40, 80)}
    assert ax.get_xlabel() == "largest batch (rows of 1,000 tokens)"


def test_throughput_of_a_device_of_ones_own(drawn, devices):
    """Where nothing waits for arithmetic, a step takes as long as its bytes take to be read."""
    arguments = ("throughput", "decilm-6b", "--devices", devices, "--device", "slow", "--context", 2000)
    [ax] = drawn(*arguments).axes
    points = lines(ax)["DeciLM-6b"]
    row = 2000 * CACHE["decilm-6b"]
    most = (24 * 10**9 - 11_434_205_184) // row
    rows = np.arange(1, most + 1)
    np.testing.assert_allclose(points, np.c_[rows, rows / ((2 * STREAMED["decilm-6b"] + rows * row) / 1e11)])
    assert ax.get_title("left") == "Decode on A slow one: most it allows"
    [ax] = drawn(*arguments, "--weights", "float32").axes
    np.testing.assert_allclose(lines(ax)["DeciLM-6b"][0, 1], 1e11 / (4 * STREAMED["decilm-6b"] + row))


def test_roofline_of_a_device_of_ones_own(drawn, devices):
    """Dots lie on the slope, at the operations for a byte of decode with so many cached tokens."""
    arguments = ("roofline", "decilm-6b", "--devices", devices, "--device", "slow", "--context", 3000)
    for storage, width in (("bfloat16", 2), ("float32", 4)):
        [ax] = drawn(*arguments, "--weights", storage).axes
        x, y = lines(ax)["DeciLM-6b"].T
        rows = np.array([1, 8, 64])
        flops = 2 * rows * STREAMED["decilm-6b"] + rows * 32 * 4 * 4096 * 3000
        nbytes = width * STREAMED["decilm-6b"] + rows * 3000 * CACHE["decilm-6b"]
        np.testing.assert_allclose(x[:3], flops / nbytes, rtol=1e-12)
        head, pairs = 32_000 * 4096, 512 * 513 // 2
        flops = 2 * (512 * STREAMED["decilm-6b"] - 511 * head) + 32 * 4 * 4096 * pairs
        nbytes = width * STREAMED["decilm-6b"] + 512 * CACHE["decilm-6b"]
        assert x[3] == pytest.approx(flops / nbytes, rel=1e-12)
        np.testing.assert_allclose(y, x * 1e11 / 1e12, rtol=1e-12)
    assert ax.get_title("left") == "A slow one"


def test_kv_heads_of_each_model_in_its_colour(drawn, tmp_path):
    files = []
    for name, heads in (("one", [8, 2] * 16), ("two", [4] * 32)):
        (tmp_path / name).mkdir()
        files.append(tmp_path / name / "config.json")
        values = preset("decilm-6b").to_dict() | {"num_key_value_heads_per_layer": heads}
        files[-1].write_text(json.dumps(values))
    figure = drawn("kv-heads", files[0], "decilm-6b", "--config", files[1])
    found = {ax.get_title("left"): ax for ax in figure.axes}
    assert list(found) == ["one: 160 in all", "DeciLM-6b: 50 in all", "two: 128 in all"]
    heights = [[bar.get_height() for bar in ax.patches] for ax in found.values()]
    assert heights == [[8, 2] * 16, list(preset("decilm-6b").num_key_value_heads_per_layer), [4] * 32]
    colors = [ax.patches[0].get_facecolor() for ax in found.values()]
    assert len(set(colors)) == 3
    assert {ax.get_ylim() for ax in found.values()} == {(0.5, 1.3 * 8)}


def test_parameters_of_each_model(drawn):
    [ax] = drawn("parameters", "llama-2-7b", "decilm-6b").axes
    ends = np.sum([[bar.get_width() for bar in bars] for bars in ax.containers], axis=0)
    np.testing.assert_allclose(ends, [6.738415616, 5.717102592], rtol=1e-12)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Llama 2 7B", "DeciLM-6b"]


def test_rotary_base_up_to_four_times_the_shorter_context(drawn):
    [ax] = drawn("rope-base", "decilm-6b", "decilm-7b").axes
    lengths, bases = lines(ax)["DeciLM-6b"].T
    assert (lengths[0], lengths[-1]) == (1, 4 * 4096)
    beyond = np.maximum(2 * lengths / 4096 - 1, 1)
    np.testing.assert_allclose(bases, 10_000 * beyond ** (128 / 126), rtol=1e-12)
    assert lines(ax)["DeciLM-7B"][-1, 0] == 4 * 4096


def test_wavelengths_of_one_two_and_four_contexts(drawn):
    figure = drawn("wavelengths", "demo")
    [ax] = figure.axes
    assert ax.get_title("left") == "demo: tokens in which\neach pair turns once"
    D = minidecilm.load("demo").config.head_dim
    found = {label: points for label, points in lines(ax).items() if label.startswith("text")}
    assert list(found) == ["text of 256", "text of 512", "text of 1,024"]
    for times, points in zip((1, 2, 4), found.values(), strict=True):
        base = 10_000 * (2 * times - 1) ** (D / (D - 2))
        expected = [2 * np.pi * base ** (2 * pair / D) for pair in range(D // 2)]
        np.testing.assert_allclose(points, np.c_[np.arange(D // 2), expected], rtol=1e-12)


def test_angles_of_one_two_and_four_contexts(drawn):
    figure = drawn("angles", "demo")
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    scalings = [(name, length) for name in ("none", "NTK") for length in (256, 512, 1024)]
    assert [ax.get_label() for ax in panels] == [f"{name} {length}" for name, length in scalings]
    D = minidecilm.load("demo").config.head_dim
    for ax, (name, length) in zip(panels, scalings, strict=True):
        base = 10_000 * (2 * length / 256 - 1) ** (D / (D - 2)) if name == "NTK" else 10_000
        turns = ax.images[0].get_array()
        middles = (np.arange(turns.shape[1]) + 0.5) * length / turns.shape[1]
        expected = middles * base ** (-2 * np.arange(D // 2)[:, None] / D) / (2 * np.pi)
        np.testing.assert_allclose(turns, expected, rtol=1e-9)
    assert figure.get_suptitle().startswith("demo: angles")


def test_architecture(drawn):
    [ax] = drawn("architecture", "demo").axes
    assert ax.get_title("left") == "demo: 8 layers, 19 KV heads"
    assert [len(bars) for bars in ax.containers[:4]] == [8, 5, 3, 3]  # layers with a first to a fourth


@pytest.mark.parametrize("dark", [False, True])
def test_dark(drawn, dark):
    figure = drawn("kv-heads", *["--dark"] * dark)
    assert (np.mean(figure.get_facecolor()[:3]) < 0.2) == dark
    assert (figure.axes[0].xaxis.label.get_color() == plots.DARK["text.color"]) == dark
