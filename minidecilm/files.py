"""Files and folders that appear whole or not at all, files from outside, and JSON from strangers.

Such JSON is bounded in size and depth, and has no duplicate keys and no NaN.
"""

import json
import math
import os
import re
import secrets
import shutil
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from typing import Any

from minidecilm.errors import CheckpointError

try:
    import fcntl
except ImportError:  # Windows: what a killed writer left behind stays
    fcntl = None  # type: ignore[assignment]

_MAX_DEPTH = 32  # a config nests 2 deep; comparing values nested to the interpreter's limit would overflow it

_REPR = Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 80
_REPR.maxlevel = 3


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; it takes the place of `path` when all went well.

    If the block raises, Ctrl-C included, the temporary file is removed and `path` is as it was.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file to write")
    if path.exists() and not path.is_file():  # to be replaced is not what a device expects
        raise FileExistsError(f"{path} is a pipe or device: give the name of a file to write")
    path = resolved(path)  # writes through a link, rather than replace it
    with temporary_beside(path) as temporary:
        yield temporary
        temporary.replace(path)


def resolved(path: Path) -> Path:
    """Follow links to where a file or folder is, or is to be; links in a circle are an OSError."""
    with suppress(RuntimeError):  # how Python up to 3.12 finds a circle; later ones return a link
        found = path.resolve()
        if not found.is_symlink():
            return found
    raise OSError(f"{path}: its links lead in a circle; give another name")


@contextmanager
def temporary_beside(path: Path, folder: bool = False) -> Iterator[Path]:
    """Make an empty file, or folder, that no other writer of `path` has; at the end it goes, unless renamed.

    A writer holds a lock, which ends with it: what killed writers of `path` left behind is removed first.
    An OSError of the block that names no file, as that of a full disk, names `path`.
    """
    temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(8)}.part")
    lock = None
    try:
        _remove_left_over(path)
        while not temporary.exists():  # again where another writer took it for left over before it was locked
            _unlock(lock)
            if folder:
                temporary.mkdir()
            else:
                temporary.touch(exist_ok=False)
            lock = _lock(temporary, wait=True)
        yield temporary
    except OSError as problem:
        names = [str(name) for name in (problem.filename, problem.filename2) if name is not None]
        if problem.errno is None or (names and not any(name.startswith(str(temporary)) for name in names)):
            raise
        raise OSError(problem.errno, problem.strerror, str(path)) from problem
    finally:
        _remove(temporary)
        _unlock(lock)


def _prefix(path: Path) -> str:
    """How temporary names begin: with the name, or with a part of one that nearly fills 255 bytes."""
    return f".{path.name[:50] if len(os.fsencode(path.name)) > 220 else path.name}."


def _remove_left_over(path: Path) -> None:
    pattern = re.compile(rf"{re.escape(_prefix(path))}[0-9a-f]{{16}}\.part")
    for found in path.parent.iterdir() if os.access(path.parent, os.R_OK) else ():
        if pattern.fullmatch(found.name):
            lock = _lock(found, wait=False)
            if lock is not None:
                _remove(found)
                _unlock(lock)


def _lock(path: Path, wait: bool) -> int | None:
    """Lock until the descriptor is closed; None if a living writer holds it, or the system has no locks."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Seen:
    """What a file was when it was opened, to notice later that it is another, or was written to since."""

    path: Path
    number: tuple[int, int]  # device and inode: a file put in its place has others
    size: int
    changed: int  # nanoseconds

    @classmethod
    def now(cls, path: Path) -> "Seen":
        """Look at a file."""
        found = path.stat()
        return cls(path, (found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns)

    def check(self, mapped: bool = False) -> None:
        """Raise a CheckpointError if the file is no longer the same.

        A `mapped` file stays whole for this process where its name was removed or given to another: only
        writing into it counts.
        """
        try:
            now = Seen.now(self.path)
        except OSError:  # removed, or out of reach for the user that this process has become
            now = None
        if now == self or (mapped and (now is None or now.number != self.number)):
            return
        found = "none" if now is None else f"one of {now.size:,} bytes that was written to since"
        raise CheckpointError(
            f"{self.path}: expected the file of {self.size:,} bytes that was opened, found {found}; "
            "let what writes there finish, then open the model again"
        )


def require_file(path: Path) -> None:
    """Raise a CheckpointError for a folder, pipe or device before it is opened: a pipe would wait forever."""
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: expected a file, found a folder, pipe or device; put the file there")


def refuse_lfs_pointer(path: Path, beginning: bytes) -> None:
    """Raise a CheckpointError if a file begins as the text that git leaves where it fetched no large file."""
    if len(beginning) >= 8 and b"version https://git-lfs".startswith(beginning[:23]):
        raise CheckpointError(
            f"{path}: expected the file itself, found a git-lfs pointer to it; fetch it with `git lfs pull`"
        )


def read_bounded(path: Path, max_bytes: int, error: type[ValueError]) -> bytes:
    """Read a file; a larger one than `max_bytes` is an `error`, a pointer of git a CheckpointError."""
    with path.open("rb") as file:
        found = file.read(max_bytes + 1)
    if len(found) > max_bytes:
        raise error(f"{path}: larger than {max_bytes:,} bytes, so it is not what its name says")
    refuse_lfs_pointer(path, found)
    return found


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
    """Parse UTF-8 bytes of exactly one JSON object with unique keys and finite numbers.

    The caller has bounded their size. Every `error` names `where` they come from, for instance the file.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
        level = [value]
        for _ in range(_MAX_DEPTH):
            level = [child for item in level for child in _children(item)]
        if level:
            raise RecursionError
    except _Refused as problem:
        raise error(f"{where}: {problem}") from None
    except RecursionError:
        raise error(f"{where}: JSON is nested too deeply to be a model file") from None
    except ValueError as problem:  # not UTF-8, not JSON, or an integer of thousands of digits
        raise error(f"{where}: not valid JSON ({problem})") from None
    if not isinstance(value, dict):
        raise error(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


def _children(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def read_object(path: Path, max_bytes: int, error: type[ValueError]) -> dict[str, Any]:
    """Read a JSON object from a file: see :func:`read_bounded` and :func:`parse_object`."""
    text = read_bounded(path, max_bytes, error)
    return parse_object(text.removeprefix(BOM_UTF8), str(path), error)  # as some editors begin a file


def hub_name(path: str | Path) -> str | None:
    """Name of what lies in a Hugging Face hub cache, whose folders are called by a hash; None elsewhere.

    Examples
    --------
    >>> hub_name("/cache/models--Deci--DeciLM-6b/snapshots/03eb969")
    'Deci/DeciLM-6b'
    """
    found = re.search(r"/models--([^/]+)/snapshots/[^/]+(/.*)?$", Path(os.path.abspath(path)).as_posix())
    return found and found[1].replace("--", "/") + (found[2] or "")
