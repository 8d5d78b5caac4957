"""Rounds: how long a model takes to read a prompt and to write after it.

A round reads a prompt (prefill), then takes one token per row and step (decode), for one batch size after
the other, so that whatever else happens on the machine meets all of them alike. Afterwards, on a processor as
warm as it was in the rounds, :func:`minidecilm.bench.limits.probe` measures what the machine can do at most.
Token ids are random: which ones they are changes nothing in the work.
"""

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from minidecilm.bench import machine
from minidecilm.bench.plan import Plan, check_plan
from minidecilm.model import DeciLM
from minidecilm.observe import LayerClock
from minidecilm.progress import ProgressBar, progress_bar

_WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Timing:
    """Seconds that one batch size took, an entry per round.

    Attributes
    ----------
    batch_size : int
    prefill_seconds, decode_seconds : list of float
        For the whole prompt, and for all steps after it.
    """

    batch_size: int
    prefill_seconds: list[float]
    decode_seconds: list[float]


@dataclass(frozen=True)
class Measurement:
    """What the rounds gave.

    Attributes
    ----------
    plan : Plan
    timings : list of Timing
        One for each batch size.
    memory : dict of str to int
        Bytes of this process when the rounds had ended, see :func:`minidecilm.bench.machine.process_memory`.
    """

    plan: Plan
    timings: list[Timing]
    memory: dict[str, int]


def measure(model: DeciLM, plan: Plan, progress: bool | None = None) -> Measurement:
    """Time a model, after a round that is not counted: it loads weights, compiles kernels, wakes threads.

    Parameters
    ----------
    model : DeciLM
    plan : Plan
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal if it takes over a second.

    Raises
    ------
    ValueError
        If the plan is longer than the model is meant for, or too large for the memory.

    Examples
    --------
    >>> import minidecilm
    >>> model = minidecilm.load("demo").model
    >>> found = measure(model, Plan(prompt_tokens=8, new_tokens=2, batch_sizes=(1,), rounds=2))
    >>> len(found.timings[0].decode_seconds)
    2
    """
    check_plan(model.config, model.backend, None, str(model.dtype), plan)
    timings = [Timing(size, [], []) for size in plan.batch_sizes]
    warm_up = replace(plan, new_tokens=min(plan.new_tokens, _WARM_UP_STEPS), rounds=1)
    passes = len(timings) * (1 + warm_up.new_tokens + plan.rounds * (1 + plan.new_tokens))
    with progress_bar(passes * len(model.config.layers), "measuring", "layer", progress) as bar:
        for timing in timings:
            _run(model, warm_up, timing.batch_size, bar)
        for _ in range(plan.rounds):
            for timing in timings:
                prefill, decode = _run(model, plan, timing.batch_size, bar)
                timing.prefill_seconds.append(prefill)
                timing.decode_seconds.append(decode)
    return Measurement(plan, timings, machine.process_memory())


def _run(model: DeciLM, plan: Plan, batch_size: int, bar: ProgressBar) -> tuple[float, float]:
    """Seconds of one prefill and of all steps after it."""
    ids = np.random.default_rng(0).integers(model.config.vocab_size, size=(batch_size, plan.length))
    cache = model.new_cache(batch_size, plan.length)
    start = perf_counter()
    model(ids[:, : plan.prompt_tokens], cache, last_only=True, observer=LayerClock(bar.update))
    middle = perf_counter()
    for position in range(plan.prompt_tokens, plan.length):
        model(ids[:, position : position + 1], cache, last_only=True)
        bar.update(len(model.config.layers))
    return middle - start, perf_counter() - middle
