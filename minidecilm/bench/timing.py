"""How fast a model runs here, beside how fast this machine allows: what `minidecilm bench` does.

A round reads a prompt (prefill), then takes one token per row and step (decode), for one batch size after
the other, so that whatever else happens on the machine meets all of them alike. Afterwards, on a processor as
warm as it was in the rounds, a probe measures what the machine can do at most. Token ids are random: which
ones they are changes nothing in the work.
"""

import os
from collections import Counter
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from minidecilm import costs
from minidecilm.api import WEIGHTS
from minidecilm.backends import Backend, create_backend
from minidecilm.bench import machine
from minidecilm.config import Config
from minidecilm.generation import length_limit
from minidecilm.model import DeciLM
from minidecilm.progress import ProgressBar, progress_bar
from minidecilm.trace import LayerClock
from minidecilm.weights.packed import Weight
from minidecilm.weights.random_weights import random_weights
from minidecilm.weights.scheme import BITS

_WARM_UP_STEPS = 2
_RESERVE_BYTES = 256_000_000  # for the interpreter, libraries, and the rest of the system
_CACHES = 10  # memory so many times as large as the largest cache finds no place in it


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    prompt_tokens : int
        T, tokens of a row that prefill reads in one pass.
    new_tokens : int
        Steps of decode after it.
    batch_sizes : tuple of int
    rounds : int

    Raises
    ------
    ValueError
        If one of them is not positive.
    """

    prompt_tokens: int = 128
    new_tokens: int = 32
    batch_sizes: tuple[int, ...] = (1, 8)
    rounds: int = 3

    def __post_init__(self) -> None:
        counts = (self.prompt_tokens, self.new_tokens, self.rounds, *self.batch_sizes)
        if min(counts) < 1 or not self.batch_sizes:
            raise ValueError("prompt and new tokens, rounds and batch sizes: expected integers of at least 1")

    @property
    def length(self) -> int:
        """Tokens of a row when a round ends."""
        return self.prompt_tokens + self.new_tokens


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
    kv_cache : str
        Storage dtype of keys and values.
    kv_cache_bytes_per_token : int
    memory : dict of str to int
        Bytes of this process when the rounds had ended, see :func:`minidecilm.bench.machine.process_memory`.
    """

    plan: Plan
    timings: list[Timing]
    kv_cache: str
    kv_cache_bytes_per_token: int
    memory: dict[str, int]


@dataclass(frozen=True)
class Limits:
    """What the machine did at most in the probe; None where the probe cannot run, with the reason.

    Attributes
    ----------
    read_bandwidth : float or None
        Bytes per second.
    peak : float or None
        Additions and multiplications per second.
    arithmetic : {"float32", "int8", "int4"}
        Of which numbers: what the kernels compute matrix products with.
    reason : str
        Empty if both are known.
    """

    read_bandwidth: float | None
    peak: float | None
    arithmetic: str = "float32"
    reason: str = ""


def check_length(config: Config, plan: Plan) -> None:
    """Refuse a plan longer than the model is meant for.

    Raises
    ------
    ValueError
    """
    limit, origin = length_limit(config)
    if plan.length > limit:
        raise ValueError(
            f"{plan.prompt_tokens} prompt and {plan.new_tokens} new tokens exceed {limit} tokens ({origin}): "
            "ask for fewer"
        )


def check_memory(config: Config, storage: str | None, dtype: str, plan: Plan, available: int | None) -> None:
    """Refuse a plan for which cache and activations, and weights that are to be made, find no memory.

    Parameters
    ----------
    config : Config
    storage : str or None
        Storage of the weights, as for :func:`minidecilm.weights.random_weights.random_weights`; None if they
        are there already.
    dtype : str
        Compute dtype.
    plan : Plan
    available : int or None
        Bytes; None, where the system does not tell, accepts anything.

    Raises
    ------
    ValueError
        Saying what is needed, what there is, and what would fit.

    Examples
    --------
    >>> from minidecilm import preset
    >>> check_memory(preset("decilm-6b"), "float32", "float32", Plan(), available=16_000_000_000)
    Traceback (most recent call last):
    ValueError: 23.4 GB of memory needed (weights 22.9 GB, cache and activations of 8 rows 0.3 GB), 16.0 GB \
are free: --layers 21 would fit
    """
    needed = _memory_needed(config, storage, dtype, plan)
    if available is None or sum(needed) <= available:
        return
    weights = f"weights {needed[0] / 1e9:.1f} GB, " if storage else ""
    raise ValueError(
        f"{sum(needed) / 1e9:.1f} GB of memory needed ({weights}cache and activations of "
        f"{max(plan.batch_sizes)} rows {needed[1] / 1e9:.1f} GB), {available / 1e9:.1f} GB are free: "
        + _what_fits(config, storage, dtype, plan, available)
    )


def _check_on_cpu(backend: Backend) -> None:
    if backend.name == "cupy":
        raise ValueError(
            "bench measures a CPU beside its limits; a GPU: python -m benchmarks.gpu, in a clone"
        )


def _what_fits(config: Config, storage: str | None, dtype: str, plan: Plan, available: int) -> str:
    """Suggest a smaller batch if that helps, else fewer layers of random weights."""
    rows = max(plan.batch_sizes)
    weights, working, reserve = _memory_needed(config, storage, dtype, plan)
    fitting_rows = (available - weights - reserve) * rows // working
    if fitting_rows > 0 and (not storage or working > weights):
        return f"--batch {fitting_rows} would fit"
    if storage:
        for layers in range(len(config.layers) - 1, 0, -1):
            if sum(_memory_needed(first_layers(config, layers), storage, dtype, plan)) <= available:
                return f"--layers {layers} would fit"
        return "not even one layer would fit"
    return "ask for fewer --prompt-tokens or --new-tokens"


def _memory_needed(config: Config, storage: str | None, dtype: str, plan: Plan) -> tuple[int, int, int]:
    """Bytes of weights, of cache and activations, and of everything else."""
    rows, itemsize = max(plan.batch_sizes), np.dtype(dtype).itemsize
    cache = costs.kv_cache_bytes(config, rows, plan.length, dtype)
    # Alive at once in prefill: three arrays of the feed-forward's width, and as many of the model's.
    width = max(layer.intermediate_size for layer in config.layers) + config.hidden_size
    activations = 3 * rows * plan.prompt_tokens * width * itemsize
    weights = costs.weight_bytes(config, storage) if storage else 0
    return weights, cache + activations, _RESERVE_BYTES


def random_model(
    config: Config,
    plan: Plan,
    *,
    backend: str = "auto",
    weights: str = "stored",
    dtype: str = "float32",
    rope: str = "reference",
    kv_cache: str = "compute",
    progress: bool | None = None,
) -> DeciLM:
    """Make a model of random weights in memory, after checking that they fit.

    Parameters
    ----------
    config : Config
    plan : Plan
        What is to be measured with it: decides how much memory must remain.
    backend, weights, dtype, rope, kv_cache
        As for :func:`minidecilm.load`; "stored" is what the model was published in.
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal if it takes over a second.

    Raises
    ------
    ValueError
        For an unknown choice, a plan too long for the model, or a model too large for the memory.

    Examples
    --------
    >>> from minidecilm import preset
    >>> from dataclasses import replace
    >>> tiny = replace(first_layers(preset("decilm-6b"), 1), hidden_size=64, vocab_size=32)
    >>> random_model(tiny, Plan()).weights["lm_head.weight"].shape
    (32, 64)
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights {weights!r}: choose from {', '.join(WEIGHTS)}")
    storage = config.torch_dtype if weights == "stored" else weights
    chosen = create_backend(backend, config.num_parameters, dtype)
    _check_on_cpu(chosen)
    tensors: dict[str, Weight] = {}
    model = DeciLM(config, tensors, chosen, dtype, rope, kv_cache)  # refuses what it cannot compute
    check_length(config, plan)
    check_memory(config, storage, dtype, plan, machine.available_memory_bytes())
    tensors |= random_weights(config, storage, progress=progress)
    return model


def first_layers(config: Config, layers: int) -> Config:
    """Cut a model to its first layers; embedding and head stay.

    Raises
    ------
    ValueError
        If it has fewer.
    """
    if not 1 <= layers <= len(config.layers):
        raise ValueError(f"layers: expected 1 to {len(config.layers)}, found {layers}")
    return replace(config, layers=config.layers[:layers])


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
    _check_on_cpu(model.backend)
    check_length(model.config, plan)
    check_memory(model.config, None, str(model.dtype), plan, machine.available_memory_bytes())
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
    cache = model.new_cache(1, 1)
    return Measurement(plan, timings, str(cache.keys[0].dtype), cache.nbytes, machine.process_memory())


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


def probe(threads: int, arithmetic: str = "float32", progress: bool | None = None) -> Limits:
    """Measure the limits of this machine; takes about two seconds, the first time a few more to compile.

    Parameters
    ----------
    threads : int
        As many as the rounds used.
    arithmetic : {"float32", "int8", "int4"}
        From :func:`arithmetic_of`.
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal if it takes over a second.
    """
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return Limits(None, None, arithmetic, "NUMBA_DISABLE_JIT is set")
    try:
        from minidecilm.backends.numba_backend import probe as numba_probe

        size = max(numba_probe.BUFFER_BYTES, _CACHES * (machine.last_level_cache_bytes() or 0))
        size = min(size, (machine.available_memory_bytes() or size) // 2)
        with progress_bar(2, "probing this machine", "limit", progress) as bar:
            read_bandwidth = numba_probe.read_bandwidth(size, threads)
            bar.update(1)
            if arithmetic in BITS:
                peak = numba_probe.peak_integer_ops(BITS[arithmetic], threads)
            else:
                peak = numba_probe.peak_flops(threads)
            bar.update(1)
        return Limits(read_bandwidth, peak, arithmetic)
    except Exception as problem:  # Numba is absent, or does not know this processor
        first_line = (str(problem).strip().splitlines() or [""])[0]
        reason = f"Numba cannot compile here: {first_line or type(problem).__name__}"
        return Limits(None, None, arithmetic, reason)


def arithmetic_of(model: DeciLM) -> str:
    """Say which numbers the matrix products of a model are computed with, for :func:`probe`."""
    storage = storage_of(model)
    return storage if storage in BITS and model.backend.kernels == "explicit" else "float32"


def threads_of(backend: str) -> int:
    """Count the threads that a backend computes with."""
    if backend == "numba":
        from minidecilm.backends.numba_backend import probe as numba_probe

        return numba_probe.thread_count()
    cores = machine.usable_cores()
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(variable, "")
        if value.isdecimal() and int(value) > 0:
            return min(int(value), cores)
    return cores


def streamed(model: DeciLM) -> list[Weight]:
    """Give the matrices that every step reads whole."""
    return [model.weights[name] for name in costs.streamed_weights(model.config)]


def storage_of(model: DeciLM) -> str:
    """Storage dtype of the layers' matrices, by bytes: the head of an int4 model takes int8."""
    nbytes: Counter[str] = Counter()
    for name in costs.streamed_weights(model.config):
        if ".layers." in name:
            nbytes[str(model.weights[name].dtype)] += model.weights[name].nbytes
    return nbytes.most_common(1)[0][0]
