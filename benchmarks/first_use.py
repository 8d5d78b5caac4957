"""How long a first start takes to the first token of the demo, and any later one.

Every start is a process of its own. For each storage of the weights there is a folder of compiled code: the
first start of a round finds it empty and compiles, the others find it filled. Goals were set beforehand.

    python -m benchmarks.first_use
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minidecilm
from benchmarks.common import (
    brief,
    cpu_folder,
    cpu_title,
    describe,
    results_of_every_cpu,
    spread,
    table,
    write_result,
)

#: What `minidecilm.load` is asked for: a folder made beforehand, so that no start has to quantise.
STORAGES = {
    "float32": {"folder": "demo"},
    "bfloat16": {"folder": "demo", "dtype": "bfloat16"},
    "int8": {"folder": "int8"},
    "int4": {"folder": "int4"},
}
PACKED = ("int8", "int4")
GOALS = {"first": 20.0, "later": 1.0}  # seconds at most

CODE = """\
import sys
import minidecilm
lm = minidecilm.load(sys.argv[1], backend="numba", dtype=sys.argv[2], progress=False)
pieces = lm.stream("Once upon a time", max_new_tokens=4, temperature=0)
next(pieces)
print(flush=True)
list(pieces)
"""

EMPTY = """\
import numba
@numba.njit(cache=True)
def nothing():
    return 0
"""

CALL_EMPTY = """\
import sys
sys.path.insert(0, sys.argv[1])
import empty
empty.nothing()
print(flush=True)
"""

PAGE = """\
# First use: {cpu}

Made by `python -m benchmarks.first_use`.

Seconds from the start of Python to the first token of the demo, on {threads} threads: of the first start,
which compiles the kernels for one storage of the weights, and of the {later} after it, which find them
compiled. Medians of {rounds} rounds, and least to greatest. Goals: under {first_goal:g} and under
{later_goal:g}. float32 and bfloat16 name the arithmetic; both hold bfloat16 weights.

{rows}

What no later start can do without: a process that imports NumPy and Numba, and calls an empty function that
Numba finds compiled, takes {least} s.
"""


def start(kernels: Path, code: str, *arguments: str) -> float:
    """Start Python with `kernels` as the folder of compiled code; return the seconds to its first line."""
    variables = os.environ | {"NUMBA_CACHE_DIR": str(kernels)}
    command = [sys.executable, "-c", code, *arguments]
    began = time.perf_counter()
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        took = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: Python ended with code {process.returncode}")
    return took


def measure(rounds: int, later: int) -> dict[str, Any]:
    """Time all storages, in turns."""
    found: dict[str, dict[str, list[float]]] = {name: {"first": [], "later": []} for name in STORAGES}
    with tempfile.TemporaryDirectory() as name:
        folder, least = Path(name), []
        (folder / "empty.py").write_text(EMPTY, encoding="utf-8")
        start(folder, CALL_EMPTY, name)  # compiles it
        for weights in PACKED:
            demo = minidecilm.load("demo").checkpoint.folder
            minidecilm.quantize_checkpoint(demo, folder / weights, weights, progress=False)
        for number in range(rounds):
            for storage, options in STORAGES.items():
                packed = options["folder"] in PACKED
                model = str(folder / options["folder"]) if packed else options["folder"]
                kernels = folder / f"kernels-{storage}-{number}"
                call = (kernels, CODE, model, options.get("dtype", "float32"))
                found[storage]["first"].append(start(*call))
                found[storage]["later"] += [start(*call) for _ in range(later)]
                least.append(start(folder, CALL_EMPTY, name))
    return {
        "what": "seconds from the start of Python to the first token of the demo",
        **describe("numpy", "numba", "llvmlite", "ml_dtypes"),
        "threads": os.cpu_count(),
        "rounds": rounds,
        "later_starts": later,
        "numba_alone_seconds": spread(least),
        "seconds": {
            storage: {which: spread(times) for which, times in both.items()}
            for storage, both in found.items()
        },
    }


def rows(result: dict[str, Any]) -> Iterator[list[str]]:
    """One row per storage."""
    for storage, both in result["seconds"].items():
        reached = all(both[which]["median"] < goal for which, goal in GOALS.items())
        yield [storage, *(brief(both[which], float) for which in GOALS), "yes" if reached else "no"]


def page(result: dict[str, Any]) -> str:
    """Fill in the page."""
    return PAGE.format(
        cpu=cpu_title(result),
        threads=result["threads"],
        rounds=result["rounds"],
        later=result["later_starts"],
        first_goal=GOALS["first"],
        later_goal=GOALS["later"],
        least=brief(result["numba_alone_seconds"], float),
        rows=table(["", "first start, s", "later starts, s", "reached"], rows(result)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.first_use",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="first starts of every storage (default: 3)")
    parser.add_argument("--later", type=int, default=3, help="starts after each of them (default: 3)")
    parser.add_argument("--page", action="store_true", help="measure nothing: only the pages")
    arguments = parser.parse_args()
    if not arguments.page:
        write_result(cpu_folder() / "first_use.json", measure(arguments.rounds, arguments.later))
    for folder, results in results_of_every_cpu("first_use"):
        (folder / "first_use.md").write_text(page(*results), encoding="utf-8")


if __name__ == "__main__":
    main()
