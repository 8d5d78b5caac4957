"""How long opening a full-size DeciLM-6B checkpoint takes, and how much memory it costs.

Writes a checkpoint of random weights in the published layout (11.4 GB, three shards) unless the folder has
one, then opens it in fresh processes, with the files in the page cache and dropped from it. The peer is
``safetensors.safe_open`` of the same files, which maps them and parses their headers but checks no config.

    python -m benchmarks.open_checkpoint --folder /tmp/decilm-6b-random
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, describe, spread, write_result
from minidecilm.bench.machine import process_memory

MEMORY = ("total", "anonymous")


def open_ours(folder: Path) -> Iterator[object]:
    from minidecilm.weights.checkpoint import open_checkpoint

    yield
    yield open_checkpoint(folder)


def open_peer(folder: Path) -> Iterator[object]:
    import numpy  # noqa: F401  # which safe_open would import within the measured time
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    yield
    yield [safe_open(file, "np") for file in files]


OPENERS = {"minidecilm": open_ours, "safetensors": open_peer}


def memory() -> dict[str, int]:
    found = process_memory()
    return {"total": found["anonymous"] + found["mapped"], "anonymous": found["anonymous"]}


def measure_here(opener: str, folder: Path) -> dict[str, float]:
    """Seconds and bytes of one opening in this process; imports are paid before."""
    steps = OPENERS[opener](folder)
    next(steps)
    before, start = memory(), time.perf_counter()
    opened = next(steps)
    seconds, after = time.perf_counter() - start, memory()
    assert opened
    return {"seconds": seconds} | {f"{kind}_bytes": after[kind] - before[kind] for kind in MEMORY}


def measure(opener: str, folder: Path, cold: bool, runs: int) -> dict[str, dict[str, Any]]:
    """Least, median and greatest figure over `runs` fresh processes."""
    found = []
    for _ in range(runs):
        if cold:
            for file in folder.iterdir():
                with file.open("rb") as handle:
                    os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        command = [
            sys.executable,
            "-m",
            "benchmarks.open_checkpoint",
            "--folder",
            str(folder),
            "--measure",
            opener,
        ]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return {key: spread(run[key] for run in found) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="where the checkpoint is, or is to be written"
    )
    parser.add_argument("--runs", type=int, default=11, help="fresh processes per row")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "open_checkpoint.json", help="JSON file to write"
    )
    parser.add_argument("--measure", choices=OPENERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure_here(arguments.measure, arguments.folder)))
        return

    from minidecilm import preset, write_random_checkpoint
    from minidecilm.weights.checkpoint import open_checkpoint

    if not arguments.folder.exists():
        start = time.perf_counter()
        write_random_checkpoint(preset("decilm-6b"), arguments.folder)
        print(f"written in {time.perf_counter() - start:.0f} s")
    os.sync()  # only clean pages can be dropped from the cache
    checkpoint = open_checkpoint(arguments.folder)
    rows = {
        f"{opener}, {state}": measure(opener, arguments.folder, state == "cold", arguments.runs)
        for state in ("warm", "cold")
        for opener in OPENERS
    }
    ratios = {
        state: rows[f"minidecilm, {state}"]["seconds"]["median"]
        / rows[f"safetensors, {state}"]["seconds"]["median"]
        for state in ("warm", "cold")
    }
    print(f"{checkpoint.nbytes:,} bytes in {len(checkpoint.files)} files; {arguments.runs} processes a row")
    print(f"{'':22}{'ms min':>9}{'median':>9}{'max':>9}{'RSS MB, max':>13}{'anonymous':>11}")
    for name, row in rows.items():
        times = "".join(f"{row['seconds'][key] * 1e3:9.2f}" for key in ("min", "median", "max"))
        total, anonymous = (row[f"{kind}_bytes"]["max"] / 1e6 for kind in MEMORY)
        print(f"{name:22}{times}{total:13.2f}{anonymous:11.2f}")
    for state, ratio in ratios.items():
        print(f"minidecilm takes {ratio:.1f} times as long as safetensors.safe_open, {state}")
    result = {
        "what": "opening a random-weight decilm-6b checkpoint in fresh processes",
        "checkpoint_bytes": checkpoint.nbytes,
        "files": len(checkpoint.files),
        "runs": arguments.runs,
        **describe("numpy", "ml_dtypes", "safetensors"),
        "rows": rows,
        "seconds_ratio_to_safetensors": ratios,
    }
    write_result(arguments.output, result)


if __name__ == "__main__":
    main()
