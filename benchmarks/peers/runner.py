"""Rounds: every contestant makes the calls of a scenario, one after the other, then all again."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from benchmarks.common import spread
from benchmarks.peers import peaks
from benchmarks.peers.environment import ROOT
from benchmarks.peers.scenarios import SCENARIOS

FAR_BEHIND = 4
_SETTLE_SECONDS = 0.3  # between contestants: longer than the threads of any library spin
_QUIET_SHARE, _ATTEMPTS = 0.05, 3  # of all cores' time for others; a busier round is made again, so often
_TICK = 1 / os.sysconf("SC_CLK_TCK")


class Worker:
    """The process of a contestant, asleep unless asked; `description` is what it says of itself."""

    def __init__(self, name: str, models: Path, logs: Path) -> None:
        self.name = name
        self._log = logs / f"{name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.worker", name, models],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )
        self.description = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()

    def ask(self, scenario: str, output: Path | None = None) -> float:
        """Let it make the calls of one round; return the median duration of a call in seconds."""
        request = {"scenario": scenario, "output": None if output is None else str(output)}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()["seconds"]

    def cpu_seconds(self) -> float:
        """Time that its threads have run since it began."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with code {self._process.wait()}: see {self._log}")
        return json.loads(line)


def race(
    scenario: str, workers: list[Worker], arithmetic: str, reference: str, rounds: int, outputs: Path
) -> dict[str, Any]:
    """Time all workers in one scenario.

    A worker that takes FAR_BEHIND times as long as the fastest in the first round is left out of the others:
    minutes in which nothing would be learnt.

    Parameters
    ----------
    scenario : str
        Name of one of SCENARIOS.
    workers : list of Worker
    arithmetic : str
        One of :data:`benchmarks.peers.peaks.PEAKS`, which is measured too.
    reference : str
        Name of the contestant, now or of an earlier race, whose result the others' are compared with.
    rounds : int
        Times that each worker is asked, not counting once before: to compile, and to compare results.
    outputs : Path
        Folder for the results.

    Returns
    -------
    dict
        For JSON: per contestant its seconds a call and its error; what the machine can do, measured in every
        round; and which part of all cores' time went to anything but the contestant at work, be it an idle
        one or another program.
    """
    files = {worker.name: result_file(outputs, scenario, worker.name) for worker in workers}
    for worker in workers:
        worker.ask(scenario, files[worker.name])
    expected = np.load(result_file(outputs, scenario, reference))
    seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
    limits: dict[str, list[float]] = {"bytes_per_second": [], "operations_per_second": []}
    foreign: list[float] = []
    for number in range(rounds):
        limits["bytes_per_second"].append(peaks.bytes_per_second())
        limits["operations_per_second"].append(peaks.operations_per_second(arithmetic))
        first = number % len(workers)
        for worker in workers[first:] + workers[:first]:
            share, took = quiet_round(worker, scenario)
            seconds[worker.name].append(took)
            foreign.append(share)
        fastest = min(times[0] for times in seconds.values())
        workers = [worker for worker in workers if seconds[worker.name][0] < FAR_BEHIND * fastest]
    return {
        "tokens_per_call": SCENARIOS[scenario].tokens_per_call,
        "contestants": {
            name: {"seconds": spread(times), "relative_error": relative_error(np.load(files[name]), expected)}
            for name, times in seconds.items()
        },
        "limits": {name: spread(values) for name, values in limits.items()},
        "foreign_share": spread(foreign),
    }


def result_file(outputs: Path, scenario: str, name: str) -> Path:
    """Where the last result of a contestant in a scenario lies."""
    return outputs / f"{scenario}, {name}.npy"


def quiet_round(worker: Worker, scenario: str) -> tuple[float, float]:
    """Ask a worker, and again while other programs disturb it.

    Returns
    -------
    share, seconds : float
        Of the quietest attempt: the part of all cores' time that others took, and what the worker answered.
    """
    found = []
    while len(found) < _ATTEMPTS and (not found or min(found)[0] > _QUIET_SHARE):
        time.sleep(_SETTLE_SECONDS)
        start, busy, own = time.perf_counter(), _busy_seconds(), worker.cpu_seconds()
        seconds = worker.ask(scenario)
        others = (_busy_seconds() - busy) - (worker.cpu_seconds() - own)
        found.append((others / (time.perf_counter() - start) / (os.cpu_count() or 1), seconds))
    return min(found)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference, as a part of that of what is expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _busy_seconds() -> float:
    """Time that all cores together have worked since the machine started."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq")
    ticks = dict(zip(names, map(int, Path("/proc/stat").read_text().split()[1:8]), strict=True))
    return sum(ticks[name] for name in names if name not in ("idle", "iowait")) * _TICK
