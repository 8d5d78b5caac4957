"""How long ``import minidecilm`` takes in a fresh process, beside ``import numpy`` alone, alternating.

python -m benchmarks.import_time
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.common import RESULTS, describe, spread, write_result

CODE = "import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"


def seconds(name: str) -> float:
    command = [sys.executable, "-c", CODE.format(name=name)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="fresh processes per module")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "import_time.json", help="JSON file to write"
    )
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {"numpy": [], "minidecilm": []}
    for _ in range(arguments.runs):
        for name, times in found.items():
            times.append(seconds(name))
    rows = {name: spread(times) for name, times in found.items()}
    ratio = rows["minidecilm"]["median"] / rows["numpy"]["median"]
    for name, row in rows.items():
        times = "".join(f"{key} {row[key] * 1e3:6.0f} ms  " for key in ("min", "median", "max"))
        print(f"import {name:11}{times}")
    print(f"minidecilm takes {ratio:.2f} times as long as numpy, which is loaded on first use")
    result = {"runs": arguments.runs, **describe("numpy", "ml_dtypes"), "seconds": rows, "ratio": ratio}
    write_result(arguments.output, result)


if __name__ == "__main__":
    main()
