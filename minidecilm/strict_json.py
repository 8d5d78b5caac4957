"""JSON from strangers: bounded, no duplicate keys, no NaN, no nesting bombs."""

import json
import math
from codecs import BOM_UTF8
from collections.abc import Iterable
from pathlib import Path
from reprlib import Repr
from typing import Any

from minidecilm.files import refuse_lfs_pointer

_MAX_DEPTH = 32  # a config nests 2 deep; comparing values nested to the interpreter's limit would overflow it

_REPR = Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 80
_REPR.maxlevel = 3


def brief(value: Any) -> str:
    """Like ``repr`` in one short line, whatever a file holds: bounded in length, nesting and time."""
    return _REPR.repr(value)


class _Refused(ValueError):
    """Raised inside the json hooks; carries a message that is already fit to print."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Refused(f"key {brief(key)} stands twice; remove one")
        found[key] = value
    return found


def _refuse_constant(name: str) -> Any:
    raise _Refused(f"{name} is not a JSON number")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused(f"number {text[:40]} is too large")
    return value


def parse_object(text: bytes, where: str, error: type[ValueError]) -> dict[str, Any]:
    """Parse UTF-8 bytes that must hold exactly one JSON object.

    Parameters
    ----------
    text : bytes
        What to parse; the caller has bounded its size.
    where : str
        Named in every error, for instance the file.
    error : type of ValueError
        What to raise.

    Returns
    -------
    dict
        The object, with unique keys and finite numbers.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
    except _Refused as problem:
        raise error(f"{where}: {problem}") from None
    except RecursionError:
        raise _too_deep(where, error) from None
    except ValueError as problem:  # not UTF-8, not JSON, or an integer of thousands of digits
        raise error(f"{where}: not valid JSON ({problem})") from None
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
    if level:
        raise _too_deep(where, error)
    if not isinstance(value, dict):
        raise error(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


def _children(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def _too_deep(where: str, error: type[ValueError]) -> ValueError:
    return error(f"{where}: JSON is nested too deeply to be a model file")


def read_object(path: Path, max_bytes: int, error: type[ValueError]) -> dict[str, Any]:
    """Read a JSON object from a file of at most `max_bytes` bytes; see :func:`parse_object`.

    Raises
    ------
    CheckpointError
        If git left a pointer in the place of the file.
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        text = file.read(max_bytes + 1)
    if len(text) > max_bytes:
        raise error(f"{path}: larger than {max_bytes:,} bytes, so it is not what its name says")
    refuse_lfs_pointer(path, text)
    return parse_object(text.removeprefix(BOM_UTF8), str(path), error)  # as some editors begin a file
