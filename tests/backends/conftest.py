"""Fixtures of the tests of backends."""

import os

import pytest


@pytest.fixture(scope="session")
def kernels_folder(tmp_path_factory):
    """Return where kernels compiled for the CPU are kept: one folder for all processes of a test run."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "kernels"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items):
    """All tests of one set of kernels go to one process, which compiles each kernel once."""
    for item in items:
        for kernels in ("numba-explicit", "numba-portable"):
            if kernels in item.name:
                item.add_marker(pytest.mark.xdist_group(kernels))
