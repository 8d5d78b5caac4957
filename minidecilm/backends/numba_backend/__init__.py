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
from minidecilm.backends.numba_backend.preparing import prepare
from minidecilm.backends.numba_backend.storage import SEEN_AS, seen
from minidecilm.backends.numba_backend.tasks import attend_in_tasks
from minidecilm.backends.numba_backend.threads import alone, check_threads
from minidecilm.ops import Array
from minidecilm.weights.packed import PackedWeight

#: Set this environment variable to one of :data:`KERNELS` to choose; by default the CPU decides.
KERNELS_VARIABLE = "MINIDECILM_KERNELS"
#: The sets of kernels.
KERNELS = ("explicit", "portable")


def create() -> Backend:
    """Make the backend, with the kernels that suit this CPU or that the environment asks for.

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
    if kernels == "portable":
        from minidecilm.backends.numba_backend import portable_attention, portable_linear

        operations: dict[str, Callable[..., Array]] = {
            "linear": _linear(portable_linear.linear_stored, portable_linear.linear_packed),
            "attention": partial(attend_in_tasks, portable_attention.attend),
        }
    else:
        from minidecilm.backends.numba_backend import attention, elementwise, linear

        operations = {
            "linear": _linear(linear.linear_stored, linear.linear_packed),
            "attention": partial(attend_in_tasks, attention.attend),
            "rms_norm": elementwise.rms_norm,
            "swiglu": elementwise.swiglu,
        }
    taking_turns: dict[str, Any] = {name: alone(operation) for name, operation in operations.items()}
    backend = Backend("numba", dtypes=("float32",), kernels=kernels, **taking_turns)
    return replace(backend, prepare=partial(prepare, backend))


def _suitable() -> str:
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return "portable"  # Python has no vectors
    from minidecilm.backends.numba_backend.registers import USABLE

    return "explicit" if USABLE else "portable"


def _linear(
    stored: Callable[[Array, Array], Array], packed: Callable[[Array, Array, Array, PackedWeight], Array]
) -> Callable[[Array, Array | PackedWeight], Array]:
    """Choose by what a weight is stored as."""

    def linear(x: Array, weight: Array | PackedWeight) -> Array:
        if x.size == 0:
            return np.zeros((*x.shape[:-1], len(weight)), np.float32)
        rows = np.ascontiguousarray(x.reshape(-1, x.shape[-1]))  # (N, in)
        if isinstance(weight, PackedWeight):
            codes, scales = _read_only(weight.codes), _read_only(seen(weight.scales))
            y = packed(rows, codes, scales, weight)
        elif weight.dtype in SEEN_AS:
            y = stored(rows, _read_only(seen(weight)))
        else:
            raise ValueError(
                f"a weight of dtype {weight.dtype}: the numba backend multiplies "
                f"{', '.join(map(str, SEEN_AS))}: load with weights='float32', or backend='numpy'"
            )
        return y.reshape(*x.shape[:-1], len(weight))

    return linear


def _read_only(weight: Array) -> Array:
    """Weights as kernels are compiled for them: as a memory-mapped file gives them."""
    weight = np.ascontiguousarray(weight).view()
    weight.flags.writeable = False
    return weight
