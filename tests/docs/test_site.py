"""The site builds without a warning, its links hold, it loads nothing from elsewhere, and it is complete."""

import json
import pkgutil
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import minidecilm
from analysis.common import FIGURES
from docs import generate
from minidecilm import Config, ConfigError, Step, preset
from minidecilm.catalog import find_model
from minidecilm.config_keys import IGNORED, READ, REQUIRED_VALUES
from minidecilm.costs.summary import facts
from tests.docs.site import WARNINGS

pytestmark = pytest.mark.slow  # builds the site
ROOT = Path(__file__).parents[2]
LOADING = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """What a page has anchors for, links to and loads."""

    def __init__(self, file):
        super().__init__()
        self.anchors, self.links, self.loads = set(), [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.anchors |= {value for key, value in attrs if key in ("id", "name")}
        self.links += [value for key, value in attrs if (tag, key) == ("a", "href")]
        self.loads += [value for key, value in attrs if (tag, key) in LOADING]


@pytest.fixture(scope="module")
def pages(site):
    """Every page by its path."""
    return {file: Page(file) for file in sorted(site.rglob("*.html")) if "_static" not in file.parts}


def shown(file):
    """Text of a page."""
    return unescape(re.sub(r"<[^>]+>", "", file.read_text(encoding="utf-8")))


def table_keys(page, heading):
    """First column of a section's table, and its last: keys without quotes, and what is said of them."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [
        line.removeprefix("| `").removesuffix("|").split("|")
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].split("`")[0]: row[-1].strip() for row in rows}


def test_no_warning(site):
    assert (site / WARNINGS).read_text(encoding="utf-8") == ""


def test_links_within_the_site_hold(pages):
    broken = []
    for file, page in pages.items():
        for link in {*page.links, *page.loads}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            fragment = unquote(parts.fragment)
            known = target in pages and (not fragment or fragment in pages[target].anchors)
            if not known and (fragment or not target.is_file()):
                broken.append(f"{file.name}: {link}")
    assert broken == []
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for file, page in pages.items():
        remote = [link for link in page.loads if link.startswith(("http:", "https:", "//"))]
        assert remote == [], file.name
    for sheet in site.rglob("*.css"):
        remote = re.findall(
            r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)\s]*", sheet.read_text(encoding="utf-8")
        )
        assert remote == [], sheet.name


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("See [this page](index.md).", None),
        ("See [a page](nowhere.md).", "nowhere.md"),
        ("See {py:func}`minidecilm.nothing`.", "minidecilm.nothing"),
        ("```{drawn} nothing\n:alt: A figure.\n\nA caption.\n```", "no script of analysis/ draws"),
        ("```{drawn} kv-heads\n\nA caption.\n```", "expected an :alt: and a caption"),
    ],
    ids=["sound page", "broken link", "unknown name", "unknown figure", "figure without description"],
)
def test_a_mistake_on_a_page_fails_the_build(tmp_path, text, complaint):
    (tmp_path / "index.md").write_text(f"# A page\n\n{text}\n", encoding="utf-8")
    options = ["-W", "--keep-going", "-n", "-q", "-b", "dummy", "-D", "exclude_patterns=tutorial,_generated"]
    command = [sys.executable, "-m", "sphinx", *options, "-c", ROOT / "docs", tmp_path, tmp_path / "_build"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is (complaint is None), done.stderr
    assert complaint is None or complaint in done.stderr


def test_every_public_name_is_on_an_api_page(site, pages):
    homes = generate.homes("minidecilm")
    assert set(homes) == set(minidecilm.__all__)
    for home in homes.values():
        module = home.rpartition(".")[0]
        assert home in pages[site / "reference" / "api" / f"{module}.html"].anchors
        links = pages[site / "reference" / "api" / "minidecilm.html"].links
        assert f"{module}.html#{home}" in links


def test_every_public_module_has_an_api_page(site):
    modules = {"minidecilm"}
    for found in pkgutil.walk_packages(minidecilm.__path__, "minidecilm."):
        if not found.name.rpartition(".")[2].startswith("_"):
            modules.add(found.name)
    stems = {file.stem for file in (site / "reference" / "api").glob("*.html")}
    assert modules - stems == set(), "add them to docs/reference/api.md"


def test_landing_figure_shows_every_layer_with_its_kv_heads(site, pages):
    heads = preset("decilm-6b").num_key_value_heads_per_layer
    wanted = {f"layer-{layer}-kv-head-{head}" for layer, K in enumerate(heads) for head in range(K)}
    assert len(heads) == 32
    for variant in ("light", "dark"):
        assert f"_images/architecture-{variant}.svg" in pages[site / "index.html"].loads
        drawn = (site / "_images" / f"architecture-{variant}.svg").read_text(encoding="utf-8")
        assert set(re.findall(r'id="(layer-[\w-]+)"', drawn)) == wanted


def test_landing_page_shows_the_start_of_the_readme(site):
    words = shown(site / "index.html")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start = readme.split("## Two commands")[1]
    for block in re.findall(r"```\w+\n(.*?)```", start, flags=re.DOTALL)[:2]:
        for line in block.splitlines():
            assert line in words


def test_all_notebooks_are_in_the_tutorial(site, pages):
    names = [file.stem for file in sorted(generate.NOTEBOOKS.glob("*.ipynb"))]
    assert [int(name[:2]) for name in names] == list(range(1, 13))
    links = pages[site / "tutorial" / "index.html"].links
    assert [name for name in names if f"{name}.html" not in links] == [], (
        "describe them in notebooks/README.md"
    )


def test_every_figure_of_the_analysis_names_its_script():
    names = [file.stem for file in FIGURES.glob("*.csv")]
    assert len(names) > 20
    for name in names:
        module = generate.script_of(name).removeprefix("analysis.")
        assert (ROOT / "analysis" / f"{module}.py").is_file()


def test_every_benchmark_names_its_date(site):
    text = shown(site / "benchmarks.html")
    for file in generate.RESULTS.rglob("*.json"):
        date, name = json.loads(file.read_text(encoding="utf-8"))["date"], file.relative_to(generate.RESULTS)
        assert re.search(rf"Measured on {date}[^\n]*wrote benchmarks/results/{name}", text), name


def test_config_keys_are_those_that_are_read():
    keys = table_keys("reference/config_keys.md", "Read")
    assert set(keys) == set(READ)
    sound = preset("decilm-6b").to_dict()
    for key, absent in keys.items():
        values = {name: value for name, value in sound.items() if name != key}
        if absent == "error":
            with pytest.raises(ConfigError, match=key):
                Config.from_dict(values)
        elif key not in ("num_key_value_heads_per_layer", "num_key_value_heads"):
            read = Config.from_dict(values).to_dict()
            if absent.strip("`").isdecimal():
                assert read[key] == int(absent.strip("`")), key


def test_config_tables_show_what_is_ignored_and_required(site):
    page = (site / "reference" / "config_keys.html").read_text(encoding="utf-8")
    shown = set(re.findall(r'<span class="pre">(\w+)</span>', page))
    assert shown >= IGNORED
    assert REQUIRED_VALUES.keys() <= shown


def test_layouts_show_the_keys_there_are():
    assert table_keys("reference/file_layouts.md", "Trace").keys() == Step.__dataclass_fields__.keys()
    text = (ROOT / "docs" / "reference" / "file_layouts.md").read_text(encoding="utf-8")
    [row] = re.findall(r"^\| `info MODEL` \| (.*?) \|", text, flags=re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) <= facts(find_model("demo")).keys()
