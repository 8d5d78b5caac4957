"""The pages of prose tell the truth: every block of code runs, every shown output and every number is real.

A block of ``pycon`` or ``console`` shows what it prints, and is compared with what it prints; a block of
``python`` is run. All blocks of a page run in order, in one namespace and one temporary folder. A block that
cannot run where the tests do says so in a caption that begins with "Not run here:", and is only parsed.
"""

import ast
import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from minidecilm import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("explanations/*.md")), *sorted(DOCS.glob("howto/*.md")), DOCS / "unverified.md"]
IN_CLONE = ("tests", "benchmarks")  # rooms of a clone that pages may read from

FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE)
CAPTION = re.compile(r":caption: (Not run here: \S.*)\n+")
PARSER, CHECKER = doctest.DocTestParser(), doctest.OutputChecker()

NUMBER = re.compile(r"(?<![\w.,#-])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w-])")
YEAR = re.compile(r"20[0-3]\d")
NAME = re.compile(r"\b(?:issue|pull request|transformers) [\d.]+(?: to [\d.]+)?")


class Block:
    """A fenced block of a page: its language, what is in it, and whether it is to be run."""

    def __init__(self, match, page):
        self.line = page[: match.start("body")].count("\n")
        self.language = match["info"].removeprefix("{code-block}").strip()
        self.directive = match["info"].strip() if self.language.startswith("{") else ""
        caption = CAPTION.match(match["body"])
        self.runs = caption is None
        self.text = match["body"] if self.runs else match["body"][caption.end() :]


def blocks(path):
    page = path.read_text(encoding="utf-8")
    return [Block(match, page) for match in FENCE.finditer(page)]


def name_of(path):
    return str(path.relative_to(DOCS).with_suffix(""))


every_page = pytest.mark.parametrize("path", PAGES, ids=name_of)


def console_steps(text):
    """Commands of a console block, each with the output that is shown under it."""
    assert text.startswith("$ "), "a console block begins with a command"
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, shown = step.split("\n", 1)
        yield command, shown


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the rooms of a clone and the command `minidecilm`, as pages take for granted."""
    for room in IN_CLONE:
        (tmp_path / room).symlink_to(ROOT / room)
    commands = tmp_path / ".bin"
    commands.mkdir()
    for name, arguments in {"python": "", "minidecilm": "-m minidecilm"}.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@every_page
def test_page_runs_and_prints_what_it_shows(path, folder):
    namespace = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(CHECKER, verbose=False, optionflags=doctest.ELLIPSIS)
    for block in blocks(path):
        if not block.runs or block.directive:
            continue
        if block.language == "pycon":
            test = PARSER.get_doctest(block.text, namespace, name_of(path), str(path), block.line)
            assert test.examples, f"line {block.line}: no example in a pycon block"
            failures = []
            runner.run(test, out=failures.append, clear_globs=False)
            namespace = test.globs
            assert not failures, "".join(failures)
        elif block.language == "python":
            exec(compile(block.text, f"{path}, line {block.line}", "exec"), namespace)
        elif block.language == "console":
            for command, shown in console_steps(block.text):
                done = subprocess.run(
                    command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
                same = CHECKER.check_output(shown, done.stdout, doctest.ELLIPSIS)
                assert same, f"line {block.line}: $ {command}\n{done.stdout}\ninstead of\n{shown}"
        else:
            assert block.language == "text", f"line {block.line}: {block.language} is not checked"


@every_page
def test_what_is_not_run_parses(path):
    for block in blocks(path):
        if block.runs:
            continue
        if block.language == "python":
            ast.parse(block.text)
        for command, _ in console_steps(block.text) if block.language == "console" else ():
            program, *arguments = shlex.split(command)
            if program == "minidecilm":
                cli._build_parser().parse_args(arguments)


def shown_numbers(path):
    """Numbers in what a page's blocks hold and print, and in files that a page includes or links a figure to."""
    text = "".join(block.text for block in blocks(path))
    for target in re.findall(r"^`{3,}\{include\} (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        text += (path.parent / target).read_text(encoding="utf-8")
    return {number.replace(",", "") for number in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", text)}


def prose_numbers(path):
    """Numbers in the prose of a page that somebody might have made up: all but small integers and years."""
    text = NAME.sub("", FENCE.sub("", path.read_text(encoding="utf-8")))
    text = re.sub(r"\$[^$]*\$|`[^`]*`|\]\([^)]*\)|<http[^>]*>|^\(.*\)=$", " ", text, flags=re.MULTILINE)
    for match in NUMBER.finditer(text):
        number = match[0].rstrip(",").replace(",", "")
        small = number.isdecimal() and len(number) < 3 and text[match.end() : match.end() + 1] != "%"
        if not small and not YEAR.fullmatch(number):
            yield number


@every_page
def test_no_number_is_typed_by_hand(path):
    missing = set(prose_numbers(path)) - shown_numbers(path)
    assert not missing, f"nothing on the page computes {sorted(missing)}"


def test_made_up_numbers_are_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("It takes 25,600 bytes, 97% of 3 in 2023, `12345`, $7000$, 1.5.\n\n```pycon\n>>> 25600\n```\n")
    assert set(prose_numbers(page)) - shown_numbers(page) == {"97", "1.5"}


@every_page
def test_figures_exist_and_name_their_script(path):
    page = path.read_text(encoding="utf-8")
    figures = re.findall(r"^```\{image\} (\S+)\n:class: (\S+)", page, re.MULTILINE)
    for target, variant in figures:
        assert (path.parent / target).exists(), target
        name, theme = Path(target).stem.rsplit("-", 1)
        assert variant == f"only-{theme}"
        other = {"light": "dark", "dark": "light"}[theme]
        assert (target.replace(f"-{theme}.svg", f"-{other}.svg"), f"only-{other}") in figures
        caption = page.split(target, 1)[1].split("*Drawn by `python -m analysis.", 1)[1]
        script = ROOT / "analysis" / f"{caption.split('`')[0]}.py"
        assert f'"{name}"' in script.read_text(encoding="utf-8"), f"{script.name} does not draw {name}"
