"""Compiled code follows the sources it was made of, and does without a place to keep it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minidecilm
from tests.backends import kernels

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


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and of the tests, without what was compiled."""
    kernels.make("numba-explicit")
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
    """Also the planted mistake of sums that no longer fit in 16 bits: the extremes notice it."""
    vectors = copy / "minidecilm/backends/numba_backend/vectors.py"
    right = vectors.read_text()
    assert run(copy, EXTREMES) == "right"
    vectors.write_text(right.replace("UINT4_DOTS = 8", "UINT4_DOTS = 16"))
    assert run(copy, EXTREMES) == "wrong"
    vectors.write_text(right)
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
