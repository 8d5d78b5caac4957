"""What all tests share. One BLAS thread per process: the arrays are small, and pytest-xdist runs several."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(variable, "1")  # takes effect because nothing has imported NumPy yet

# Tests whose imports the extra `test` has and `dev` has not: without them, the fast tests do without these.
NEEDS = {"browser": "playwright", "docs/test_site.py": "sphinx", "notebooks": "jupytext"}
MISSING = {tests: package for tests, package in NEEDS.items() if find_spec(package) is None}
collect_ignore = list(MISSING)

# Scripts that make golden files: they need PyTorch and transformers, the tests only read what they made.
collect_ignore_glob = ["golden/*.py"]


def pytest_terminal_summary(terminalreporter):
    """Say what was not collected, as pytest says what was skipped."""
    for tests, package in MISSING.items():
        where = (Path(__file__).parent / tests).relative_to(terminalreporter.config.rootpath)
        terminalreporter.write_line(f"NOT COLLECTED {where}: {package} is missing; install the extra 'test'")


@pytest.fixture
def run_command(capsys):
    """Run `minidecilm` with these arguments; return exit code, stdout and stderr."""
    from minidecilm.cli.main import main

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Folder of the built site; all processes of pytest-xdist share one build."""
    from filelock import FileLock

    from tests.docs.site import build

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "site.lock"):
        if not (folder / "site").exists():
            build(folder / "site")
    return folder / "site"
