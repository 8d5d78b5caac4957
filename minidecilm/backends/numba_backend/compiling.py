"""How this folder's functions are compiled, and where the compiled code is kept.

Numba notices when the file of a function has changed, but not when a file whose code went into it has. So
compiled code lies in a folder named after the contents of all sources here: other sources, other folder.

It lies there as pickles, which can run anything when they are loaded. So it is kept only where nobody else
can write, and a file that is not what was written is not loaded.
"""

import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import config, event
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserProvidedCacheLocator,
)
from numba.core.cpu_options import ParallelOptions

_HERE = Path(__file__).parent

# How long an idle thread of GNU OpenMP spins before it sleeps. With its default, threads on a core that
# another program uses too slow each other down tenfold and more; with this, an idle machine loses nothing
# that could be measured. What the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _cache_folder() -> Path | None:
    """First place where compiled code can be kept; None if there is none."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_HERE.glob("*.py")))).hexdigest()
    for base in _places():
        folder = base / f"kernels-{digest[:16]}"
        # A relative place would be another one in every working directory: without a home, "~" is a name.
        with suppress(OSError, RuntimeError):  # RuntimeError: links in a circle
            if base.is_absolute() and _private(base):
                base.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)
                if os.access(folder, os.W_OK) and _private(base) and _ours(folder):
                    return folder
    return None


def _places() -> Iterator[Path]:
    if config.CACHE_DIR:  # type: ignore[attr-defined]
        yield Path(config.CACHE_DIR)  # type: ignore[attr-defined]
    yield _HERE / "__pycache__"
    own = os.environ.get("XDG_CACHE_HOME", "")
    yield Path(own if os.path.isabs(own) else os.path.expanduser("~/.cache"), "minidecilm")
    if hasattr(os, "geteuid"):
        yield Path(os.environ.get("TMPDIR") or "/tmp", f"minidecilm-{os.geteuid()}")  # noqa: S108


def _private(base: Path) -> bool:
    """Whether nobody else can put a folder in the place of `base` or of one that we make in it."""
    real = base.resolve()
    places = (base, *base.parents, real, *real.parents)
    return all(_ours(place, may_add=True) for place in places if os.path.lexists(place))


def _ours(place: Path, may_add: bool = False) -> bool:
    """Whether a folder belongs to this user or to root, and nobody else may write it.

    A group may, if it is this user's first one: systems that let groups write by default give every user one
    without other members. With `may_add`, a link passes, and a folder such as /tmp, in which others cannot
    touch what is not theirs.
    """
    if not hasattr(os, "geteuid"):
        return True
    status = os.lstat(place)
    others = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid != os.getegid() else 0)
    harmless = may_add and (status.st_mode & stat.S_ISVTX or stat.S_ISLNK(status.st_mode))
    root = os.lstat("/").st_uid  # in some containers not 0
    return status.st_uid in (os.geteuid(), root) and bool(harmless or not status.st_mode & others)


@cache
def _say_once(message: str) -> None:
    if sys.stderr is not None:
        print(f"minidecilm: {message}", file=sys.stderr)


CACHE_FOLDER = _cache_folder()
_asked_for = config.CACHE_DIR  # type: ignore[attr-defined]
if _asked_for and (CACHE_FOLDER is None or CACHE_FOLDER.parent != Path(_asked_for)):
    _say_once(f"NUMBA_CACHE_DIR={_asked_for} is not used: expected a whole path that nobody else can write")
if CACHE_FOLDER is None:
    _say_once("no private folder for compiled code was found, so every run compiles: set NUMBA_CACHE_DIR")


class _CacheFile(IndexDataCacheFile):
    """Numba's files of one function: each ends in a digest of the rest, and code in its key."""

    def save(self, key: Any, data: Any) -> None:
        # Numba writes the index first: should it get no further, the index names code of another signature.
        super().save(key, (key, data))

    def load(self, key: Any) -> Any:
        kept, data = super().load(key) or (key, None)
        return data if kept == key else None

    def _load_index(self) -> Any:
        with suppress(FileNotFoundError):
            _check(self._index_path)
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        _check(self._data_path(name))
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[Any]:
        with super()._open_for_write(filepath) as file:
            yield file
            file.flush()
            file.write(hashlib.sha256(Path(file.name).read_bytes()).digest())  # pickle reads past no end


def _check(path: str) -> None:
    content = Path(path).read_bytes()
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        raise ValueError(f"{path} is damaged")


class _Locator(UserProvidedCacheLocator):
    """Says that everything lies in CACHE_FOLDER. Whether that takes files shows when one is written."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        super().__init__(function, file)
        self._cache_path = str(CACHE_FOLDER)

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> "_Locator":
        return cls(function, file)


class _Code(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012


class _Cache(FunctionCache):
    """Numba's cache of one function; where it cannot be read or written, the function is compiled."""

    _impl_class = _Code

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _CacheFile(self.cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever is wrong with it, compiling anew mends it
            _say_once(f"damaged compiled code in {self.cache_path}: compiling anew")
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or problem
            _say_once(
                f"cannot keep compiled code in {self.cache_path}: {reason}; the next run compiles again"
            )


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, as ``numba.njit``, and keep the code in CACHE_FOLDER."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(**options)(function)
        if CACHE_FOLDER is not None and not config.DISABLE_JIT:  # type: ignore[attr-defined]
            compiled._cache = _Cache(function)
        return compiled

    return decorate


# Division by zero gives what IEEE 754 says: no checks to compile. Only kernels call an inner function, so
# nothing is compiled through which Python would. Only the loops that say so run in parallel: each one that
# Numba finds besides, such as an array that is filled, would be another function to compile.
_NO = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")
_ONLY_LOOPS = ParallelOptions({"prange": True, **dict.fromkeys(_NO, False)})
IN_PARALLEL: dict[str, Any] = {"parallel": _ONLY_LOOPS, "nogil": True, "error_model": "numpy"}
serial = njit(error_model="numpy")
inner = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
parallel = njit(**IN_PARALLEL)


class _Watch(event.Listener):
    """Says once, on a terminal, what takes so long when one of our functions is compiled; makes it shorter.

    LLVM's last level of optimisation takes a third of the time, and brings nothing to vectors that are
    written out: 32 and 45 seconds for all kernels of one storage, and products as fast.
    """

    said = False
    _before: Any = None
    _depth = 0

    def on_start(self, occurrence: Any) -> None:
        """Numba begins to compile."""
        module = occurrence.data["dispatcher"].py_func.__module__
        if not self._depth and not module.startswith(__package__):
            return
        self._depth += 1  # what a function calls is compiled on the way
        if self._depth > 1:
            return
        self._before = config.OPT  # type: ignore[attr-defined]
        config.OPT = min(self._before, type(self._before)(2))  # type: ignore[attr-defined]
        if not self.said and sys.stderr and sys.stderr.isatty():
            self.said = True
            print("compiling for this CPU: takes a minute or so", file=sys.stderr)

    def on_end(self, occurrence: Any) -> None:
        """Numba is done."""
        if self._depth == 1:
            config.OPT = self._before  # type: ignore[attr-defined]
        self._depth = max(self._depth - 1, 0)


watch = _Watch()
event.register("numba:compile", watch)
