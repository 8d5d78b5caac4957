"""What a walkthrough's check asks of an answer before it looks at the value: that it is of the right kind.

It lies beside the notebooks, which run in this folder, because they are its only users. Each function begins
its message with the number of the exercise.
"""

import math
from numbers import Real
from typing import Any, NoReturn

import numpy as np


def _refuse(exercise: int, wanted: str, given: Any) -> NoReturn:
    if isinstance(given, np.ndarray):
        kind = f"an array of shape {given.shape} of {given.dtype}"
    elif isinstance(given, Real):
        kind = f"{given}"
    else:
        kind = "None" if given is None else f"a {type(given).__name__}"
    raise AssertionError(f"{exercise}: {wanted} is asked for, not {kind}")


def number(exercise: int, answer: Any) -> float:
    """Return an answer that is a number: Python's, NumPy's, or an array without axes."""
    found = answer.item() if isinstance(answer, np.ndarray) and answer.ndim == 0 else answer
    try:
        value = float(found) if isinstance(found, Real) and not isinstance(found, bool) else math.nan
    except OverflowError:  # an int of hundreds of digits
        value = math.nan
    if not math.isfinite(value):
        _refuse(exercise, "a number", answer)
    return value


def whole(exercise: int, answer: Any, least: int, most: int = 10**9) -> int:
    """Return an answer that is a whole number from `least` to `most`."""
    found = number(exercise, answer)
    if not least <= found <= most or found != int(found):
        _refuse(exercise, f"a whole number from {least:,} to {most:,}", answer)
    return int(found)


def array(exercise: int, answer: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return an answer of numbers as an array of this shape; an axis of None may have any length."""
    try:
        found = np.asarray(answer)
    except ValueError:  # rows of unequal length
        found = np.asarray(None)
    lengths = zip(found.shape, shape, strict=False)
    alike = found.ndim == len(shape) and all(wanted in (None, length) for length, wanted in lengths)
    if not alike or found.dtype.kind not in "biufV":  # V: bfloat16
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        asked = f"an array of shape ({wanted}{',' * (len(shape) == 1)})"
        _refuse(exercise, asked, found if found.ndim else answer)
    return found


def call(exercise: int, answer: Any, *arguments: Any) -> Any:
    """Call an answer that is a function of these arguments; whatever it raises is said by number, too."""
    if not callable(answer):
        _refuse(exercise, "a function", answer)
    try:
        return answer(*arguments)
    except Exception as problem:
        raise AssertionError(
            f"{exercise}: your function raises {type(problem).__name__}: {problem}"
        ) from problem
