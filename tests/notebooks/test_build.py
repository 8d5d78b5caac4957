"""The builder of notebooks: same source, same bytes; one clear line where a cell fails."""

import json

import pytest

from notebooks import build

SOURCE = """# %% [markdown]
# # A title

# %%
import sys

value = 6 * 7
value

# %% tags=["measured"]
import time

time.time_ns()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    (tmp_path / "01_one.py").write_text(SOURCE)
    return tmp_path


def test_builds_and_checks(folder, capsys):
    assert build.main([]) == 0
    text = (folder / "01_one.ipynb").read_text()
    cells = json.loads(text)["cells"]
    assert cells[1]["outputs"][0]["data"]["text/plain"] == ["42"]
    assert str(folder) not in text
    assert [path.name for path in sorted(folder.iterdir())] == [
        "01_one.ipynb",
        "01_one.py",
    ]  # nothing left over

    assert build.main(["01_one", "--check"]) == 0  # although the time it measured is another
    assert "same" in capsys.readouterr().out

    (folder / "01_one.ipynb").write_text(text.replace('"42"', '"43"'))
    assert build.main(["--check"]) == 1
    assert "01_one.ipynb is out of date: outputs of cell 1" in capsys.readouterr().out

    (folder / "01_one.py").write_text(SOURCE.replace("6 * 7", "7 * 6"))
    assert build.main(["--check"]) == 1
    assert "source of cell 1" in capsys.readouterr().out


def test_outputs_of_other_versions_are_not_compared(folder, capsys):
    build.main([])
    path = folder / "01_one.ipynb"
    other = path.read_text().replace(f'"numpy": "{build.made_with()["numpy"]}"', '"numpy": "0.1"')
    path.write_text(other.replace('"42"', '"43"'))
    assert build.main(["--check"]) == 0
    assert "other versions" in capsys.readouterr().out
    path.write_text(other.replace("6 * 7", "7 * 7"))
    assert build.main(["--check"]) == 1


def test_a_failing_cell_gives_one_line_and_leaves_the_notebook(folder, capsys):
    (folder / "01_one.ipynb").write_text("as it was")
    (folder / "01_one.py").write_text(SOURCE.replace("6 * 7", "1 / 0"))
    assert build.main([]) == 1
    assert capsys.readouterr().err == "01_one.py, cell 1: ZeroDivisionError: division by zero\n"
    assert (folder / "01_one.ipynb").read_text() == "as it was"


def test_a_missing_notebook_does_not_pass(folder, capsys):
    assert build.main(["--check"]) == 1
    assert "01_one.ipynb is missing" in capsys.readouterr().out


def test_refuses_unknown_names(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        build.main(["02_two"])
    assert "no notebook '02_two': choose from 01_one" in capsys.readouterr().err
