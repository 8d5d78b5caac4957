"""The builder of notebooks: same source, same outputs; one clear line where a cell fails."""

import json
import re
from base64 import b64decode, b64encode
from importlib.metadata import version
from io import BytesIO

import pytest
from PIL import Image

from notebooks import build

pytestmark = pytest.mark.slow
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

DRAWING = """# %%
print(f"{1 / 3:.3f}")

# %%
%matplotlib inline
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(2, 1))
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


def test_another_matplotlib_is_said_and_compares_no_pictures(folder, capsys, monkeypatch):
    (folder / "01_one.py").write_text(DRAWING)
    build.main([])
    path = folder / "01_one.ipynb"
    own = path.read_text()
    monkeypatch.setattr(build, "build", lambda source: own)  # it would be the same again
    [picture] = re.findall(r'"image/png": "(.*?)"', own)
    other = own.replace(f'"matplotlib": "{version("matplotlib")}"', '"matplotlib": "0.1"')
    for text, drawn, status, said in (
        (own, picture, 0, "same ("),
        (own, blackened(picture), 1, "outputs of cell 1"),
        (other, blackened(picture), 0, "same text; another Matplotlib drew its pictures"),
        (other.replace("0.333", "0.335"), picture, 1, "outputs of cell 0"),
        (own.replace("0.333", "0.334"), picture, 0, "same ("),
    ):
        path.write_text(text.replace(picture, drawn))
        assert build.main(["--check"]) == status
        assert said in capsys.readouterr().out


def blackened(picture):
    """The same PNG file with some of its pixels black."""
    with Image.open(BytesIO(b64decode(picture))) as image:
        image.paste((0, 0, 0), (10, 10, 30, 30))
        file = BytesIO()
        image.save(file, "png")
    return b64encode(file.getvalue()).decode()


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
