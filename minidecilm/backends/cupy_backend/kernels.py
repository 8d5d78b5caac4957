"""Compiles the CUDA C++ of ``kernels/`` when it is first needed, and launches it."""

from functools import cache
from pathlib import Path
from typing import Any

import cupy
import numpy as np

SOURCES = Path(__file__).parent / "kernels"
FILES = ("linear", "attention", "layer")

#: Shared memory that a kernel may use without asking: of every CUDA device.
_SHARED = 48 * 1024


def source(file: str) -> str:
    """Return the text of one file as it is compiled, with what they all begin with."""
    return (SOURCES / "common.cuh").read_text() + (SOURCES / f"{file}.cu").read_text()


def options(head_dim: int = 2, storage: str = "bfloat16", group: int = 64, parts: int = 3) -> tuple[str, ...]:
    """Macros of a compilation: see ``kernels/common.cuh``."""
    macros = {"HEAD_DIM": head_dim, "STORAGE": storage.upper(), "GROUP": group, "PARTS": parts}
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in macros.items()))


@cache
def check_compiler() -> None:
    """Compile next to nothing: raises where NVRTC, or headers that CuPy's own kernels need, are missing."""
    cupy.RawModule(code='extern "C" __global__ void nothing() {}').compile()


@cache
def _module(file: str, device: int, **macros: Any) -> Any:
    return cupy.RawModule(code=source(file), options=options(**macros))


@cache
def _kernel(file: str, name: str, shared: int, device: int, **macros: Any) -> Any:
    kernel = _module(file, device, **macros).get_function(name)
    if shared > _SHARED - 9 * 1024:  # what kernels declare themselves besides
        kernel.max_dynamic_shared_size_bytes = shared
    return kernel


def launch(
    file: str, name: str, grid: tuple[int, ...], block: int, *arguments: Any, shared: int = 0, **macros: Any
) -> None:
    """Launch a kernel on the current stream.

    Parameters
    ----------
    file, name : str
        One of FILES, and a kernel in it.
    grid : tuple of int
        Blocks.
    block : int
        Threads of a block.
    *arguments
        Device arrays; None for a null pointer; int and float for the kernel's int and float; a NumPy scalar
        for any other type.
    shared : int
        Bytes of dynamic shared memory.
    **macros
        As for :func:`options`.
    """
    kernel = _kernel(file, name, shared, cupy.cuda.Device().id, **macros)
    kernel((*grid, 1, 1)[:3], (block, 1, 1), tuple(map(_argument, arguments)), shared_mem=shared)


def _argument(value: Any) -> Any:
    if value is None:
        return np.uintp(0)
    if isinstance(value, int):
        return np.int32(value)
    return np.float32(value) if isinstance(value, float) else value
