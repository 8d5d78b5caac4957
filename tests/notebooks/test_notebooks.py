"""Every walkthrough executes, its committed .ipynb is what its source gives, its exercises check answers."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

from notebooks import build
from tests.docs.test_prose import prose_numbers
from tests.notebooks.wrong_answers import KINDS, WRONG

ROOT = Path(__file__).parents[2]
SOURCES = build.sources()
KILOBYTES, CELLS = 300, 16

#: They show what a model of float32 wrote or measured.
SENSITIVE = ("01_first_text", "08_sampling", "11_small_autonac")
SHAKE = "from tests.shaken import shaken\nshaken = shaken(seed=0)\nshaken.__enter__()"

notebooks = pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])


def committed(source):
    return source.with_suffix(".ipynb").read_text(encoding="utf-8")


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def error(cell):
    found = [output for output in cell.get("outputs", ()) if output.output_type == "error"]
    return f"{found[0].ename}: {found[0].evalue}" if found else None


def with_wrong_answers(notebook, given):
    """Append a cell that gives each wrong answer, checks it, puts the right one back, and prints a list."""
    checks = "\n".join(cell.source for cell in tagged(notebook, "check"))
    code = f"""def reply(name, expression):
    right = globals()[name]
    globals()[name] = eval(expression)
    try:
        exec({checks!r}, globals())
        return "All right"
    except Exception as problem:
        return type(problem).__name__ + ": " + str(problem)
    finally:
        globals()[name] = right


import json
replies = [reply(name, expression) for name, expression in {given!r}]
print()
print(json.dumps(replies))
"""
    return nbformat.from_dict({**notebook, "cells": [*notebook.cells, nbformat.v4.new_code_cell(code)]})


@pytest.mark.slow
@notebooks
def test_executes_as_committed_and_notices_wrong_answers(source):
    notebook = build.read(source)
    wrong = {name: codes + KINDS for name, codes in WRONG[source.stem].items()}
    given = [(name, code) for name, codes in wrong.items() for code in codes]
    longer = with_wrong_answers(notebook, given)
    build.execute(longer, source.name, allow_errors=True)

    *own, appended = longer.cells
    assert [found for found in map(error, longer.cells) if found] == []
    replies = json.loads(appended.outputs[-1].text.splitlines()[-1])
    for (name, code), reply in zip(given, replies, strict=True):
        refusal = f"AssertionError: {name.removeprefix('answer_')}: "
        assert reply.startswith(refusal), f"{name} = {code}: {reply}"

    longer.cells = own
    assert build.difference(committed(source), build.finish(longer)) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", SENSITIVE)
def test_outputs_do_not_hang_by_rounding(name):
    """In every product ten times what another CPU may round otherwise: no text and no picture changes."""
    source = build.FOLDER / f"{name}.py"
    notebook = build.read(source)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    own, first.source = first.source, f"{SHAKE}\n{first.source}"
    build.execute(notebook, source.name)
    first.source = own
    assert build.difference(committed(source), build.finish(notebook)) is None


@notebooks
def test_every_exercise_has_wrong_answers(source):
    notebook = build.read(source)
    [exercise] = tagged(notebook, "exercise")
    names = re.findall(r"^(answer_\d) = \.\.\.$", exercise.source, re.M)
    assert len(names) in (2, 3)
    assert exercise.source.count("...") == len(names), "the reader's cell holds a worked answer"
    assert list(WRONG[source.stem]) == names


@notebooks
def test_committed_form(source):
    text = committed(source)
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert len(text.encode()) < KILOBYTES * 1000
    assert len(notebook.cells) <= CELLS
    assert notebook.cells[0].source.startswith(f"# {int(source.stem[:2])}. ")
    last = [cell.metadata.get("tags", [None])[0] for cell in notebook.cells[-3:]]
    assert last == ["exercise", "solution", "check"]
    assert "## Exercises" in notebook.cells[-4].source

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert outputs
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not [output for output in outputs if output.get("name") == "stderr"]
    shown = json.dumps(
        [{**output, "data": {**output.get("data", {}), "image/png": ""}} for output in outputs]
    )
    assert not re.search(
        r"(?<![\w.])/(home|root|tmp|usr|opt|work|Users|var)/|[A-Z]:\\|Traceback|0x[0-9a-f]{6}", shown
    )


@notebooks
def test_made_with_what_constraints_pin(source):
    made_with = json.loads(committed(source))["metadata"]["made_with"]
    environment = {"python_version": made_with["python"], "python_full_version": f"{made_with['python']}.0"}
    lines = map(Requirement, (ROOT / "constraints.txt").read_text().splitlines())
    pinned = {
        line.name: str(line.specifier).removeprefix("==")
        for line in lines
        if line.marker is None or line.marker.evaluate(environment)
    }
    assert {name: pinned[name] for name in build.MAKERS} == {name: made_with[name] for name in build.MAKERS}


@notebooks
def test_numbers_in_the_text_are_in_the_code_or_its_output(source, tmp_path):
    cells = nbformat.reads(committed(source), as_version=4).cells
    page = tmp_path / "text.md"
    page.write_text(
        "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown"), encoding="utf-8"
    )
    code = [cell for cell in cells if cell.cell_type == "code"]
    printed = [output.get("text", "") for cell in code for output in cell.outputs]
    shown = "\n".join([*(cell.source for cell in code), *printed])
    known = {re.sub("[,_]", "", number) for number in re.findall(r"\d[\d,_]*(?:\.\d+)?", shown)}
    missing = set(prose_numbers(page)) - known
    assert not missing, f"no cell computes or prints {sorted(missing)}"


def test_readme_lists_every_notebook():
    readme = (ROOT / "notebooks" / "README.md").read_text()
    linked = re.findall(r"\]\((\d\d_\w+)\.ipynb\)", readme)
    assert linked == [source.stem for source in SOURCES]
    assert linked == [path.stem for path in sorted(build.FOLDER.glob("*.ipynb"))]
