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
    """What to measure; a number that is not positive is a ValueError.

    Attributes
    ----------
    prompt_tokens : int
        T, tokens of a row that prefill reads in one pass.
    new_tokens : int
        Steps of decode after it.
    batch_sizes : tuple of int
    rounds : int
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
    """Refuse to measure on a GPU, beyond the length a model is meant for, or in more memory than is free."""
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

    `storage` is what weights are to be made in, None if they are there already; `dtype` is computed in.
    `available` bytes of None, where the system does not tell, suffice for anything.

    Examples
    --------
    >>> from minidecilm import preset
    >>> check_memory(preset("decilm-6b"), "float32", "float32", Plan(), available=16_000_000_000)
    Traceback (most recent call last):
    ValueError: 23.4 GB of memory needed (weights 22.9 GB, cache and activations of 8 rows 0.3 GB), 16.0 GB \
are free: --layers 21 would fit
    """

    def needed(layers: int) -> tuple[int, int]:
        """Bytes of the weights of so many layers, and of cache and activations."""
        cut = first_layers(config, layers)
        # Alive at once in prefill: three arrays of the feed-forward's width, and as many of the model's.
        width = max(layer.intermediate_size for layer in cut.layers) + cut.hidden_size
        activations = 3 * rows * plan.prompt_tokens * width * np.dtype(dtype).itemsize
        weights = costs.weight_bytes(cut, storage) if storage else 0
        return weights, costs.kv_cache_bytes(cut, rows, plan.length, dtype) + activations

    rows, count = max(plan.batch_sizes), len(config.layers)
    weights, working = needed(count)
    if available is None or weights + working + _RESERVE_BYTES <= available:
        return
    fitting_rows = (available - weights - _RESERVE_BYTES) * rows // working
    if fitting_rows > 0 and (not storage or working > weights):
        advice = f"--batch {fitting_rows} would fit"
    elif storage:
        fit = (n for n in range(count - 1, 0, -1) if sum(needed(n)) + _RESERVE_BYTES <= available)
        layers = next(fit, None)
        advice = f"--layers {layers} would fit" if layers else "not even one layer would fit"
    else:
        advice = "ask for fewer --prompt-tokens or --new-tokens"
    raise ValueError(
        f"{(weights + working + _RESERVE_BYTES) / 1e9:.1f} GB of memory needed "
        f"({f'weights {weights / 1e9:.1f} GB, ' if storage else ''}cache and activations of "
        f"{rows} rows {working / 1e9:.1f} GB), {available / 1e9:.1f} GB are free: {advice}"
    )


def first_layers(config: Config, layers: int) -> Config:
    """Cut a model to its first layers; embedding and head stay. To have fewer is a ValueError."""
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
