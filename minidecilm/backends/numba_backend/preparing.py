"""Getting a run's kernels ready before it begins: compiled, or loaded from where compiled code is kept."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba.core.registry import cpu_target

from minidecilm import ops
from minidecilm.backends import Backend
from minidecilm.backends.numba_backend import choosing, compiling
from minidecilm.backends.numba_backend.tasks import KEYS
from minidecilm.backends.numba_backend.threads import alone
from minidecilm.progress import progress_bar
from minidecilm.weights.packed import BFLOAT16, PackedWeight

_MANY = 64  # tokens that are many in the sense of linear

_ready: set[tuple[Any, ...]] = set()  # of this process


def prepare(
    backend: Backend,
    multiply: Callable[..., Any],
    rounding: bool,
    weights: Mapping[str, Any],
    kv_cache: str,
    progress: bool | None,
) -> None:
    """Call every compiled operation as a run with these weights will, on next to nothing.

    Then choose how `multiply` reads weights, where that was not measured before.
    """
    calls = {
        call: arguments
        for call, arguments in _calls(backend.kernels, rounding, weights, kv_cache).items()
        if call not in _ready and getattr(backend, call[1]) is not getattr(ops, call[1])
    }
    if calls:
        compiling.watch.said = True  # the bar says more
        cpu_target.target_context.refresh()  # most of a second, even where all is compiled: no bar for it
        with progress_bar(len(calls), "compiling for this CPU", "kernel", progress, leave=False) as bar:
            for call, arguments in calls.items():
                getattr(backend, call[1])(*arguments)
                _ready.add(call)
                bar.update(1)
    if backend.kernels == "explicit":
        _choose(multiply, rounding, weights)


@alone
def _choose(multiply: Callable[..., Any], rounding: bool, weights: Mapping[str, Any]) -> None:
    """Choose how weights of each kind are read."""

    def one_token(weight: Any, choice: choosing.Choice) -> None:
        multiply(np.zeros((1, weight.shape[1]), np.float32), weight, choice=choice)

    by_kind: dict[str, list[Any]] = {}
    for weight in _matrices(weights):
        by_kind.setdefault(choosing.kind_of(weight.dtype, rounding), []).append(weight)
    for kind, matrices in by_kind.items():
        choosing.choose(kind, matrices, one_token)


def _matrices(weights: Mapping[str, Any]) -> list[Any]:
    """Weights that are multiplied: not an embedding that is looked up only."""
    looked_up = "model.embed_tokens.weight" if "lm_head.weight" in weights else None
    return [weight for name, weight in weights.items() if len(weight.shape) == 2 and name != looked_up]


def _calls(
    kernels: str, rounding: bool, weights: Mapping[str, Any], kv_cache: str
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Arguments of operations, by kernels, operation, and what else tells one kernel from others."""
    x = np.zeros((_MANY, 32), np.float32)
    # Keys for more than one thread, which puts its part together with the others'.
    keys = np.zeros((1, 1, KEYS + 1, 2), BFLOAT16 if kv_cache == "bfloat16" else kv_cache)
    calls: dict[tuple[Any, ...], tuple[Any, ...]] = {
        (kernels, "rms_norm"): (x, x[0], 1e-6),
        (kernels, "rotate"): (x[None, None], x[None, None, :, :16], x[None, None, :, :16]),
        (kernels, "swiglu"): (x, x),
        (kernels, "attention", kv_cache): (
            x[None, None, :1, :2],
            keys,
            keys,
            np.ones((1, 1, KEYS + 1), np.bool_),
        ),
    }
    for kind, weight in {
        choosing.kind_of(weight.dtype, rounding): weight for weight in _matrices(weights)
    }.items():
        packed = isinstance(weight, PackedWeight)
        for tokens in (1,) if packed or kernels == "portable" else (1, _MANY):
            calls[kernels, "linear", kind, tokens] = x[:tokens], _like(weight)
    return calls


def _like(weight: Any) -> Any:
    """Make a small matrix stored as this one."""
    if isinstance(weight, PackedWeight):
        return PackedWeight.from_codes(np.zeros((1, 32), np.int8), np.zeros((1, 1)), weight.bits, 32)
    return np.zeros((1, 32), weight.dtype)
