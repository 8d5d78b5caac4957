"""The network's operations compiled by Numba for this CPU, by all its cores: the folder that imports Numba.

Two sets of kernels with one meaning. The explicit ones (:mod:`.linear`, :mod:`.attention`,
:mod:`.elementwise`) say what every vector register holds, and need AVX2 or AVX-512 VNNI; the portable ones
are plain loops for every other CPU. What they share has files of its own: :mod:`.tasks` of attention, and
:mod:`.storage`, which says what kernels see stored numbers as. Compiled code is kept on disk, so only the
first run of a machine waits for it. ``NUMBA_NUM_THREADS`` sets the number of threads.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numba.core import config

from minidecilm.backends import Backend
from minidecilm.backends.numba_backend.choosing import Choice, chosen, kind_of
from minidecilm.backends.numba_backend.preparing import prepare
from minidecilm.backends.numba_backend.storage import SEEN_AS
from minidecilm.backends.numba_backend.tasks import attend_in_tasks
from minidecilm.backends.numba_backend.threads import alone, check_threads
from minidecilm.ops import Array
from minidecilm.weights.packed import PackedWeight

#: Set this environment variable to one of :data:`KERNELS` to choose; by default the CPU decides.
KERNELS_VARIABLE = "MINIDECILM_KERNELS"
#: The sets of kernels.
KERNELS = ("explicit", "portable")


def create(dtype: str = "float32") -> Backend:
    """Make the backend, with the kernels that suit this CPU or that the environment asks for.

    Parameters
    ----------
    dtype : {"float32", "bfloat16"}
        What products with float weights multiply: activations as they are, or rounded to bfloat16. Sums are
        float32. Packed weights meet activations rounded to int8 in any case.

    Raises
    ------
    ValueError
        If the environment asks for kernels that there are not, or that this CPU cannot run, or in a process
        that was forked too late: :class:`minidecilm.errors.ForkError`.
    """
    check_threads()
    kernels = os.environ.get(KERNELS_VARIABLE, "") or _suitable()
    if kernels not in KERNELS:
        raise ValueError(f"{KERNELS_VARIABLE}={kernels!r}: choose from {', '.join(KERNELS)}")
    if kernels == "explicit" and _suitable() != "explicit":
        raise ValueError(f"{KERNELS_VARIABLE}=explicit: needs a CPU with AVX2 and FMA, and Numba's compiler")
    products: Any
    operations: dict[str, Callable[..., Any]] = {}
    if kernels == "portable":
        from minidecilm.backends.numba_backend import portable_attention, portable_linear

        products, attend = portable_linear, portable_attention.attend
    else:
        from minidecilm.backends.numba_backend import attention, elementwise, linear

        products, attend = linear, attention.attend
        operations = {name: getattr(elementwise, name) for name in ("rms_norm", "rotate", "swiglu")}
    multiply = partial(_multiply, products, dtype == "bfloat16")
    operations |= {
        "linear": lambda x, weight: multiply(x, weight)[0],
        "linear_together": multiply,
        "attention": partial(attend_in_tasks, attend),
    }
    taking_turns: dict[str, Any] = {name: alone(operation) for name, operation in operations.items()}
    backend = Backend("numba", dtypes=("float32", "bfloat16"), kernels=kernels, **taking_turns)
    return replace(backend, prepare=partial(prepare, backend, multiply, dtype == "bfloat16"))


def _suitable() -> str:
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return "portable"  # Python has no vectors
    from minidecilm.backends.numba_backend.registers import USABLE

    return "explicit" if USABLE else "portable"


def _multiply(
    kernels: Any, rounding: bool, x: Array, *weights: Array | PackedWeight, choice: Choice | None = None
) -> tuple[Array, ...]:
    """Multiply activations with weights, in one go if all are stored alike; `choice` is how they are read."""
    if len({(weight.dtype, getattr(weight, "group", None)) for weight in weights}) > 1:
        return tuple(_multiply(kernels, rounding, x, weight)[0] for weight in weights)
    choice = choice or chosen(kind_of(weights[0].dtype, rounding))
    rows = np.ascontiguousarray(x.reshape(-1, x.shape[-1]))  # (N, in)
    if x.size == 0:
        ys = [np.zeros((len(rows), len(weight)), np.float32) for weight in weights]
    elif isinstance(weights[0], PackedWeight):
        ys = kernels.linear_packed(rows, weights, choice)
    elif weights[0].dtype in SEEN_AS:
        ys = kernels.linear_stored(rows, weights, rounding, choice)
    else:
        raise ValueError(
            f"a weight of dtype {weights[0].dtype}: the numba backend multiplies "
            f"{', '.join(map(str, SEEN_AS))}: load with weights='float32', or backend='numpy'"
        )
    return tuple(y.reshape(*x.shape[:-1], y.shape[-1]) for y in ys)
