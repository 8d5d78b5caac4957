"""The environment of every contestant: minidecilm and its peers, in a virtual environment of their own."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.scenarios import THREADS

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

# llama.cpp is compiled for this very CPU; what reads images is left out.
BUILD = {"CMAKE_ARGS": "-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"}

# OpenBLAS takes its kernels from these where they are set, which need not be the fastest here.
OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def make_environment(work: Path) -> Path:
    """Create ``work/venv`` unless it holds these very requirements; return its Python."""
    python, installed = work / "venv/bin/python", work / "venv/requirements.txt"
    if installed.exists() and installed.read_text() == REQUIREMENTS.read_text():
        return python
    print("installing PyTorch and compiling llama.cpp: some minutes", flush=True)
    subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "-c",
        "constraints.txt",
        "-r",
        REQUIREMENTS,
        "-e",
        ".",
    ]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | BUILD)
    installed.write_text(REQUIREMENTS.read_text())
    return python


def enter_environment(work: Path) -> None:
    """Continue this program in ``work/venv``, with the same number of threads for every library.

    How idle threads wait is left at each library's default, which sleeps after some milliseconds at most:
    OMP_WAIT_POLICY=passive would slow llama.cpp down, whose threads meet after every operation. The runner
    measures what the idle ones take.
    """
    if Path(sys.prefix) == work / "venv":
        return
    python = make_environment(work)
    variables = {key: value for key, value in os.environ.items() if key not in OVERRIDES}
    variables |= dict.fromkeys(THREAD_COUNTS, str(THREADS))
    os.execve(python, [python, "-m", "benchmarks.peers", *sys.argv[1:]], variables)
