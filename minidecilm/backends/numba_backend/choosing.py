"""How weights are read while one token is computed: what suits this CPU, measured once and kept.

What makes one CPU fast slows down another: to ask for memory early, and to read several rows side by side.
Candidates are timed in turns on a model's own weights. Results do not depend on the choice.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core.registry import cpu_target

from minidecilm.backends.numba_backend.compiling import CACHE_FOLDER
from minidecilm.files import replacing


class Choice(NamedTuple):
    """A way to read weights.

    Attributes
    ----------
    together : bool
        Whether several rows, or panels of packed weights, are read side by side.
    ahead : int
        Bytes between what is read and what is asked for; 0 asks for nothing.
    """

    together: bool
    ahead: int


#: The first is taken where nothing was measured, or others gain too little to tell.
CANDIDATES = tuple(Choice(together, ahead) for ahead in (0, 2048, 8192) for together in (True, False))

_LEAST, _MOST = 1 << 28, 1 << 29  # bytes of weights: fewer stay in caches, more need not be read
_ROUNDS = 3
_GAIN = 0.97  # of the first one's time

_choices: dict[str, Choice] = {}  # by kind; of this process


@cache
def kind_of(dtype: np.dtype[Any], rounding: bool) -> str:
    """Name what a kernel reads and multiplies."""
    return f"{dtype}{', products of bfloat16' * rounding}"


def chosen(kind: str) -> Choice:
    """Take the choice for weights of this kind."""
    return _choices.get(kind) or _kept().get(kind) or CANDIDATES[0]


def choose(kind: str, weights: Sequence[Any], multiply: Callable[[Any, Choice], object]) -> None:
    """Measure which choice suits weights of this kind, unless it is known or they are too few to tell.

    Parameters
    ----------
    kind : str
    weights : sequence of matrices
    multiply : callable
        Multiplies one token with a weight, by a choice.
    """
    nbytes, taken = 0, []
    for weight in weights:
        if nbytes < _MOST:
            taken.append(weight)
            nbytes += weight.nbytes
    if kind in known() or nbytes < _LEAST:
        return
    seconds = dict.fromkeys(CANDIDATES, float("inf"))
    for _ in range(_ROUNDS):
        for candidate in CANDIDATES:
            start = perf_counter()
            for weight in taken:
                multiply(weight, candidate)
            seconds[candidate] = min(seconds[candidate], perf_counter() - start)
    best = min(CANDIDATES, key=seconds.__getitem__)
    _choices[kind] = best if seconds[best] < _GAIN * seconds[CANDIDATES[0]] else CANDIDATES[0]
    _keep()


def known() -> dict[str, Choice]:
    """Return all that is known of this CPU, by kind."""
    return {**_kept(), **_choices}


def _file() -> Path | None:
    """Where choices of this CPU and number of threads are kept: beside the code that was compiled for it."""
    name = cpu_target.target_context.codegen().magic_tuple()[1]
    return CACHE_FOLDER and CACHE_FOLDER / f"choices-{name}-{numba.get_num_threads()}.json"


@cache
def _kept() -> dict[str, Choice]:
    file = _file()
    if file is None:
        return {}
    # Whatever is wrong with the file, measuring mends it.
    with suppress(OSError, ValueError, TypeError, AttributeError):
        kept = {kind: Choice(*choice) for kind, choice in json.loads(file.read_text()).items()}
        return {kind: choice for kind, choice in kept.items() if choice in CANDIDATES}
    return {}


def _keep() -> None:
    file = _file()
    if file is not None:
        with suppress(OSError), replacing(file) as temporary:
            temporary.write_text(json.dumps(known()))
