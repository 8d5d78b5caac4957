"""The explorer in a browser: what it shows against minidecilm.costs, its form by mouse and by keyboard."""

import contextlib
import io

import pytest

from docs.explorer import build
from minidecilm import costs
from tests.browser.pages import opened
from tests.docs.explorer import check

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The explorer alone: its numbers need no site."""
    file = tmp_path_factory.mktemp("explorer") / "explorer.html"
    file.write_text(build.page())
    return file


@pytest.fixture
def explorer(browser, file):
    with opened(browser, file) as seen:
        yield seen.page
        seen.check()


def shown(page, side):
    """Read one model's column of the page."""
    found = {}
    for row in page.locator(".numbers tbody tr").all():
        quantity = row.get_attribute("data-quantity")
        text = row.locator(f'[data-side="{side}"]').get_attribute("data-value")
        found[quantity] = (
            text if quantity == "limit" else text == "true" if quantity == "fits" else float(text)
        )
    times = []
    for row in page.locator(".times tbody tr").all():
        cell = row.locator(f'[data-side="{side}"]')
        seconds = float(cell.get_attribute("data-value"))
        times.append((row.get_attribute("data-operation"), cell.get_attribute("data-limit"), seconds))
    return found, times


def check_shown(
    page, device="a10", weights="published", cache="bfloat16", context=4096, batch=8, memory=None
):
    memory = costs.device(device).memory_bytes if memory is None else memory
    for side, field in enumerate(("first", "second")):
        name = page.locator(f"#kv-{field}").input_value()
        check(*shown(page, side), name, device, weights, cache, context, batch, memory)


def test_opens_with_decilm_beside_llama(explorer):
    assert [explorer.locator(f"#kv-{field}").input_value() for field in ("first", "second")] == [
        "decilm-6b",
        "llama-2-7b",
    ]
    check_shown(explorer)


def test_every_field_is_answered(explorer):
    explorer.select_option("#kv-second", "mistral-7b")
    explorer.select_option("#kv-weights", "int4")
    explorer.select_option("#kv-cache", "float32")
    explorer.select_option("#kv-device", "h100")
    explorer.fill("#kv-context", "1234")
    explorer.fill("#kv-batch", "57")
    check_shown(explorer, "h100", "int4", "float32", 1234, 57)
    explorer.fill("#kv-memory", "7.5")
    check_shown(explorer, "h100", "int4", "float32", 1234, 57, 7_500_000_000)


def test_a_slider_is_dragged(explorer):
    box = explorer.locator("#kv-context-slider").bounding_box()
    explorer.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    context = int(explorer.locator("#kv-context").input_value())
    assert context > 4096
    assert context in build.data()["steps"]["context"]
    check_shown(explorer, context=context)


def test_by_keyboard_alone(explorer):
    """Tab goes through the fields in their order; arrows move a slider and change a select."""
    order, page = [], explorer
    for _ in range(10):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", order[-1]
    fields = ["first", "second", "context-slider", "context", "batch-slider", "batch"]
    assert order == [f"kv-{name}" for name in (*fields, "weights", "cache", "device", "memory")]
    page.focus("#kv-batch-slider")
    page.keyboard.press("ArrowRight")
    assert page.locator("#kv-batch").input_value() == "12"
    page.focus("#kv-cache")
    page.keyboard.press("f")  # the first option that begins so
    assert page.locator("#kv-cache").input_value() == "float16"
    page.focus("#kv-weights")
    page.keyboard.press("ArrowDown")
    weights = page.locator("#kv-weights").input_value()
    assert weights == list(build.WEIGHTS)[1]
    check_shown(page, batch=12, cache="float16", weights=weights)


def test_the_result_is_read_out(explorer):
    status = explorer.get_by_role("status")
    assert status.get_attribute("aria-live") == "polite"
    assert "DeciLM-6b needs 12.27 GB and fits" in status.text_content()
    assert "Llama 2 7B needs 30.66 GB and does not fit" in status.text_content()
    explorer.fill("#kv-context", "8192")
    assert status.text_content().count("8,192 tokens are more than the 4,096 it was made for") == 2
    slider = explorer.locator("#kv-context-slider")
    assert slider.get_attribute("aria-valuetext") == "8,192"


def look(page, field):
    """Colours of the border and of the focus ring of a field."""
    style = f"getComputedStyle(document.querySelector('#kv-{field}'))"
    return page.evaluate(f"[{style}.borderTopColor, {style}.outlineColor]")


@pytest.mark.parametrize(
    ("field", "label"), [("context", "Context"), ("batch", "Batch"), ("memory", "Memory")]
)
def test_what_cannot_be_is_said_once(explorer, field, label):
    before = shown(explorer, 0)
    explorer.focus(f"#kv-{field}")
    looks = [look(explorer, field)]
    for text in ("", "-1", "1e30"):
        explorer.fill(f"#kv-{field}", text)
        assert explorer.get_by_role("status").text_content().startswith(label)
        assert explorer.locator(f"#kv-{field}").get_attribute("aria-invalid") == "true"
        assert "stale" in explorer.locator(".results").get_attribute("class")
        assert shown(explorer, 0) == before
        looks.append(look(explorer, field))
    border, outline = zip(*looks, strict=True)
    assert border[0] != border[1] == border[2] == border[3]
    assert border[1:] == outline[1:]  # the ring of the field that has the focus hides no border
    explorer.fill(f"#kv-{field}", "16")
    assert "stale" not in explorer.locator(".results").get_attribute("class")


def test_the_python_it_shows_gives_what_it_shows(explorer):
    explorer.select_option("#kv-first", "decilm-6b-padded")
    explorer.select_option("#kv-weights", "int8")
    explorer.fill("#kv-memory", "10.5")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(explorer.locator("pre code").text_content(), {})
    names = ["weight_bytes", "kv_cache_bytes", "largest_batch", "largest_context", "decode_tokens_per_second"]
    on_page = [shown(explorer, side)[0][name] for side in (0, 1) for name in names]
    assert [float(line) for line in printed.getvalue().split()] == pytest.approx(on_page, rel=1e-12)


@pytest.mark.parametrize(("device", "memory"), [("a10", "24"), ("h200", "100000"), ("a10", "3.9")])
def test_the_speed_chart_has_a_true_scale(explorer, device, memory):
    """Where the ticks put the end of each curve is what the table says."""
    explorer.select_option("#kv-device", device)
    explorer.select_option("#kv-weights", "int4")
    explorer.fill("#kv-memory", memory)
    svg = explorer.locator('[data-chart="speed"] svg')
    lines = [float(line.get_attribute("y1")) for line in svg.locator("line.grid").all()]
    labels = [text for text in svg.locator("text[text-anchor=end]").all_text_contents() if "row" not in text]
    values = [float(label.replace(",", "")) for label in labels]
    assert 3 <= len(values) == len(lines) <= 6
    assert values[0] == 0
    ends = [float(circle.get_attribute("cy")) for circle in svg.locator("circle").all()]
    rates = [shown(explorer, side)[0]["tokens_per_second_at_largest_batch"] for side in (0, 1)]
    assert len(ends) == sum(rate > 0 for rate in rates) > 0
    for end, rate in zip(ends, filter(None, rates), strict=True):
        assert values[1] * (end - lines[0]) / (lines[1] - lines[0]) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_at_every_width(browser, file, scheme, width):
    with opened(browser, file, scheme, width) as seen:
        page = seen.page
        assert page.evaluate("document.documentElement.scrollWidth") == width
        dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        color = page.evaluate("getComputedStyle(document.querySelector('.kv-explorer')).color")
        red = int(color.removeprefix("rgb(").split(",")[0])
        assert (red > 200) == dark == (scheme == "dark")
        for chart in ("memory", "layers", "speed"):
            assert page.locator(f'[data-chart="{chart}"] svg').bounding_box()["width"] > 200
        assert page.locator('[data-chart="layers"] rect').count() == 64
        seen.check()
