"""Runs the code on the pages of prose, as a reader would. To write anew what it prints under it:

    python -m tests.docs.pages

A block of ``pycon`` or ``console`` shows what it prints; ``...`` in that stands for anything, and numbers may
be rounded as notebooks/comparing.py says. A block of ``python`` is run. All blocks of a page run in order, in
one namespace and one new folder. A block that cannot run everywhere says so in a caption that begins with
"Not run here:", and is left alone.
"""

import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from notebooks.comparing import same_text

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("explanations/*.md")), *sorted(DOCS.glob("howto/*.md")), DOCS / "unverified.md"]

FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE)
_CAPTION = re.compile(r":caption: (?P<caption>Not run here: \S.*)\n+")
_IN_CLONE = ("tests", "benchmarks")  # rooms of a clone that pages read from


class Block:
    """A fenced block of a page.

    Attributes
    ----------
    language : str
        Of the code; a directive that holds none, such as {image}, as it is written.
    text : str
        Without caption.
    start : int
        Where the text begins on the page.
    runs : bool
        False if the caption says that it is not run.
    """

    def __init__(self, match: re.Match[str]) -> None:
        caption = _CAPTION.match(match["body"])
        self.language = match["info"].removeprefix("{code-block}").strip()
        self.text = match["body"][caption.end() :] if caption else match["body"]
        self.start = match.end("body") - len(self.text)
        self.runs = not caption


class Step(NamedTuple):
    """One command or example of a block: its source with prompts, what is shown under it, what it prints."""

    block: Block
    source: str
    shown: str
    printed: str

    @property
    def is_true(self) -> bool:
        """Whether it prints what is shown, but for the rounding of numbers."""
        checker = doctest.OutputChecker()
        return checker.check_output(self.shown, self.printed, doctest.ELLIPSIS) or same_text(
            self.shown, self.printed, ellipsis=True
        )


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a page."""
    return [Block(match) for match in FENCE.finditer(path.read_text(encoding="utf-8"))]


@contextmanager
def readers_folder() -> Iterator[None]:
    """Work in a new folder with the rooms of a clone and the commands that pages take for granted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for room in _IN_CLONE:
            (folder / room).symlink_to(ROOT / room)
        commands = folder / ".bin"
        commands.mkdir()
        for command, arguments in {"python": "", "minidecilm": "-m minidecilm"}.items():
            (commands / command).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            (commands / command).chmod(0o755)
        path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        with chdir(folder), mock.patch.dict(os.environ, PATH=path, PYTHONPATH=str(ROOT), COLUMNS="80"):
            yield


def run(code: list[Block]) -> Iterator[Step]:
    """Run blocks in order; yield what they show and print."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in code:
        if not block.runs or block.language.startswith("{"):
            continue
        if block.language == "python":
            exec(compile(block.text, "<page>", "exec"), names)
        elif block.language == "pycon":
            for example in doctest.DocTestParser().get_examples(block.text):
                first, *more = example.source.splitlines()
                source = "".join(f"{line}\n" for line in (f">>> {first}", *(f"... {line}" for line in more)))
                yield Step(block, source, example.want, _python(example.source, names))
        elif block.language == "console":
            for command, shown in commands(block.text):
                done = subprocess.run(
                    command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
                yield Step(block, f"$ {command}\n", shown, done.stdout)
        elif block.language != "text":
            raise ValueError(f"a block of {block.language!r} is not checked: {block.text}")


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Commands of a console block, each with the output that is shown under it."""
    before, *steps = re.split(r"^\$ ", text, flags=re.MULTILINE)
    if before:
        raise ValueError(f"a console block begins with a command, found {before!r}")
    for step in steps:
        command, shown = step.split("\n", 1)
        yield command, shown


def _python(source: str, names: dict[str, object]) -> str:
    """Run a statement as the interactive Python does; return what it prints, an exception included."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        try:
            exec(compile(source, "<page>", "single"), names)
        except Exception as problem:
            print("Traceback (most recent call last):")
            print(*traceback.format_exception_only(problem), sep="", end="")
    return printed.getvalue()


def refreshed(path: Path) -> str:
    """Text of a page, with what its code prints now under it; what is shown and true stays as it is."""
    found = blocks(path)
    texts = dict.fromkeys(found, "")
    for step in run(found):
        texts[step.block] += step.source + (step.shown if step.is_true else step.printed)
    page = path.read_text(encoding="utf-8")
    for block in reversed(found):
        if texts[block]:
            page = page[: block.start] + texts[block] + page[block.start + len(block.text) :]
    return page


if __name__ == "__main__":
    for path in PAGES:
        with readers_folder():
            text = refreshed(path)
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            print(path)
