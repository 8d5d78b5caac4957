"""What the explorer's page is given, and its formulas: the library's. What it shows, tests/browser checks."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest

from docs.explorer import build
from minidecilm import PRESET_NAMES, costs
from tests.docs.explorer import MODELS, check, expected, grid

DATA = build.data()
FORMULAS = (build.FOLDER / "costs.js").read_text(encoding="utf-8")


def test_every_preset_and_device_can_be_chosen():
    assert [name for name in DATA["models"] if name != "decilm-6b-padded"] == list(PRESET_NAMES)
    assert list(DATA["devices"]) == list(costs.DEVICE_NAMES)
    assert DATA["models"]["decilm-6b-padded"]["kv_heads"] == (4,) * 32


@pytest.mark.parametrize("name", MODELS)
def test_counts_scale_to_the_library_s(name):
    """Bytes and operations of one row and one cached token, times rows and tokens, are those of any step."""
    given, config = DATA["models"][name], MODELS[name]
    works = [(1, 1), (7, 4097), (4096, 1 << 20)]
    for (choice, storage), cache, (batch, context) in product(build.WEIGHTS.items(), build.CACHES, works):
        weights = given["weights"][choice]
        per_token = given["cache_bytes"][cache]
        assert weights["bytes"] == costs.weight_bytes(config, storage)
        expected = costs.kv_cache_bytes_per_layer(config, batch, context, cache)
        assert tuple(batch * context * nbytes for nbytes in per_token) == expected
        products = weights["products"]
        counted = {row["operation"]: (row["bytes"], batch * row["flops"]) for row in products}
        counted["attention"] = sum(expected), batch * context * given["attention_flops"]
        dtypes = {row["operation"]: row["dtype"] for row in products} | {"attention": cache}
        for device in (costs.device("a10"), costs.device("cpu-emerald-rapids")):
            rates = DATA["devices"][device.name]["flops_per_second"]
            for time in costs.operation_times(config, device, batch, 1, context - 1, storage, cache):
                nbytes, flops = counted[time.operation]
                assert (time.nbytes, time.flops) == (nbytes, flops)
                slowest = max(nbytes / device.bytes_per_second, flops / rates[dtypes[time.operation]])
                assert time.seconds == slowest


def test_devices_are_the_library_s():
    for name, given in DATA["devices"].items():
        device = costs.device(name)
        assert (given["memory_bytes"], given["bytes_per_second"]) == (
            device.memory_bytes,
            device.bytes_per_second,
        )
        for dtype, rate in given["flops_per_second"].items():
            assert rate == device.fastest_flops_per_second(dtype)
        assert {source["title"] for source in given["sources"]} == {
            source.title for source in device.sources.values()
        }


def test_numbers_are_exact_in_javascript():
    """Its integers are float64: the largest product of the page must stay below 2**53."""
    largest = build.LARGEST["batch"] * build.LARGEST["context"]
    for model in DATA["models"].values():
        for nbytes in model["cache_bytes"].values():
            assert largest * sum(nbytes) < 2**53
        assert largest * model["attention_flops"] < 2**53


def test_sliders_stop_at_round_numbers():
    steps = DATA["steps"]["batch"]
    assert steps[:9] == [1, 2, 3, 4, 6, 8, 12, 16, 24]
    assert steps[-1] == build.LARGEST["batch"]
    assert DATA["steps"]["context"][-1] == build.LARGEST["context"]


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_one_file_with_everything_in_it(tmp_path):
    build.main([str(tmp_path / "explorer.html")])
    page = (tmp_path / "explorer.html").read_text()
    assert json.loads(re.search(r'type="application/json" class="data">(.*?)</script>', page)[1]) == (
        json.loads(json.dumps(DATA))
    )
    elements = Elements()
    elements.feed(page)
    tags = [tag for tag, _ in elements.found]
    assert not {"link", "img", "iframe", "a"} & set(tags)
    assert not [attributes for _, attributes in elements.found if "src" in attributes]
    assert not re.findall(r"@import|url\(|fetch\(|XMLHttpRequest", page)


def test_every_field_has_a_name_for_screen_readers():
    elements = Elements()
    elements.feed(build.fragment())
    labels = {attributes["for"] for tag, attributes in elements.found if tag == "label"}
    fields = [attributes for tag, attributes in elements.found if tag in ("select", "input")]
    assert len(fields) == 10
    for attributes in fields:
        assert attributes["id"] in labels or attributes.get("aria-label")


# --- its formulas, run by Node.js

COMPUTE = """
const { data, choices } = JSON.parse(require("fs").readFileSync(0, "utf-8"));
console.log(JSON.stringify(choices.map(([name, device, weights, cache, context, batch, memory]) =>
  kvExplorer.costs(data.models[name], data.devices[device], { weights, cache, context, batch, memory }))));
"""


def node():
    """Find Node.js: the system's, or the one that Playwright brings for itself."""
    playwright = find_spec("playwright")
    own = Path(playwright.origin).parent / "driver" / "node" if playwright else Path("none")
    found = shutil.which("node") or (str(own) if own.exists() else None)
    if found is None:
        pytest.skip("no Node.js, neither on the path nor Playwright's")
    return found


def computed(formulas, choices):
    """What these formulas make of choices: one process for all of them."""
    given = json.dumps({"data": DATA, "choices": choices})
    command = [node(), "-e", formulas + COMPUTE]
    found = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


def check_formulas(formulas):
    choices = list(grid())
    for choice, found in zip(choices, computed(formulas, choices), strict=True):
        times = [(time["operation"], time["limit"], time["seconds"]) for time in found["times"]]
        assert set(found) == {*expected(*choice)[0], "times"}
        check(found, times, *choice)


def test_formulas_are_the_library_s():
    check_formulas(FORMULAS)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("flops: batch * product.flops", "flops: product.flops"),
        ("bytes: batch * context * sum", "bytes: context * sum"),
        ("reading >= computing ?", "reading < computing ?"),
        ("Math.max(reading, computing)", "reading + computing"),
        ("batch * context * model.attention_flops", "batch * model.attention_flops"),
        ("Math.max(0, Math.floor", "(Math.floor"),
        ("Math.floor((", "Math.round(("),
        ("<= choice.memory", "< choice.memory"),
        ("rowsOf(choice.batch)", "rowsOf(choice.context)"),
        ("Math.max(reading, 1 - reading)", "reading"),
        ("reading >= 0.5 ?", "reading <= 0.5 ?"),
        ("rate(largestBatch)", "rate(choice.batch)"),
    ],
)
def test_a_changed_formula_is_noticed(right, wrong):
    assert FORMULAS.count(right) == 1
    with pytest.raises(AssertionError):
        check_formulas(FORMULAS.replace(right, wrong))
