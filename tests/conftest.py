"""One BLAS thread per test process: the arrays are small, and pytest-xdist brings the parallelism."""

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(variable, "1")  # takes effect because nothing has imported NumPy yet

# Scripts that make golden files: they need PyTorch and transformers, the tests only read what they made.
collect_ignore_glob = ["golden/*.py"]
