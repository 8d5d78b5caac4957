"""The profile behind the goals of ``peers.md``: where minidecilm's time goes, and what the machine allows.

Reads the models that ``benchmarks.peers`` made, and its result:

    python -m benchmarks.limits --work /tmp/peers
"""

import argparse
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import (
    cpu_folder,
    cpu_title,
    describe,
    read_result,
    results_of_every_cpu,
    spread,
    table,
    write_result,
)
from benchmarks.peers import peaks
from benchmarks.peers.contestants import COMPILED, ENTRIES, GROUPS
from benchmarks.peers.goals import least_seconds
from benchmarks.peers.ours import Model
from benchmarks.peers.play import models_folder
from benchmarks.peers.scenarios import FEEDING, THREADS
from benchmarks.tables import config, goal_name
from minidecilm.backends import Backend

_AGREEMENT = 1.15  # two medians of the same call within this factor are taken for the same

CLOCKED = ("linear", "attention", "rms_norm", "rotate", "swiglu", "embedding")

PAGE = """\
# What limits minidecilm: {cpu}

Made by `python -m benchmarks.limits` from the models and the result of `python -m benchmarks.peers`.

{setting}

## Where the time of a call goes

Medians of {rounds} rounds. "Other operations" are RMSNorm, rotary, SwiGLU and embedding; the rest is Python
between them. A product's limit is the longer of two times: to read its weights at the read bandwidth, and to
multiply at the peak of its arithmetic.

{profile}
{disagreements}## Goals that were missed

"Allowed" is the ratio that minidecilm would have if it took no longer than the machine needs to read the
weights and the cache once, or to do the arithmetic, whichever is longer; the peer as fast as it was. Where
both take about as long, a kernel would have to overlap them perfectly to get there.

{missed}"""


class Clock:
    """Seconds by the name of an operation, and how often which matrix product was made."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(CLOCKED, 0.0)
        self.products: Counter[tuple[int, int]] = Counter()  # (bytes of the weight, operations): how often

    def watch(self, backend: Backend) -> Backend:
        """Return the backend with every operation timed."""
        operations = {name: getattr(backend, name) for name in (*CLOCKED, "linear_together")}
        found = {name: operation for name, operation in operations.items() if operation is not None}
        return replace(backend, **{name: self._timed(name, operation) for name, operation in found.items()})

    def _timed(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        part = name.removesuffix("_together")

        def timed(x: Any, *others: Any) -> Any:
            start = time.perf_counter()
            result = operation(x, *others)
            self.seconds[part] += time.perf_counter() - start
            if part == "linear":
                for weight in others:
                    self.products[weight.nbytes, 2 * x.size * weight.shape[0]] += 1
            return result

        return timed


def profile(models: Path, group: str, scenario: str, rounds: int) -> dict[str, Any]:
    """Time the operations of minidecilm's model in a group, in one scenario."""
    ours = COMPILED[group]
    contestant = Model(models, **ENTRIES[ours].options)
    plain = contestant.model.backend
    seconds, clocks = [], []
    for _ in range(rounds + 1):
        calls = FEEDING[scenario].calls(contestant)
        clock = Clock()
        contestant.model.backend = clock.watch(plain)
        start = time.perf_counter()
        for call in calls:
            call()
        seconds.append((time.perf_counter() - start) / len(calls))
        clocks.append({name: took / len(calls) for name, took in clock.seconds.items()})
        contestant.model.backend = plain
    products = [[*product, count / len(calls)] for product, count in clock.products.items()]
    return {
        "contestant": ours,
        "group": group,
        "scenario": scenario,
        "arithmetic": GROUPS[group].arithmetic,
        # The first round loads and compiles.
        "seconds_per_call": spread(seconds[1:]),
        "seconds_of": {name: median(clock[name] for clock in clocks[1:]) for name in CLOCKED},
        "products_bytes_operations_count": products,
    }


def measure_limits() -> dict[str, float]:
    """What the machine can do: bytes read, and operations in each arithmetic, per second."""
    operations = {name: peaks.operations_per_second(name) for name in peaks.PEAKS}
    return {"bytes_per_second": peaks.bytes_per_second(), **operations}


def profile_rows(profiles: list[dict[str, Any]], limits: dict[str, float]) -> Iterator[list[str]]:
    """One row per model and scenario."""
    for one in profiles:
        total, parts = one["seconds_per_call"]["median"], dict(one["seconds_of"])
        linear, attention = parts.pop("linear"), parts.pop("attention")
        others = sum(parts.values())
        products = one["products_bytes_operations_count"]
        bandwidth, peak = limits["bytes_per_second"], limits[one["arithmetic"]]
        least = sum(max(nbytes / bandwidth, ops / peak) * count for nbytes, ops, count in products)
        yield [
            f"{one['scenario']}: {one['contestant']}",
            f"{total * 1e3:.0f}",
            f"{linear / total:.1%}",
            f"{attention / total:.1%}",
            f"{others / total:.1%}",
            f"{(total - linear - attention - others) / total:.1%}",
            f"{sum(nbytes * count for nbytes, _, count in products) / linear / 1e9:.1f}",
            f"{sum(ops * count for _, ops, count in products) / linear / 1e9:.0f}",
            f"{least / linear:.0%}",
        ]


def missed_rows(peers: dict[str, Any]) -> Iterator[list[str]]:
    """One row per missed goal; the limits are those of the rounds in which it was measured."""
    for goal in peers["goals"]:
        if goal["reached"]:
            continue
        race, ours = peers["groups"][goal["group"]][goal["scenario"]], goal["ours"]
        streamed = peers["contestants"][ours].get("streamed_bytes", 0)
        reading, computing = least_seconds(
            race, streamed, *(rate["median"] for rate in race["limits"].values())
        )
        seconds = race["contestants"][ours]["seconds"]["median"]
        least, reached = max(reading, computing), goal["ratio"]["median"]
        yield [
            goal_name(goal),
            f"{goal['at_least']:g}",
            f"{reached:.2f}",
            f"{reached * seconds / least:.2f}",
            *(
                f"{time * 1e3:#.3g}" if time < 0.1 else f"{time * 1e3:,.0f}"
                for time in (reading, computing, seconds)
            ),
            f"{least / seconds:.0%}",
        ]


def disagreements(results: dict[str, Any], peers: dict[str, Any]) -> str:
    """Name the calls that took another time beside the peers than here, alone on the machine."""
    found = []
    for one in results["profiles"]:
        race = peers["groups"][one["group"]][one["scenario"]]["contestants"][one["contestant"]]
        raced, alone = race["seconds"]["median"], one["seconds_per_call"]["median"]
        if not 1 / _AGREEMENT < raced / alone < _AGREEMENT:
            found.append(f"{one['scenario']}, {one['contestant']}: {raced * 1e3:,.0f} ms")
    if not found:
        return ""
    text = f"In `peers.md` some calls took another time, for a reason that is not known: {'; '.join(found)}."
    return textwrap.fill(text, 110) + "\n\n"


def page(results: dict[str, Any], peers: dict[str, Any]) -> str:
    """Fill in the page."""
    limits = results["limits"]
    setting = (
        f"{results['cpu']}, {results['threads']} threads: reads {limits['bytes_per_second'] / 1e9:.1f} "
        f"GB/s, computes {limits['float32'] / 1e9:.0f} GFLOP/s in float32, {limits['bfloat16'] / 1e9:.0f} in "
        f"products of bfloat16, {limits['int8'] / 1e9:.0f} GOP/s with minidecilm's instructions for int8 "
        f"weights and {limits['int4'] / 1e9:.0f} GOP/s with those for int4, the unpacking of partial sums "
        "left out (the probe of `minidecilm bench`, best of some passes). VNNI multiplies and adds with one "
        "instruction what AVX2 does with several, so the integer peaks are what differs most between CPUs."
    )
    return PAGE.format(
        cpu=cpu_title(peers),
        setting=textwrap.fill(setting, 110),
        rounds=results["rounds"],
        profile=table(
            [
                "", "ms", "matrix products", "attention", "other operations", "rest",
                "products GB/s", "products GOP/s", "products' share of limit",
            ],
            profile_rows(results["profiles"], limits),
        ),
        disagreements=disagreements(results, peers),
        missed=table(
            ["goal", "wanted", "reached", "allowed", "reading ms", "arithmetic ms", "took ms", "of limit"],
            missed_rows(peers),
        ),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.limits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, help="folder given to benchmarks.peers; without: only the pages")
    parser.add_argument("--rounds", type=int, default=3, help="counted ones (default: 3)")
    arguments = parser.parse_args()
    if arguments.work:
        measure(arguments.work, arguments.rounds)
    for folder, results in results_of_every_cpu("limits", "peers"):
        (folder / "limits.md").write_text(page(*results), encoding="utf-8")


def measure(work: Path, rounds: int) -> None:
    """Profile the models that were raced on this CPU; store what was found beside the race."""
    peers = read_result(cpu_folder(), "peers")
    if peers is None:
        raise SystemExit(f"no race was measured on this CPU: first python -m benchmarks.peers --work {work}")
    models = models_folder(config(peers["network"]), work)
    before = measure_limits()
    profiles = [profile(models, group, scenario, rounds) for group in COMPILED for scenario in FEEDING]
    # The memory of a shared machine is not equally fast all the time: what it gave at its best counts.
    limits = {name: max(rate, before[name]) for name, rate in measure_limits().items()}
    result = {
        "what": "where the time of a call goes, beside the limits of the machine",
        **describe("numpy", "numba", "ml_dtypes"),
        "threads": THREADS,
        "rounds": rounds,
        "limits": limits,
        "profiles": profiles,
    }
    write_result(cpu_folder() / "limits.json", result)


if __name__ == "__main__":
    main()
