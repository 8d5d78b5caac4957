"""How this folder's functions are compiled, and where the compiled code is kept.

Numba notices when the file of a function has changed, but not when a file whose code went into it has. So
compiled code lies in a folder named after the contents of all sources here: other sources, other folder.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config, event

_HERE = Path(__file__).parent

# How long an idle thread of GNU OpenMP spins before it sleeps. With its default, threads on a core that
# another program uses too slow each other down tenfold and more; with this, an idle machine loses nothing
# that could be measured. What the user has set stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def _cache_folder() -> Path | None:
    """First place where compiled code can be kept; None if there is none."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_HERE.glob("*.py")))).hexdigest()
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for base in (config.CACHE_DIR, _HERE / "__pycache__", Path(user, "minidecilm")):  # type: ignore[attr-defined]
        if base:
            folder = Path(base, f"kernels-{digest[:16]}")
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError:
                continue
            if os.access(folder, os.W_OK):
                return folder
    return None


CACHE_FOLDER = _cache_folder()


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, as ``numba.njit``, and keep the code in CACHE_FOLDER."""

    def decorate(function: Callable[..., Any]) -> Any:
        if CACHE_FOLDER is None:
            return numba.njit(**options)(function)
        before, config.CACHE_DIR = config.CACHE_DIR, str(CACHE_FOLDER)  # type: ignore[attr-defined]
        try:
            return numba.njit(cache=True, **options)(function)
        finally:
            config.CACHE_DIR = before  # type: ignore[attr-defined]

    return decorate


class _Announcement(event.Listener):
    """Says once, on a terminal, what takes so long when one of our functions is compiled."""

    said = False

    def on_start(self, occurrence: Any) -> None:
        """Numba begins to compile."""
        module = occurrence.data["dispatcher"].py_func.__module__
        if self.said or not module.startswith(__package__) or not (sys.stderr and sys.stderr.isatty()):
            return
        self.said = True
        print("compiling for this CPU: takes up to half a minute", file=sys.stderr)

    def on_end(self, occurrence: Any) -> None:
        """Numba is done."""


event.register("numba:compile", _Announcement())
