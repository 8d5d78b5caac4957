"""The process of one contestant: it loads it, then sleeps until it is asked.

A request is a line of JSON on the standard input; it gets a line of JSON on the standard output.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from benchmarks.peers.contestants import create
from benchmarks.peers.scenarios import SCENARIOS, Contestant, Model


def describe(contestant: Contestant) -> dict[str, Any]:
    """Which kernels compute, and the bytes of weights that a decoded token reads."""
    blas = [
        f"{library['internal_api']} {library['version']}, {library['architecture']}, "
        f"{library['num_threads']} threads"
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]
    description: dict[str, Any] = {"kernels": contestant.kernels, "blas_of_numpy": blas}
    if isinstance(contestant, Model):
        description["streamed_bytes"] = contestant.streamed_bytes
    return description


def run(contestant: Contestant, scenario: str, output: str | None) -> dict[str, Any]:
    """Make the calls of one round; save the last result if a file is named."""
    seconds, result = SCENARIOS[scenario].run(contestant)
    if output is not None:
        np.save(output, result)
    return {"seconds": seconds}


def main() -> None:
    name, models = sys.argv[1:]
    contestant = create(name, Path(models))
    print(json.dumps(describe(contestant)), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(contestant, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
