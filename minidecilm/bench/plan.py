"""What to measure, and whether this machine has room for it; models of random weights."""

from dataclasses import dataclass, replace

import numpy as np

from minidecilm import costs
from minidecilm.backends import Backend, create_backend
from minidecilm.bench import machine
from minidecilm.config import Config
from minidecilm.generation import length_limit
from minidecilm.model import DeciLM, check_choices
from minidecilm.weights.random_weights import random_weights
from minidecilm.weights.scheme import check_weights

_RESERVE_BYTES = 256_000_000  # for the interpreter, libraries, and the rest of the system


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


def check_plan(config: Config, backend: Backend, storage: str | None, dtype: str, plan: Plan) -> None:
    """Refuse to measure on a GPU, beyond the length the model is meant for, or in more memory than is free.

    Raises
    ------
    ValueError
    """
    if backend.name == "cupy":
        raise ValueError(
            "bench measures a CPU beside its limits; a GPU: python -m benchmarks.gpu, in a clone"
        )
    limit, origin = length_limit(config)
    if plan.length > limit:
        raise ValueError(
            f"{plan.prompt_tokens} prompt and {plan.new_tokens} new tokens exceed {limit} tokens ({origin}): "
            "ask for fewer"
        )
    check_memory(config, storage, dtype, plan, machine.available_memory_bytes())


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
    check_weights(weights)
    storage = config.torch_dtype if weights == "stored" else weights
    chosen = create_backend(backend, config.num_parameters, dtype)
    check_choices(chosen, dtype, rope, kv_cache)
    check_plan(config, chosen, storage, dtype, plan)
    return DeciLM(config, random_weights(config, storage, progress=progress), chosen, dtype, rope, kv_cache)
