"""One BLAS thread per test process: the arrays are small, and pytest-xdist brings the parallelism."""

import os

import pytest

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(variable, "1")  # takes effect because nothing has imported NumPy yet

# Scripts that make golden files: they need PyTorch and transformers, the tests only read what they made.
collect_ignore_glob = ["golden/*.py"]


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
