"""Before the first clock starts, all that a run needs is compiled, and a bar says so."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Prints the kernels of ours that are compiled or loaded before and after `prepare` is done.
RUN = """
import sys
import minidecilm
from minidecilm.backends.numba_backend import compiling
from numba.core.dispatcher import Dispatcher
from unittest import mock

new, compile = [], Dispatcher.compile
def noted(self, sig):
    known = self.overloads
    if self.py_func.__module__.startswith(compiling.__package__) and tuple(sig) not in known:
        new.append((self.py_func.__name__, str(sig)))
    return compile(self, sig)

storage, kv_cache = sys.argv[1:]
lm = minidecilm.load("demo", backend="numba", weights=storage.replace("float16", "stored"), kv_cache=kv_cache)
if storage == "float16":
    weights = {name: weight.astype("float16") for name, weight in lm.model.weights.items()}
    lm.model.weights = weights
with mock.patch.object(Dispatcher, "compile", noted):
    lm.model.backend.prepare(lm.model.weights, kv_cache.replace("compute", "float32"), False)
    print({"visible_ranges", "attend"} < {name for name, _ in new})
    new.clear()
    for prompt in ("Once upon a time", ["Once upon a time, there was a girl. " * 8, "The"]):
        lm.generate(prompt, max_new_tokens=3, progress=False)
    lm.model.backend.prepare(lm.model.weights, kv_cache.replace("compute", "float32"), False)
    print(new)
"""


@pytest.mark.parametrize(
    ("kernels", "storage", "kv_cache"),
    [
        ("", "stored", "compute"),
        ("", "float32", "bfloat16"),
        ("", "float16", "compute"),
        ("", "int8", "compute"),
        ("", "int4", "bfloat16"),
        ("portable", "int4", "compute"),
    ],
)
def test_a_prepared_run_compiles_nothing(kernels, storage, kv_cache, monkeypatch):
    monkeypatch.setenv("MINIDECILM_KERNELS", kernels)
    command = [sys.executable, "-c", RUN, storage, kv_cache]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout == "True\n[]\n"
