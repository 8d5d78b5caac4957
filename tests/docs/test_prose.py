"""The pages of prose tell the truth: their code runs and prints what they show, and no number is made up."""

import ast
import re
import shlex
from importlib.util import find_spec

import pytest

from minidecilm.cli import main as cli
from tests.docs.pages import DOCS, FENCE, PAGES, ROOT, blocks, commands, readers_folder, refreshed, run

NUMBER = re.compile(r"(?<![\w.,#-])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w-])")
YEAR = re.compile(r"20[0-3]\d")
NAME = re.compile(r"\b(?:issue|pull request|transformers) [\d.]+(?: to [\d.]+)?")
NOT_PROSE = re.compile(r"\${1,2}[^$]+\${1,2}|`[^`]*`|\]\([^)]*\)|<http[^>]*>")  # formulas, code, addresses

OTHERS = [*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("reference/*.md")), DOCS / "tutorial" / "index.md"]
OTHERS = [path for path in OTHERS if path not in PAGES and path.name != "README.md"]

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))


@pytest.mark.slow
@every_page
def test_code_prints_what_is_shown(path):
    with readers_folder():
        for step in run(blocks(path)):
            assert step.is_true, f"{step.source}{step.printed}\ninstead of\n{step.shown}"


def write(folder, text):
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_untrue_output_is_noticed_and_mended(tmp_path):
    text = "```pycon\n>>> x = 6\n>>> x * 7\n43\n>>> 1 / 0\n```\n\n```console\n$ echo B; echo C\n...\nD\n```\n"
    path = write(tmp_path, text)
    assert [step.is_true for step in run(blocks(path))] == [True, False, False, False]
    path.write_text(refreshed(path))
    assert all(step.is_true for step in run(blocks(path)))
    error = "Traceback (most recent call last):\nZeroDivisionError: division by zero"
    assert path.read_text() == text.replace("43", "42").replace("1 / 0\n", f"1 / 0\n{error}\n").replace(
        "...\nD", "B\nC"
    )


def test_rounding_is_let_pass_and_no_more(tmp_path):
    path = write(tmp_path, "```pycon\n>>> 1 / 7\n0.142857\n>>> 1 / 7\n0.1429\n>>> 1 / 7\n0.143857\n```\n")
    assert [step.is_true for step in run(blocks(path))] == [True, True, False]


def test_code_of_another_language_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'bash' is not checked"):
        list(run(blocks(write(tmp_path, "```bash\nls\n```\n"))))
    with pytest.raises(ValueError, match="begins with a command"):
        list(run(blocks(write(tmp_path, "```console\nls\n```\n"))))


@every_page
def test_what_is_not_run_parses(path):
    for block in blocks(path):
        if not block.runs and block.language == "python":
            ast.parse(block.text)
        if not block.runs and block.language == "console":
            for command, _ in commands(block.text):
                program, *arguments = shlex.split(command)
                if program == "minidecilm":
                    cli.build_parser().parse_args(arguments)


@pytest.mark.parametrize("path", [*PAGES, *OTHERS, ROOT / "README.md"], ids=lambda path: path.name)
def test_scripts_that_are_named_exist(path):
    for module in re.findall(
        r"\bpython -m ((?:analysis|benchmarks|docs|notebooks|tests)[\w.]*)", path.read_text("utf-8")
    ):
        assert find_spec(module), module


def shown_numbers(path):
    """Numbers in what a page's blocks hold and print, and in the files that it includes."""
    text = "".join(block.text for block in blocks(path))
    for target in re.findall(r"^`{3,}\{include\} (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        text += (path.parent / target).read_text(encoding="utf-8")
    return {number.replace(",", "") for number in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", text)}


def prose_numbers(path):
    """Numbers in the prose of a page that somebody could have made up: all but small integers and years."""
    text = NOT_PROSE.sub(" ", NAME.sub("", FENCE.sub("", path.read_text(encoding="utf-8"))))
    for match in NUMBER.finditer(text):
        number = match[0].rstrip(",").replace(",", "")
        small = number.isdecimal() and len(number) < 3 and text[match.end() : match.end() + 1] != "%"
        if not small and not YEAR.fullmatch(number):
            yield number


@every_page
def test_numbers_in_the_prose_are_computed_on_the_page(path):
    missing = set(prose_numbers(path)) - shown_numbers(path)
    assert not missing, f"nothing on the page shows {sorted(missing)}"


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(DOCS)))
def test_pages_whose_code_is_not_run_hold_no_number_in_their_prose(path):
    assert len(OTHERS) > 8
    assert set(prose_numbers(path)) == set(), "include it from what docs/generate.py makes"


def test_made_up_numbers_are_noticed(tmp_path):
    prose = "It takes 25,600 bytes, 97% of 3 in 2023, `12345`, $7000$, 1.5 (transformers 4.31 to 4.35)."
    path = write(tmp_path, f"{prose}\n\n```pycon\n>>> 25600\n```\n")
    assert set(prose_numbers(path)) - shown_numbers(path) == {"97", "1.5"}
