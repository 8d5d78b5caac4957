"""Every set of operations that computes the network, by name: tests run one body over all of them."""

import os
from unittest import mock

import pytest

from minidecilm.backends import Backend, create_backend, numba_backend

SEPARATOR = "\n==== next ====\n"  # of what a script prints
NAMES = ("numpy", "numba-explicit", "numba-portable")


def make(name: str) -> Backend:
    """Make one of NAMES; skips the test where this CPU cannot run it."""
    backend, _, kernels = name.partition("-")
    with mock.patch.dict(os.environ, {numba_backend.KERNELS_VARIABLE: kernels}):
        try:
            return create_backend(backend)
        except ValueError as problem:
            pytest.skip(str(problem))
