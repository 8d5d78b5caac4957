"""Fixtures of the tests of backends."""

import os

import pytest


@pytest.fixture(scope="session")
def kernels_folder(tmp_path_factory):
    """Return where kernels compiled for the CPU are kept: one folder for all processes of a test run."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "kernels"
