"""Every set of operations that computes the network, by name: tests run one body over all of them."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from minidecilm.backends import Backend, create_backend, numba_backend
from minidecilm.backends.host import on_host
from tests.backends.cuda_on_cpu import cupy as stand_in

SEPARATOR = "\n==== next ====\n"  # of what a script prints
ON_CPU = "cupy-on-cpu"
OWN = f"numba-{create_backend('numba').kernels}"  # what this CPU runs unless asked otherwise
NUMBA = tuple(
    name if name == OWN else pytest.param(name, marks=pytest.mark.slow)  # takes long to compile
    for name in ("numba-explicit", "numba-portable")
)
NAMES = (
    "numpy",
    *NUMBA,
    pytest.param("cupy", marks=pytest.mark.gpu),
    pytest.param(ON_CPU, marks=pytest.mark.slow),
)

#: Head sizes that the CUDA kernels are compiled for in tests: each costs seconds.
HEAD_DIMS = (2, 10, 16, 24, 128)


@cache
def has_gpu() -> bool:
    """Whether CuPy and a CUDA device are there."""
    try:
        import cupy

        return cupy is not stand_in and cupy.cuda.runtime.getDeviceCount() > 0
    except Exception:  # a driver that is missing, too old or broken, in the words of whichever layer noticed
        return False


@cache
def install_stand_in() -> None:
    """Let this process's CuPy be the stand-in: kernels then run on the CPU."""
    if has_gpu():
        pytest.skip("there is a GPU")
    if shutil.which("g++") is None:
        pytest.skip("no g++, which compiles CUDA kernels for the CPU")
    stack = ExitStack()
    folder = Path(tempfile.gettempdir()) / f"minidecilm-cuda-on-cpu-{os.getuid()}"
    stack.enter_context(stand_in.installed(folder))
    atexit.register(stack.close)


def make(name: str, dtype: str = "float32") -> Backend:
    """Make one of NAMES; skips the test where this machine cannot run it."""
    backend, _, kernels = name.partition("-")
    if name == ON_CPU:
        install_stand_in()
    elif backend == "cupy" and not has_gpu():
        pytest.skip("no usable CUDA device")
    with mock.patch.dict(os.environ, {numba_backend.KERNELS_VARIABLE: kernels if backend == "numba" else ""}):
        try:
            return create_backend(backend, dtype=dtype)
        except ValueError as problem:
            pytest.skip(str(problem))


def make_on_host(name: str) -> Backend:
    """Make one whose operations take and give NumPy arrays, wherever they are computed."""
    backend = make(name)
    if backend.name != "cupy":
        return backend
    device = backend.device

    def linear(x, weight):
        return on_host(backend.linear(device.array(x), device.matrix(weight)))

    def attention(q, k, v, visible):
        return on_host(backend.attention(device.array(q), *map(cached, (k, v)), visible))

    def cached(values):
        """As a cache gives them: (B, K, S, D) of a longer array that ends in NaN, bfloat16 as its bits."""
        bits = values.view(np.uint16) if values.dtype.itemsize == 2 else values
        *BK, S, D = bits.shape
        whole = device.array(np.full((*BK, S + 3, D * bits.itemsize), 0xFF, np.uint8).view(bits.dtype))
        whole[:, :, :S] = device.array(bits)
        return whole[:, :, :S]

    def swiglu(gate, up):
        return on_host(backend.swiglu(device.array(gate), device.array(up)))

    def rms_norm(x, weight, eps):
        return on_host(backend.rms_norm(device.array(x), device.array(weight), eps))

    return replace(backend, linear=linear, attention=attention, swiglu=swiglu, rms_norm=rms_norm)


def run_apart(script, **environment):
    """Run a script of this folder in a fresh process; compiled code is kept from the other processes'."""
    command = [sys.executable, "-m", f"tests.backends.{script}"]
    root = Path(__file__).parents[2]
    return subprocess.run(
        command, env={**os.environ, **environment}, cwd=root, capture_output=True, text=True
    )
