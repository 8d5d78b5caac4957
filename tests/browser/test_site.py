"""The built site, opened from its files: no error, nothing from the network, equations and figures drawn."""

import io
from contextlib import nullcontext
from xml.etree import ElementTree

import pytest
from matplotlib import image

from minidecilm import preset
from tests.browser.pages import PAGES, WIDTHS, opened
from tests.browser.test_explorer import check_shown

pytestmark = pytest.mark.slow
SCHEMES = ("light", "dark")


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        ("<p>sound</p>", None),
        ("<script>console.error('wrong')</script>", "wrong"),
        ("<script>nothing.at.all</script>", "nothing is not defined"),
        ("<img src='missing.png'>", "missing.png"),
        ("<img src='http://127.0.0.1:9/remote.png'>", "remote.png"),
        ("<script>fetch('http://127.0.0.1:9/data.json').catch(() => {})</script>", "data.json"),
    ],
)
def test_a_mistake_is_noticed(browser, tmp_path, mistake, complaint):
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><title>A page</title>{mistake}")
    with opened(browser, file) as seen:
        seen.page.wait_for_load_state("networkidle")
        with pytest.raises(AssertionError, match=complaint) if complaint else nullcontext():
            seen.check()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_page_opens_by_itself(browser, site, name, scheme, width):
    with opened(browser, site / PAGES[name], scheme, WIDTHS[width]) as seen:
        page = seen.page
        assert page.locator("h1").first.is_visible()
        assert page.locator("html").get_attribute("data-theme") == scheme
        for figure in page.locator("img:visible").all():
            assert figure.evaluate("image => image.complete && image.naturalWidth > 0"), figure.get_attribute(
                "src"
            )
        assert page.evaluate("document.documentElement.scrollWidth") == WIDTHS[width]
        seen.check()


def test_equations_are_drawn(browser, site):
    with opened(browser, site / PAGES["notebook"]) as seen:
        equations = seen.page.locator("mjx-container svg")
        seen.wait_for_equations()
        written = seen.page.locator(".math").count()
        assert equations.count() == written > 0
        assert all(box["width"] > 3 for box in (equation.bounding_box() for equation in equations.all()))
        assert seen.page.locator("mjx-merror").count() == 0
        seen.check()


def test_a_notebook_s_figures_stay_legible_on_a_phone(browser, site):
    """They scroll sideways in their own frames, and the page does not."""
    with opened(browser, site / PAGES["notebook"], width=WIDTHS["phone"]) as seen:
        frames = seen.page.locator(".cell_output:has(> img)")
        wide = 0
        for frame in frames.all():
            scale = frame.locator("img").first.evaluate(
                "image => image.getBoundingClientRect().width / image.naturalWidth"
            )
            assert scale >= 0.7
            inner, room = frame.evaluate("frame => [frame.scrollWidth, frame.clientWidth]")
            wide += inner > room
            assert frame.bounding_box()["width"] <= WIDTHS["phone"]
            frame.evaluate("frame => frame.scrollTo(1e4, 0)")
            assert frame.evaluate("frame => frame.scrollLeft") == pytest.approx(inner - room, abs=1)
        assert wide > 0
        assert seen.page.evaluate("document.documentElement.scrollWidth") == WIDTHS["phone"]


def pixels(locator):
    """Red, green and blue, 0 to 1, of an element as it is seen."""
    return image.imread(io.BytesIO(locator.screenshot()), format="png")[..., :3]


def bars(figure):
    """Centres of the KV heads of a drawn architecture by layer, as fractions of its width and height."""
    tree = ElementTree.parse(figure)
    width, height = (float(text) for text in tree.getroot().get("viewBox").split()[2:])
    found = {}
    for group in tree.iter("{http://www.w3.org/2000/svg}g"):
        if group.get("id", "").startswith("layer-"):
            layer = int(group.get("id").split("-")[1])
            path = group.find("{http://www.w3.org/2000/svg}path").get("d")
            points = [float(word) for word in path.split() if word[0] not in "MLz"]
            across, down = points[0::2], points[1::2]
            center = (min(across) + max(across)) / 2 / width, (min(down) + max(down)) / 2 / height
            found.setdefault(layer, []).append(center)
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_landing_page_shows_every_layer(browser, site, scheme, width):
    with opened(browser, site / PAGES["landing"], scheme, WIDTHS[width]) as seen:
        figure = seen.page.locator('img[src*="architecture"]:visible')
        assert figure.count() == 1
        source = figure.get_attribute("src")
        assert scheme in source
        heads = bars(site / source)
        assert [len(heads[layer]) for layer in sorted(heads)] == list(
            preset("decilm-6b").num_key_value_heads_per_layer
        )
        figure.scroll_into_view_if_needed()
        drawn = pixels(figure)
        down, across = drawn.shape[:2]
        rows = {int(y * down) for centers in heads.values() for _, y in centers[:1]}
        assert (
            min(b - a for a, b in zip(sorted(rows), sorted(rows)[1:], strict=False)) >= 8
        )  # pixels of a layer
        background = drawn[2, 2]
        for layer, centers in heads.items():
            for x, y in centers:
                ink = drawn[int(y * down), int(x * across)]
                assert abs(ink - background).max() > 0.25, (layer, ink, background)
        assert (background.mean() > 0.8) == (scheme == "light")
        seen.check()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_explorer_answers_within_the_site(browser, site, width):
    with opened(browser, site / PAGES["explorer"], width=WIDTHS[width]) as seen:
        check_shown(seen.page)
        seen.page.focus("#kv-context-slider")
        seen.page.keyboard.press("ArrowLeft")
        check_shown(seen.page, context=3072)
        seen.page.select_option("#kv-weights", "int4")
        check_shown(seen.page, context=3072, weights="int4")
        for part in seen.page.locator("#kv-explorer :is(table, svg, fieldset, .status):visible").all():
            box = part.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= WIDTHS[width]
        seen.check()
