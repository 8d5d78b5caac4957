"""Figures draw what they are given, on the axes they are given, with units, in light and in dark."""

import csv
import io
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

import minidecilm
from minidecilm import costs, plots, preset, rope
from minidecilm.config import Config, LayerConfig
from minidecilm.plots.axes import binary, points_of
from minidecilm.plots.style import BLUE, VERMILION, ink

DECILM, LLAMA = preset("decilm-6b"), preset("llama-2-7b")
BOTH = {"DeciLM-6b": DECILM, "Llama 2 7B": LLAMA}
A10 = costs.device("a10")
PADDED = {"DeciLM-6b padded to 4 heads": costs.padded_to_uniform(DECILM)}
FIVE = BOTH | PADDED | {"DeciLM-7B": preset("decilm-7b"), "Mistral 7B": preset("mistral-7b")}
STEPS = {"model and batch": (136, 652.49), "engine": (652.49, 2029.6)}
POLICIES = {"reference": np.array([1e-9, 2.0]), "exact": np.array([1e-9, 1.0])}

# name: (draw into one Axes, unit on the x axis, unit on the y axis)
FIGURES = {
    "kv_heads": (
        lambda ax: plots.kv_heads(ax, "DeciLM-6b", DECILM.num_key_value_heads_per_layer),
        "layer",
        "KV heads",
    ),
    "parameters": (lambda ax: plots.parameters(ax, FIVE), "billions", ""),
    "kv_cache_by_context": (lambda ax: plots.kv_cache_by_context(ax, FIVE, [256, 4096]), "tokens", "bytes"),
    "kv_cache_by_batch": (lambda ax: plots.kv_cache_by_batch(ax, FIVE, [1, 8, 64]), "rows of 4,096", "bytes"),
    "largest_batch": (
        lambda ax: plots.largest_batch(ax, FIVE, {"12 GB": 12 * 10**9, "80 GB": 80 * 10**9}),
        "rows of 4,096 tokens",
        "",
    ),
    "throughput": (
        lambda ax: plots.throughput(ax, BOTH, A10, [1, 8, 64, 512]),
        "rows of 1,024 tokens",
        "tokens per second",
    ),
    "factors": (lambda ax: plots.factors(ax, STEPS, ["engine"]), "tokens per second", ""),
    "roofline": (lambda ax: plots.roofline(ax, BOTH, A10), "FLOP per byte", "TFLOP per second"),
    "rope_base": (lambda ax: plots.rope_base(ax, BOTH, [1, 4096, 8192]), "tokens", "rotary base"),
    "wavelengths": (lambda ax: plots.wavelengths(ax, DECILM, [4096, 8192]), "rotary pair", "tokens"),
    "score_by_distance": (
        lambda ax: plots.score_by_distance(ax, DECILM, [4096, 8192]),
        "tokens",
        "share of distance 0",
    ),
    "by_head": (lambda ax: plots.by_head(ax, [np.arange(8.0), np.ones(8)], [4, 1]), "layer", None),
    "by_position": (lambda ax: plots.by_position(ax, np.array([1, 9]), POLICIES, 4), "tokens", None),
    "activations": (
        lambda ax: plots.activations(ax, {"hidden state": [1, 3], "added by attention": [1, 2.9]}),
        "layer",
        "root mean square",
    ),
    "sensitivity": (
        lambda ax: plots.sensitivity(ax, [{1: 0.5, 2: 0.1}, {1: 0.2}]),
        "layer",
        "nats per token",
    ),
    "allocations": (
        lambda ax: plots.allocations(ax, [(64, 4.0), (96, 3.0)], [(64, 4.0)], {1: (64, 4.0)}),
        "bytes per token",
        "perplexity",
    ),
}


def draw(function, dark=False, **layout):
    """Draw and lay out; return the axes."""
    with plots.style(dark):
        figure, axes = plots.new_figure(**layout)
        returned = function(axes)
        figure.draw_without_rendering()
    assert returned is axes
    return axes


def overhang(figure):
    """Inches by which what is drawn passes the edges of the figure."""
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    return max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


def line(ax, label):
    """What the line with that label joins: (N, 2)."""
    [found] = [line for line in ax.lines if line.get_label() == label]
    return points_of(found)


@pytest.mark.parametrize(
    ("name", "dark"), [*((name, False) for name in FIGURES), ("kv_heads", True), ("throughput", True)]
)
def test_every_figure(name, dark):
    function, x_unit, y_unit = FIGURES[name]
    ax = draw(function, dark, size=(5.4, 3.6))
    assert x_unit in ax.get_xlabel()
    assert y_unit is None or y_unit in ax.get_ylabel()
    figure = ax.get_figure()
    assert overhang(figure) < 0.01
    colors = plots.DARK if dark else plots.LIGHT
    assert ax.xaxis.label.get_color() == colors["text.color"]
    assert (np.mean(figure.get_facecolor()[:3]) < 0.2) == dark


def test_what_is_cut_off_is_noticed():
    with plots.style():
        figure, ax = plots.new_figure()
        ax.set_title("longer than the figure is wide " * 3)
        figure.draw_without_rendering()
    assert overhang(figure) > 1


@pytest.mark.parametrize("name", plots.TITLES)
def test_heights_are_the_kv_heads(name):
    heads = preset(name).num_key_value_heads_per_layer
    ax = draw(lambda ax: plots.kv_heads(ax, name, heads))
    assert [bar.get_height() for bar in ax.patches] == list(heads)
    assert f"{sum(heads):,}" in ax.get_title("left")
    low, high = ax.get_ylim()
    assert low < min(heads)
    assert high > max(heads)


def test_a_token_of_llama_takes_20_48_times_the_cache():
    for function, counts in (
        (plots.kv_cache_by_context, [256, 1024, 4096]),
        (plots.kv_cache_by_batch, [1, 64]),
    ):
        ax = draw(lambda ax, f=function, c=counts: f(ax, BOTH, c))
        ratio = line(ax, "Llama 2 7B")[:, 1] / line(ax, "DeciLM-6b")[:, 1]
        np.testing.assert_array_equal(ratio, 20.48)
        assert line(ax, "DeciLM-6b")[:, 0].tolist() == counts
    ax = draw(lambda ax: plots.kv_cache_by_context(ax, BOTH, [1024, 4096]))
    assert line(ax, "DeciLM-6b")[-1].tolist() == [4096, 100 * 2**20]
    assert line(ax, "Llama 2 7B")[-1].tolist() == [4096, 2 * 2**30]


def test_cache_of_rows_and_storages():
    ax = draw(lambda ax: plots.kv_cache_by_context(ax, BOTH, [10, 100], batch_size=3, dtype="float32"))
    assert line(ax, "DeciLM-6b").tolist() == [[n, 3 * n * 2 * 25_600] for n in (10, 100)]
    assert ax.get_ylabel() == "KV cache, float32, 3 rows (bytes)"
    ax = draw(lambda ax: plots.kv_cache_by_batch(ax, BOTH, [1, 8, 64], context=7, dtype="float32"))
    assert line(ax, "Llama 2 7B").tolist() == [[rows, rows * 7 * 2 * 524_288] for rows in (1, 8, 64)]


def test_a_dot_marks_the_context_of_training():
    ax = draw(lambda ax: plots.kv_cache_by_context(ax, FIVE, [2048, 4096, 8192]))
    marked = {line.get_label(): line.get_markevery() for line in ax.lines}
    assert marked["DeciLM-6b"] == [False, True, False]
    assert marked["DeciLM-7B"] == [False, False, True]
    assert not any(marked["Mistral 7B"])  # 32,768 is not drawn


def test_parts_add_up_to_all_parameters():
    ax = draw(lambda ax: plots.parameters(ax, FIVE))
    widths = np.array([[bar.get_width() for bar in bars] for bars in ax.containers])  # (parts, models)
    expected = [config.num_parameters / 1e9 for config in FIVE.values()]
    np.testing.assert_allclose(widths.sum(axis=0), expected, rtol=1e-12)
    starts = np.array([[bar.get_x() for bar in bars] for bars in ax.containers])
    np.testing.assert_allclose(starts[1:], widths.cumsum(axis=0)[:-1], atol=1e-9)  # each where the last ends
    parts = [bars.get_label() for bars in ax.containers]
    assert widths[parts.index("attention k, v"), 0] * 1e9 == pytest.approx(2 * 4096 * 128 * 50)
    assert ax.texts[0].get_text() == "5.72"


def test_small_models_have_parameters_in_millions():
    demo = minidecilm.load("demo").config
    ax = draw(lambda ax: plots.parameters(ax, {"demo": demo}))
    assert "millions" in ax.get_xlabel()
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(demo.num_parameters / 1e6)


def test_dots_are_the_rows_that_fit():
    memories = {"12 GB": 12 * 10**9, "24 GB": 24 * 10**9}
    ax = draw(lambda ax: plots.largest_batch(ax, BOTH, memories))
    found = {(line.get_label(), points_of(line)[0, 1]): points_of(line)[0, 0] for line in ax.lines}
    assert found == {("12 GB", 0): 5, ("24 GB", 0): 119, ("24 GB", 1): 4}
    assert "12 GB: none" in [text.get_text() for text in ax.texts]
    markers = {line.get_label(): line.get_marker() for line in ax.lines}
    assert len(set(markers.values())) == 2
    shown = {handle.get_label(): handle.get_marker() for handle in ax.get_legend().legend_handles}
    assert shown == markers
    ax = draw(lambda ax: plots.largest_batch(ax, BOTH, memories, 4096, "int4", "float32"))
    assert points_of(ax.lines[0])[0, 0] == (12 * 10**9 - 3_295_649_792) // (4096 * 2 * 25_600)


def test_measured_points_are_under_the_bound_and_in_its_order():
    llama, torch, infery = costs.MODEL_CARD
    measured = {"DeciLM-6b": [torch, infery], "Llama 2 7B": [llama]}
    ax = draw(lambda ax: plots.throughput(ax, BOTH, A10, range(1, 513), measured=measured))
    bounds = {name: dict(line(ax, name)) for name in BOTH}
    pairs = []
    for name, engine, (size, rate) in (
        ("Llama 2 7B", "PyTorch", (8, 136)),
        ("DeciLM-6b", "PyTorch", (64, 652.49)),
        ("DeciLM-6b", "Infery LLM", (128, 2029.6)),
    ):
        assert line(ax, f"{name}, {engine}, measured").tolist() == [[size, rate]]
        pairs.append((rate, bounds[name][size]))
        assert any(f"{rate / bounds[name][size]:.0%} of the bound" in text.get_text() for text in ax.texts)
    assert all(rate < bound for rate, bound in pairs)
    assert sorted(pairs) == sorted(pairs, key=lambda pair: pair[1])
    assert max(bounds["Llama 2 7B"]) == 19  # then the memory of 24 GB is full
    assert any("full at 19" in text.get_text().replace("\n", " ") for text in ax.texts)


def test_throughput_of_models_that_do_not_fit():
    with pytest.raises(ValueError, match="24,000,000,000 bytes before the first row of 10,000,000 tokens"):
        draw(lambda ax: plots.throughput(ax, BOTH, A10, [1, 8], context=10_000_000))


def test_factors_are_written_and_multiply():
    ax = draw(lambda ax: plots.factors(ax, {"all": (136, 2029.6), **STEPS}))
    assert [text.get_text() for text in ax.texts] == ["14.92x", "4.80x", "3.11x"]
    assert line(ax, "engine")[:, 0].tolist() == [652.49, 2029.6]
    ax = draw(lambda ax: plots.factors(ax, STEPS, ["engine"]))
    measured, predicted = (found.get_alpha() for found in ax.lines)
    assert measured > predicted  # what nobody measured is fainter


def test_passes_stand_at_or_under_the_roof():
    ax = draw(lambda ax: plots.roofline(ax, BOTH, A10, batch_sizes=(1, 64)))
    roof, *models = ax.lines
    assert points_of(roof)[:, 1].max() == 125
    for model in models:
        x, y = points_of(model).T
        assert len(x) == 3  # two batches and a prompt
        assert np.all(y <= np.minimum(x * 0.6, 125) * (1 + 1e-9))
    # With 64 rows Llama's larger cache leaves fewer operations for a byte.
    assert line(ax, "DeciLM-6b")[1, 0] > 2 * line(ax, "Llama 2 7B")[1, 0]


def test_the_roof_is_that_of_the_fastest_arithmetic():
    slow = replace(DECILM, torch_dtype="float32")
    ax = draw(lambda ax: plots.roofline(ax, {"slow": slow, "DeciLM-6b": DECILM}, A10))
    assert points_of(ax.lines[0])[:, 1].max() == 125


def test_bases_and_wavelengths():
    ax = draw(lambda ax: plots.rope_base(ax, BOTH, [4096, 8192]))
    np.testing.assert_allclose(line(ax, "DeciLM-6b")[:, 1], [10000, 30527.737], atol=1e-3)
    np.testing.assert_array_equal(line(ax, "Llama 2 7B")[:, 1], 10000)
    ax = draw(lambda ax: plots.wavelengths(ax, DECILM, [4096, 8192]))
    longer = line(ax, "text of 8,192")[:, 1]
    np.testing.assert_allclose(longer, rope.wavelengths(rope.dynamic_ntk_base(8192, DECILM), 128))
    assert longer[-1] == pytest.approx(3 * line(ax, "text of 4,096")[-1, 1])  # 2 * 8192 / 4096 - 1
    ax = draw(lambda ax: plots.wavelengths(ax, DECILM, [8192, 512]))
    [dashed] = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert set(dashed.get_ydata()) == {4096}


def test_angles():
    function = lambda axes: plots.rotary_angles(axes, DECILM, [4096, 8192])  # noqa: E731
    axes = draw(function, rows=2, columns=2, size=(5.4, 4.4), sharey=True)
    titles = [ax.get_title("left") for ax in axes.flat]
    assert titles == ["0 of 64 unseen", "18 of 64 unseen", "0 of 64 unseen", "0 of 64 unseen"]
    [image] = axes[1, 1].images
    assert list(image.get_extent()) == [0, 8192, 63.5, -0.5]
    turns = image.get_array()  # (D/2, columns)
    position = 8192 * (10 + 0.5) / turns.shape[1]  # the middle of a column
    assert turns[30, 10] == pytest.approx(position * 30527.73674881 ** (-30 / 64) / (2 * np.pi))
    assert overhang(axes[0, 0].get_figure()) < 0.01


def test_scores_end_at_the_length_and_fall():
    ax = draw(lambda ax: plots.score_by_distance(ax, DECILM, [4096, 8192]))
    for length, points in ((length, line(ax, f"{length:,} tokens")) for length in (4096, 8192)):
        base = rope.dynamic_ntk_base(length, DECILM)
        assert points[0].tolist() == [1, rope.score_by_distance([1], base, 128)[0]]
        assert 0.85 * length < points[-1, 0] < length
        assert points[-1, 1] < 0.3


def test_attention_maps_stand_beside_those_of_their_kv_head():
    weights = np.tril(np.random.default_rng(0).random((8, 5, 5)))
    rows, columns = plots.attention_grid(8, 2)
    axes = draw(
        lambda axes: plots.attention_maps(axes, weights, 2), rows=rows, columns=columns, size=(6, 3.6)
    )
    for head, ax in enumerate(axes.flat):
        assert ax.get_title("left") == f"head {head}"
        assert ax.get_label() == f"head {head}, KV head {head // 4}"
        shown = ax.images[0].get_array()
        np.testing.assert_array_equal(shown.filled(0), weights[head])
        assert shown.mask[0, 1:].all()
        assert not np.diag(shown.mask).any()
    assert [ax.get_ylabel().split("\n")[0] for ax in axes[:, 0]] == ["KV head 0", "KV head 1"]
    assert overhang(axes[0, 0].get_figure()) < 0.01


@pytest.mark.parametrize(("heads", "kv_heads", "grid"), [(8, 8, (8, 1)), (32, 4, (8, 4)), (6, 1, (2, 4))])
def test_panels_for_attention(heads, kv_heads, grid):
    assert plots.attention_grid(heads, kv_heads) == grid
    rows, columns = grid
    axes = draw(
        lambda axes: plots.attention_maps(axes, np.ones((heads, 2, 2)), kv_heads), rows=rows, columns=columns
    )
    shown = [ax.get_label() for ax in axes.flat if ax.get_visible()]
    assert [label.split(",")[0] for label in shown] == [f"head {head}" for head in range(heads)]


def test_attention_needs_a_panel_for_every_head():
    with pytest.raises(ValueError, match="2 x 4 panels, found 4"):
        draw(lambda axes: plots.attention_maps(axes, np.ones((8, 2, 2)), 2), rows=2, columns=2)


def test_heads_of_a_kv_head_share_a_colour():
    values = np.arange(8.0)
    ax = draw(lambda ax: plots.by_head(ax, [values, values], [4, 1]))
    dots = {line.get_label(): line for line in ax.lines}
    colors = [dots[f"layer 0, head {head}, KV head {head // 2}"].get_color() for head in range(8)]
    assert colors[::2] == colors[1::2]
    assert len(set(colors)) == 4
    assert len({dots[f"layer 1, head {head}, KV head 0"].get_color() for head in range(8)}) == 1
    assert [points_of(dots[f"layer 1, head {head}, KV head 0"])[0, 1] for head in range(8)] == list(values)


def test_by_position():
    values = {name: np.array([1.0 + n, 2.0]) for n, name in enumerate(("exact", "reference", "no scaling"))}
    ax = draw(lambda ax: plots.by_position(ax, np.array([32, 64]), values, 48))
    for name, value in values.items():
        assert line(ax, name).tolist() == [[32, value[0]], [64, value[1]]]
    [dashed] = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert set(dashed.get_xdata()) == {48}
    assert ax.get_xlabel().endswith("48, the context of training")
    again = draw(lambda ax: plots.by_position(ax, np.array([32, 64]), POLICIES | values, 48))
    colors = {line.get_label(): line.get_color() for line in ax.lines}
    assert colors["reference"] == VERMILION
    assert colors["exact"] == BLUE
    assert {
        line.get_label(): line.get_color() for line in again.lines if line.get_label() in colors
    } == colors


def test_architecture():
    """Layers may differ in query heads: every KV head is as wide as the queries that share it."""
    layers = (LayerConfig(4, 64), LayerConfig(1, 64, 2), LayerConfig(2, 64, 6))
    config = Config(40, 64, 8, 16, layers, 32)
    ax = draw(lambda ax: plots.architecture(ax, "mine", config), size=plots.architecture_size(config))
    found = {bar.get_gid(): (bar.get_x(), bar.get_width(), bar.get_y() + 0.5) for bar in ax.patches}
    del found[None]  # embedding and head
    assert found == {
        **{f"layer-0-kv-head-{head}": (2 * head, 2, 0) for head in range(4)},
        "layer-1-kv-head-0": (0, 2, 1),
        **{f"layer-2-kv-head-{head}": (3 * head, 3, 2) for head in range(2)},
    }
    table = [(text.get_text(), text.xy[1]) for text in ax.texts]
    for layer, heads in enumerate((4, 1, 2)):  # keys and values of 16 numbers of 2 bytes
        assert (f"{heads}", layer) in table
        assert (f"{heads * 2 * 16 * 2} B", layer) in table
    assert ("7", 3.5) in table
    assert ("448 B", 3.5) in table
    assert "RMSNorm and head, 40 \N{MULTIPLICATION SIGN} 64" in dict(table)


def test_sensitivity_and_allocations():
    ax = draw(lambda ax: plots.sensitivity(ax, [{1: 0.5, 2: 0.1}, {1: 0.2}, {1: 0.0}]))
    assert [bars.get_label() for bars in ax.containers] == ["1 KV head left", "2 KV heads left"]
    assert [[float(bar.get_height()) for bar in bars] for bars in ax.containers] == [[0.5, 0.2, 0.0], [0.1]]
    middles = [[bar.get_x() + bar.get_width() / 2 for bar in bars] for bars in ax.containers]
    assert middles == [pytest.approx([-0.2, 0.8, 1.8]), pytest.approx([0.2])]
    ax = draw(lambda ax: plots.sensitivity(ax, [{2: 0.0}, {2: 0.0, 1: 0.5}, {4: 0.0, 2: 0.3, 1: 0.6}]))
    found = {
        (bars.get_label(), round(bar.get_x()), bar.get_height()) for bars in ax.containers for bar in bars
    }
    assert found == {("1 KV head left", 1, 0.5), ("1 KV head left", 2, 0.6), ("2 KV heads left", 2, 0.3)} | {
        ("2 KV heads left", layer, 0.0) for layer in (0, 1)
    }
    every = [(64, 4.0), (96, 3.0), (96, 3.5)]
    ax = draw(lambda ax: plots.allocations(ax, every, every[:2], {1: every[0], 4: every[2]}))
    assert line(ax, "every allocation").tolist() == [list(point) for point in every]
    assert line(ax, "chosen layer by layer").tolist() == [list(point) for point in every[:2]]
    assert line(ax, "the same limit in every layer").tolist() == [[64, 4.0], [96, 3.5]]
    assert [text.get_text() for text in ax.texts] == ["at most 1", "at most 4"]


def test_labels_at_the_ends_of_lines_do_not_meet():
    ax = draw(lambda ax: plots.kv_cache_by_context(ax, FIVE, [256, 4096]), size=(5.4, 3.4))
    labels = [text for text in ax.texts if text.get_text().replace("\n", " ") in FIVE]
    assert len(labels) == len(FIVE)
    assert not any(a.get_window_extent().overlaps(b.get_window_extent()) for a, b in combinations(labels, 2))
    heights = {label.get_text().replace("\n", " "): label.get_window_extent().y0 for label in labels}
    by_cache = sorted(FIVE, key=lambda name: costs.kv_cache_bytes(FIVE[name]))
    assert sorted(heights, key=heights.get) == by_cache
    colors = {line.get_label(): line.get_color() for line in ax.lines}
    with plots.style():
        for label in labels:
            name = label.get_text().replace("\n", " ")
            assert label.get_color() == ink(colors[name])
            assert colors[name] == plots.MODEL_COLORS[name]


def test_a_model_has_one_colour_everywhere():
    assert len(set(plots.MODEL_COLORS.values())) == len(plots.MODEL_COLORS)
    seen = {
        ax.lines[1].get_color()
        for ax in (
            draw(lambda ax: plots.kv_cache_by_context(ax, BOTH, [256, 4096])),
            draw(lambda ax: plots.throughput(ax, BOTH, A10, [1, 8])),
            draw(lambda ax: plots.rope_base(ax, BOTH, [1, 8192])),
        )
    }
    assert seen == {plots.MODEL_COLORS["Llama 2 7B"]}


def test_the_same_figure_gives_the_same_file_and_needs_no_font(tmp_path):
    for name in ("a", "b"):
        for suffix in plots.FORMATS:
            with plots.style():
                figure, ax = plots.new_figure()
                plots.kv_heads(ax, "DeciLM-6b", (4, 2, 1))
                plots.save_figure(figure, tmp_path / f"{name}.{suffix}")
    for suffix in plots.FORMATS:
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    svg = (tmp_path / "a.svg").read_text()
    assert "<text" not in svg
    assert "font-family" not in svg
    assert "<dc:date>" not in svg


def test_a_figure_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    figure, _ = plots.new_figure()
    with pytest.raises(ValueError, match=r"heads.jpg: expected a name that ends in .svg, .png, .pdf"):
        plots.save_figure(figure, tmp_path / "heads.jpg")

    def breaks_off(path, **options):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        plots.save_figure(figure, tmp_path / "heads.svg")
    assert list(tmp_path.iterdir()) == []


def numbers(ax, tmp_path):
    plots.save_numbers(ax.get_figure(), tmp_path / "numbers.csv")
    return list(csv.reader(io.StringIO((tmp_path / "numbers.csv").read_text())))


def test_numbers_of_bars_and_lines(tmp_path):
    header, *rows = numbers(draw(lambda ax: plots.kv_heads(ax, "DeciLM-6b", (4, 2))), tmp_path)
    assert header == ["panel", "series", "layer", "KV heads"]
    assert rows == [
        ["DeciLM-6b: 6 in all", "DeciLM-6b", layer, heads] for layer, heads in (("0", "4"), ("1", "2"))
    ]
    header, *rows = numbers(draw(lambda ax: plots.kv_cache_by_context(ax, BOTH, [1024, 4096])), tmp_path)
    assert header[2:] == ["context (tokens)", "KV cache, bfloat16 (bytes)"]
    assert ["KV cache against context", "Llama 2 7B", "4096", "2147483648"] in rows
    assert len(rows) == 4


def test_numbers_name_categories_and_cells(tmp_path):
    _, *rows = numbers(draw(lambda ax: plots.parameters(ax, BOTH)), tmp_path)
    assert ["Parameters by part", "norms", "0.00026624", "Llama 2 7B"] in rows
    _, *rows = numbers(draw(lambda ax: plots.factors(ax, STEPS)), tmp_path)
    assert ["", "engine", "2029.6", "engine"] in rows
    weights = np.array([[[1.0, 0.0], [0.25, 0.75]]])
    [ax] = draw(lambda axes: plots.attention_maps(axes, weights, 1), rows=1, columns=1, squeeze=False).flat
    header, *rows = numbers(ax, tmp_path)
    assert header == ["panel", "series", "key (token)", "query (token)", "attention weight"]
    assert [row[2:] for row in rows] == [["0", "0", "1"], ["0", "1", "0.25"], ["1", "1", "0.75"]]


def test_style_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with plots.style(dark=True):
        assert matplotlib.rcParams["figure.facecolor"] == plots.DARK["figure.facecolor"]
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("nbytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (25_600, "25 KiB"), (2**41, "2 TiB")]
)
def test_binary(nbytes, text):
    assert binary(nbytes) == text
