"""How many KV heads each layer gets under a cache budget: a miniature of an architecture search.

The method is ours; it is not AutoNAC, with which Deci found DeciLM's heads. It starts from a trained model,
takes as given what fewer heads in one layer alone cost in held-out loss, and assumes that these costs add up.
Under that assumption its choice is exact. :func:`minidecilm.experiments.sweep.sensitivity` measures them, and
:func:`minidecilm.experiments.sweep.measure_allocations` how far the assumption holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from minidecilm import costs
from minidecilm.config import Config
from minidecilm.ops import Array


@dataclass(frozen=True)
class Sensitivity:
    """What fewer KV heads in one layer alone cost; what contradicts the config is a ValueError.

    Attributes
    ----------
    config : Config
        The model as it is.
    base_loss : float
        Its held-out loss in nats per token.
    extra_losses : tuple of mappings of int to float
        For each layer, first to last: the extra loss in nats per token by the number of heads left in it. The
        present number costs 0; an extra loss may be negative.
    """

    config: Config
    base_loss: float
    extra_losses: tuple[Mapping[int, float], ...]

    def __post_init__(self) -> None:
        if len(self.extra_losses) != len(self.config.layers):
            raise ValueError(
                f"extra_losses: expected {len(self.config.layers)} entries, one per layer, "
                f"found {len(self.extra_losses)}"
            )
        if not isfinite(self.base_loss):
            raise ValueError(f"base_loss: expected a finite number, found {self.base_loss}")
        for layer, options in enumerate(self.extra_losses):
            if not options:
                raise ValueError(
                    f"extra_losses[{layer}]: expected a loss for some number of heads, found none"
                )
            for heads, loss in options.items():
                if not isinstance(heads, int) or heads < 1 or not isfinite(loss):
                    raise ValueError(
                        f"extra_losses[{layer}]: expected finite losses of at least 1 head, "
                        f"found {loss} for {heads!r}"
                    )


@dataclass(frozen=True)
class Allocation:
    """KV heads for every layer.

    Attributes
    ----------
    kv_heads : tuple of int
        First layer to last.
    bytes_per_token : int
        Of the KV cache.
    extra_loss : float
        Sum of the layers' extra losses, in nats per token: what the additive model predicts.
    """

    kv_heads: tuple[int, ...]
    bytes_per_token: int
    extra_loss: float


def choose_allocation(sensitivity: Sensitivity, budget: int, kv_cache: str = "bfloat16") -> Allocation:
    """Choose the heads with the least predicted loss among all whose cache fits a budget.

    Parameters
    ----------
    sensitivity : Sensitivity
    budget : int
        Bytes of cache per token, at most.
    kv_cache : {"bfloat16", "float16", "float32", "float64"}
        Storage dtype of the cache.

    Returns
    -------
    Allocation
        If several have the least loss, the one with the smallest cache.

    Raises
    ------
    ValueError
        If no allocation fits; the message says what the smallest needs.

    Examples
    --------
    Halving layer 0 alone would cost 0.5 nats, halving layer 1 only 0.01; a head takes 16 bytes per token.

    >>> from minidecilm.config import LayerConfig
    >>> config = Config(32, 8, 2, 4, (LayerConfig(2, 16), LayerConfig(2, 16)), 64)
    >>> sensitivity = Sensitivity(config, 3.0, ({2: 0.0, 1: 0.5}, {2: 0.0, 1: 0.01}))
    >>> choose_allocation(sensitivity, budget=48)
    Allocation(kv_heads=(2, 1), bytes_per_token=48, extra_loss=0.01)
    """
    front = allocation_front(sensitivity, kv_cache)
    fitting = [allocation for allocation in front if allocation.bytes_per_token <= budget]
    if not fitting:
        smallest = front[0]
        raise ValueError(
            f"budget: {budget:,} bytes per token are too few; the smallest allocation, "
            f"{list(smallest.kv_heads)}, needs {smallest.bytes_per_token:,} in {kv_cache}"
        )
    return fitting[-1]


def allocation_front(sensitivity: Sensitivity, kv_cache: str = "bfloat16") -> list[Allocation]:
    """List the best allocation for every budget: the Pareto front of predicted loss and cache bytes.

    Dynamic programming over the layers. The least loss of the first n layers with exactly h heads in all is

        best(n, h) = min over options k of layer n of  best(n - 1, h - k) + extra loss of k heads in layer n,

    which is one table of layers times heads, and answers all budgets. Arguments are as for
    :func:`choose_allocation`.

    Returns
    -------
    list of Allocation
        Smallest cache first; each has less loss than all before it.
    """
    total = sum(max(options) for options in sensitivity.extra_losses)
    best: Array = np.full(total + 1, np.inf)
    best[0] = 0.0
    picks: list[Array] = []  # of every layer: the heads it has in the best way to h heads in all
    for options in sensitivity.extra_losses:
        before, best, pick = best, np.full(total + 1, np.inf), np.zeros(total + 1, np.int64)
        for heads, loss in options.items():
            candidate = before[:-heads] + loss
            better = candidate < best[heads:]
            best[heads:][better] = candidate[better]
            pick[heads:][better] = heads
        picks.append(pick)

    front: list[Allocation] = []
    for h in range(total + 1):
        if best[h] < (front[-1].extra_loss if front else np.inf):
            kv_heads = _trace_back(picks, h)
            front.append(
                Allocation(kv_heads, cache_bytes(sensitivity.config, kv_heads, kv_cache), float(best[h]))
            )
    return front


def cache_bytes(config: Config, kv_heads: tuple[int, ...], kv_cache: str = "bfloat16") -> int:
    """Bytes of cache per token of a model whose layers have other KV heads.

    Examples
    --------
    >>> from minidecilm import preset
    >>> cache_bytes(preset("llama-2-7b"), preset("decilm-6b").num_key_value_heads_per_layer)
    25600
    """
    layers = (
        replace(layer, num_key_value_heads=heads)
        for layer, heads in zip(config.layers, kv_heads, strict=True)
    )
    return costs.kv_cache_bytes(replace(config, layers=tuple(layers)), dtype=kv_cache)


def _trace_back(picks: list[Array], heads: int) -> tuple[int, ...]:
    """Heads of every layer, first to last, on the best way to so many in all."""
    chosen = []
    for pick in reversed(picks):
        chosen.append(int(pick[heads]))
        heads -= chosen[-1]
    return tuple(reversed(chosen))
