"""What minidecilm is meant to reach beside its peers; set beforehand, for a CPU with AVX-512 VNNI."""

from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Goal:
    """To be so many times as fast as a peer.

    Attributes
    ----------
    scenario, ours : str
        Names of a scenario and a contestant.
    peer : str or None
        The fastest contestant whose name begins so. None: the goal is a part of the memory's read bandwidth,
        by the weights that are read for a token.
    at_least : float
    """

    scenario: str
    ours: str
    peer: str | None
    at_least: float

    def ratios(self, race: dict[str, Any], streamed_bytes: int | None) -> list[float]:
        """Compute what was reached in each round.

        Parameters
        ----------
        race : dict
            What :func:`benchmarks.peers.runner.race` returned for the scenario.
        streamed_bytes : int or None
            Of `ours`.
        """
        times = {name: entry["seconds"]["rounds"] for name, entry in race["contestants"].items()}
        ours = times[self.ours]
        if self.peer is None:
            limits = race["limits"]["read_bytes_per_second"]["rounds"]
            return [streamed_bytes / own / limit for own, limit in zip(ours, limits, strict=True)]
        fastest = min((times[name] for name in times if name.startswith(self.peer)), key=median)
        return [peer / own for own, peer in zip(ours, fastest, strict=True)]


GOALS = (
    Goal("decode, batch 1", "minidecilm bf16", None, 0.85),
    Goal("decode, batch 1", "minidecilm bf16", "PyTorch bf16", 1.6),
    Goal("decode, batch 1", "minidecilm bf16", "llama.cpp BF16", 1.2),
    Goal("decode, batch 1", "minidecilm int8", "llama.cpp Q8_0", 1.6),
    Goal("decode, batch 1", "minidecilm int4", "llama.cpp Q4_0", 1.7),
    Goal("decode, batch 8", "minidecilm bf16", "PyTorch bf16", 2.0),
    Goal("decode, batch 8", "minidecilm int8", "llama.cpp Q8_0", 2.5),
    Goal("prefill, 512 tokens", "minidecilm bf16", "PyTorch bf16", 1.5),
    Goal("prefill, 512 tokens", "minidecilm bf16", "PyTorch f32", 0.95),
    Goal("prefill, 512 tokens", "minidecilm bf16", "llama.cpp BF16", 1.4),
    Goal("prefill, 512 tokens", "minidecilm int8", "PyTorch", 2.5),
    Goal("attention, 1 token on 4096", "minidecilm attention f32", "PyTorch SDPA", 1.5),
    Goal("attention, 512 tokens, causal", "minidecilm attention f32", "PyTorch SDPA f32", 1.0),
    Goal("attention, 2048 tokens, causal", "minidecilm attention f32", "PyTorch SDPA f32", 1.0),
)
