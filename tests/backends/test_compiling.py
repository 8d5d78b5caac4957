"""Compiled code follows the sources it was made of, and does without a place to keep it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minidecilm
from minidecilm.backends import create_backend
from minidecilm.backends.numba_backend import vectors

pytestmark = pytest.mark.slow
PACKAGE = Path(minidecilm.__file__).parent

EXTREMES = """
from minidecilm.backends import create_backend
from tests.backends.test_linear import check_extremes
try:
    check_extremes(create_backend("numba"), 4, 128)
    print("right")
except AssertionError:
    print("wrong")
"""

#: By what the CPU runs: a file, and mistakes in it. 4-bit weights are stored 8 too large on every CPU; sums
#: no longer fit in 16 bits where AVX2 adds them, but not with AVX-512 VNNI.
TAKES_OFF_7 = ("arguments, -8\n", "arguments, -7\n")
MISTAKES = {
    "explicit": ("vectors.py", [TAKES_OFF_7] if vectors.VNNI else [TAKES_OFF_7, ("DOTS = 8", "DOTS = 16")]),
    "portable": ("portable_linear.py", [("else -8 *", "else -7 *")]),
}


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and of the tests, without what was compiled."""
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "minidecilm", ignore=without)
    shutil.copytree(Path(__file__).parents[1], tmp_path / "tests", ignore=without)
    return tmp_path


def run(copy, code, **environment):
    environment = {**os.environ, "PYTHONPATH": str(copy), **environment}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def test_a_changed_source_is_compiled_anew(copy):
    """The extremes notice every mistake, and run as before once it is gone."""
    file, mistakes = MISTAKES[create_backend("numba").kernels]
    source = copy / "minidecilm/backends/numba_backend" / file
    sound = source.read_text()
    assert run(copy, EXTREMES) == "right"
    for right, wrong in mistakes:
        assert sound.count(right) == 1
        source.write_text(sound.replace(right, wrong))
        assert run(copy, EXTREMES) == "wrong"
    source.write_text(sound)
    assert run(copy, EXTREMES) == "right"


def test_without_a_place_for_compiled_code(copy):
    """Then it is compiled in every run."""
    nowhere = copy / "a file"
    nowhere.touch()
    (copy / "minidecilm/backends/numba_backend/__pycache__").touch()
    code = "import minidecilm.backends.numba_backend.compiling as c; print(c.CACHE_FOLDER)"
    environment = {"XDG_CACHE_HOME": str(nowhere), "NUMBA_CACHE_DIR": "", "PYTHONDONTWRITEBYTECODE": "1"}
    assert run(copy, code, **environment) == "None"
    assert run(copy, EXTREMES, **environment) == "right"
