"""What minidecilm is meant to reach beside its peers and the machine's limits; set beforehand."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.common import spread
from benchmarks.peers.scenarios import EIGHT, ONE, PREFILL

BANDWIDTH, LIMIT, BEST_PEER = "read bandwidth", "longer limit", "best peer"
_VNNI = {"avx512_vnni", "avx_vnni"}


@dataclass(frozen=True)
class Goal:
    """To be so many times as fast as something.

    Attributes
    ----------
    group, scenario, ours : str
        Names of a group, one of its scenarios and one of its contestants.
    beside : str
        BANDWIDTH: as fast as the weights of a token can be read. LIMIT: as reading weights and cache takes,
        or the arithmetic, whichever is longer. BEST_PEER: the fastest that is not minidecilm. Else the
        fastest contestant whose name begins so.
    at_least : float
    with_vnni : float or None
        What is wanted in place of `at_least` on a CPU with VNNI instructions.
    """

    group: str
    scenario: str
    ours: str
    beside: str
    at_least: float
    with_vnni: float | None = None

    def judge(self, race: dict[str, Any], streamed_bytes: int, flags: Iterable[str]) -> dict[str, Any]:
        """Lay what was reached beside what is wanted.

        Parameters
        ----------
        race : dict
            What :func:`benchmarks.peers.runner.race` returned for group and scenario.
        streamed_bytes : int
            Size of the weights that a decoded token reads; 0 for an attention.
        flags : iterable of str
            Of the CPU.
        """
        vnni = self.with_vnni is not None and not _VNNI.isdisjoint(flags)
        wanted = self.with_vnni if vnni else self.at_least
        ratio = spread(self._ratios(race, streamed_bytes))
        return {
            "group": self.group,
            "scenario": self.scenario,
            "ours": self.ours,
            "beside": self.beside,
            "at_least": wanted,
            "ratio": ratio,
            "reached": ratio["median"] >= wanted,
        }

    def _ratios(self, race: dict[str, Any], streamed_bytes: int) -> list[float]:
        """Of each round; of the first alone, where a peer far behind was asked no more."""
        times = {name: entry["seconds"]["rounds"] for name, entry in race["contestants"].items()}
        if self.beside in (BANDWIDTH, LIMIT):
            rates = (race["limits"][name]["rounds"] for name in ("bytes_per_second", "operations_per_second"))
            needed = [
                streamed_bytes / reading
                if self.beside == BANDWIDTH
                else max(least_seconds(race, streamed_bytes, reading, computing))
                for reading, computing in zip(*rates, strict=True)
            ]
        else:
            needed = min((times[name] for name in times if self._is_peer(name)), key=median)
        return [other / own for own, other in zip(times[self.ours], needed, strict=False)]

    def _is_peer(self, name: str) -> bool:
        if self.beside == BEST_PEER:
            return not name.startswith("minidecilm")
        return name.startswith(self.beside)


def least_seconds(
    race: dict[str, Any], streamed_bytes: int, bytes_per_second: float, operations_per_second: float
) -> tuple[float, float]:
    """Shortest times that such a machine allows for the reading and the arithmetic of a call."""
    reading = (streamed_bytes + race["cache_bytes"]) / bytes_per_second
    return reading, race["operations"] / operations_per_second


GOALS = (
    Goal("float32", ONE, "minidecilm f32", BANDWIDTH, 0.9),
    Goal("bfloat16", ONE, "minidecilm bf16", BANDWIDTH, 0.9),
    Goal("int8", ONE, "minidecilm int8", BANDWIDTH, 0.9),
    Goal("int4", ONE, "minidecilm int4", BANDWIDTH, 0.9),
    Goal("bfloat16", ONE, "minidecilm bf16", "llama.cpp", 1.1),
    Goal("int8", ONE, "minidecilm int8", "llama.cpp", 1.1),
    Goal("int4", ONE, "minidecilm int4", "llama.cpp", 1.1),
    Goal("float32", EIGHT, "minidecilm f32", LIMIT, 0.7),
    Goal("bfloat16", EIGHT, "minidecilm bf16", LIMIT, 0.7),
    Goal("int8", EIGHT, "minidecilm int8", LIMIT, 0.7),
    Goal("int4", EIGHT, "minidecilm int4", LIMIT, 0.7),
    Goal("float32", EIGHT, "minidecilm f32", BEST_PEER, 1.2),
    Goal("bfloat16", EIGHT, "minidecilm bf16", BEST_PEER, 1.2),
    Goal("int8", EIGHT, "minidecilm int8", BEST_PEER, 1.2),
    Goal("int4", EIGHT, "minidecilm int4", BEST_PEER, 1.2),
    Goal("float32", PREFILL, "minidecilm f32", "PyTorch f32", 1.1),
    Goal("bfloat16", PREFILL, "minidecilm bf16", "PyTorch bf16", 0.95),
    Goal("bfloat16", PREFILL, "minidecilm bf16", "llama.cpp BF16", 1.1),
    Goal("int8", PREFILL, "minidecilm int8", "PyTorch", 1.5, with_vnni=2.0),
    Goal("attention", "attention, 1 token on 4096", "minidecilm attention f32", "PyTorch SDPA", 1.5),
    Goal("attention", "attention, 512 tokens, causal", "minidecilm attention f32", "PyTorch SDPA f32", 1.5),
    Goal("attention", "attention, 2048 tokens, causal", "minidecilm attention f32", "PyTorch SDPA f32", 1.1),
)
