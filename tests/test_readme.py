"""The README tells the truth: its example runs, its transcript is real, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from minidecilm.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)


def blocks(language):
    return [text for name, text in BLOCKS if name == language]


def test_transcript_is_what_the_first_command_prints(capsys):
    command = blocks("console")[0].split("&&")[-1]
    arguments = shlex.split(command)[1:]
    assert main(arguments) == 0
    assert capsys.readouterr().out == blocks("text")[0]


def test_python_example_runs(capsys):
    for code in blocks("python"):
        exec(code, {})
    assert capsys.readouterr().out


def test_second_command_is_the_one_ci_runs():
    command = blocks("console")[1]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for part in ('install -c constraints.txt -e ".[test]"', "-m pytest -n 2"):
        assert part in command
        assert part in ci.replace(
            '"$venv/bin/pip" install --quiet --disable-pip-version-check', "install"
        ).replace('"$venv/bin/python"', "")


@pytest.mark.parametrize(
    "file", ["README.md", "CONTRIBUTING.md", "tests/golden/README.md", "training/README.md"]
)
def test_links_to_files_lead_somewhere(file):
    path = ROOT / file
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_stated_length_of_the_reference_path_is_true():
    names = ("config", "ops", "rope", "cache", "model", "sampling", "generation")
    lines = sum(len((ROOT / "minidecilm" / f"{name}.py").read_text().splitlines()) for name in names)
    [stated] = re.findall(r"about ([\d,]+) lines", README)
    assert abs(lines - int(stated.replace(",", ""))) <= 50
