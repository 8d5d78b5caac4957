"""Kernels in forked processes: where the threads survive it, where they do not, and before there are any."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidecilm.backends.numba_backend import threads

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

#: Prints which text the parent, the child and the parent again write, or the child's error.
RUN = """
import os, sys
import minidecilm
backend, first_use, other_thread = sys.argv[1], sys.argv[2] == "before", sys.argv[3] == "busy"
lm = minidecilm.load("demo", backend=backend)

def write(name):
    try:
        text = lm.generate("Once upon a time", max_new_tokens=5, temperature=0, progress=False)
    except Exception as problem:
        text = f"{type(problem).__name__}: {problem}"
    print(name, text, flush=True)

if first_use:
    write("parent")
if other_thread:
    import threading
    stop = threading.Event()
    def go_on():
        while not stop.is_set():
            lm.model([[1, 5, 9]])
    thread = threading.Thread(target=go_on)
    thread.start()
for _ in range(10 if other_thread else 1):
    child = os.fork()
    if child == 0:
        write("child")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("exit", code, flush=True)
if other_thread:
    stop.set()
    thread.join()
write("parent")
"""
TEXT = ", there was a little"


def run(layer, backend="numba", use="before", other="idle"):
    """Lines that are printed, and what is on stderr."""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, backend, use, other],
        env={**os.environ, "NUMBA_THREADING_LAYER": layer},
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
    )
    return found.stdout.splitlines(), found.stderr


@pytest.fixture
def gnu_openmp():
    omppool = pytest.importorskip("numba.np.ufunc.omppool")
    if omppool.openmp_vendor != "GNU":
        pytest.skip(f"OpenMP of {omppool.openmp_vendor} survives a fork")
    return "omp"


def test_forked_after_use(gnu_openmp):
    """GNU OpenMP would end the child without a word to Python."""
    lines, stderr = run(gnu_openmp)
    assert lines[0] == lines[3] == f"parent {TEXT}"
    assert lines[1].startswith("child ForkError: the numba backend was used before this process was forked")
    assert "NUMBA_THREADING_LAYER=workqueue" in lines[1]
    assert lines[2] == "exit 0"
    assert stderr == ""


def test_forked_before_use(gnu_openmp):
    """As gunicorn --preload does with an application that only loads."""
    assert run(gnu_openmp, use="after") == ([f"child {TEXT}", "exit 0", f"parent {TEXT}"], "")


def test_a_layer_that_survives(gnu_openmp):
    assert run("workqueue") == ([f"parent {TEXT}", f"child {TEXT}", "exit 0", f"parent {TEXT}"], "")


def test_forked_while_another_thread_runs_a_kernel():
    """What that thread holds would stay in use for ever in the child."""
    lines, stderr = run("workqueue", other="busy")
    assert lines == [f"parent {TEXT}", *[f"child {TEXT}", "exit 0"] * 10, f"parent {TEXT}"]
    assert stderr == ""


def test_numpy_survives(gnu_openmp):
    lines, _ = run(gnu_openmp, backend="numpy")
    assert lines == [f"parent {TEXT}", f"child {TEXT}", "exit 0", f"parent {TEXT}"]


def test_the_command_line_says_it_in_one_line(monkeypatch, run_command):
    monkeypatch.setattr(threads, "_threads_lost", True)
    code, _, err = run_command("generate", "Once", "--backend", "numba")
    assert code == 2
    [line] = err.splitlines()
    assert line.startswith("minidecilm generate: the numba backend was used before this process was forked")
