"""Hundreds of damaged and hostile checkpoints: each gives one clear error, at once, in little memory.

They stand in ``malformed.py``. ``python -m tests.unit.test_malformed FOLDER`` opens them all in one process
and prints what it took; ``test_memory_and_time`` does that.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidecilm.errors import CheckpointError, ConfigError
from minidecilm.weights.checkpoint import open_checkpoint
from tests.configs import TINY
from tests.unit.malformed import BASES, CASES, FLOATS, FOLDER, PIPE, SINGLE, files

ROOT = Path(__file__).parents[2]


def build(folder: Path, found: dict[str, Any]) -> None:
    folder.mkdir()
    for name, content in found.items():
        if content is FOLDER:
            (folder / name).mkdir()
        elif content is PIPE:
            os.mkfifo(folder / name)
        else:
            (folder / name).write_bytes(content)


def complaint(folder: Path, expected: str = "") -> str:
    """What is wrong with an open folder's refusal; empty if nothing is."""
    try:
        open_checkpoint(folder)
    except (CheckpointError, ConfigError, OSError) as error:
        message = str(error)
    else:
        return "it opened"
    if str(folder) not in message:
        return f"names no file: {message}"
    if expected not in message:
        return f"expected {expected!r} in: {message[:2000]}"
    return "" if message.isprintable() and len(message) < 1000 else f"not one short line: {message[:2000]!r}"


def test_the_base_of_the_corpus_opens(tmp_path: Path) -> None:
    for name in ("single", "sharded", "packed"):
        build(tmp_path / name, BASES[name])
        assert complaint(tmp_path / name) == "it opened"


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 200


@pytest.mark.parametrize("name", CASES)
def test_malformed(tmp_path: Path, name: str) -> None:
    build(tmp_path / "m", files(CASES[name]))
    assert complaint(tmp_path / "m", CASES[name].message) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark of one process is read from /proc")
@pytest.mark.slow
def test_memory_and_time(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.test_malformed", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    result = json.loads(run.stdout)
    assert result["cases"] == len(CASES)
    assert result["growth_bytes"] < 200e6, result
    assert result["slowest_seconds"] < 3, result  # about half a second


def memory_bytes(key: str) -> int:
    # Not getrusage: its high-water mark is inherited from the process that started this one.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def run_corpus(folder: Path) -> dict[str, Any]:
    start = memory_bytes("VmRSS")
    seconds = {}
    for number, (name, case) in enumerate(CASES.items()):
        build(folder / str(number), files(case))
        begin = time.process_time()
        fault = complaint(folder / str(number), case.message)
        seconds[name] = time.process_time() - begin
        if fault:
            raise AssertionError(f"{name}: {fault}")
    slowest = max(seconds, key=lambda name: seconds[name])
    return {
        "cases": len(CASES),
        "growth_bytes": memory_bytes("VmHWM") - start,
        "slowest": slowest,
        "slowest_seconds": seconds[slowest],
        "seconds": sum(seconds.values()),
    }


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    build(folder, BASES["single"])
    return folder


@settings(max_examples=300, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_refused_or_harmless(fuzzed: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(FLOATS)
    header_end = 8 + int.from_bytes(data[:8], "little")
    for place, mask in flips:
        data[place % header_end] ^= mask
    (fuzzed / SINGLE).write_bytes(data)
    if (fault := complaint(fuzzed)) != "it opened":
        assert fault == ""
        return
    checkpoint = open_checkpoint(fuzzed)
    assert {name: array.shape for name, array in checkpoint.tensors.items()} == TINY.parameter_shapes()
    assert checkpoint.nbytes == sum(array[...].nbytes for array in checkpoint.tensors.values())


if __name__ == "__main__":
    print(json.dumps(run_corpus(Path(sys.argv[1]))))
