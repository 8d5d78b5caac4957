"""Who may run kernels, which take all cores: one thread at a time, and no process without Numba's threads."""

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from numba.np.ufunc import parallel

from minidecilm.errors import ForkError

# One of Numba's threading layers ends the process if two kernels are run at a time. The thread that has the
# lock may take it again: a signal handler can fork in the midst of an operation.
_lock = threading.RLock()
_threads_lost = False


def alone(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Let threads that generate side by side take turns."""

    @wraps(operation)
    def wait_and_run(*arguments: Any) -> Any:
        check_threads()
        with _lock:
            return operation(*arguments)

    return wait_and_run


def check_threads() -> None:
    """Refuse to run kernels where that would end the process.

    Raises
    ------
    ForkError
        In a process forked after its parent had started threads that do not survive it.
    """
    if _threads_lost:
        raise ForkError(
            "the numba backend was used before this process was forked, which the threads of GNU OpenMP do "
            "not survive: use it in the workers only, start them by 'spawn' or 'forkserver', or set "
            "NUMBA_THREADING_LAYER=workqueue"
        )


def _after_fork() -> None:
    global _threads_lost
    _lock.release()
    _threads_lost = _threads_lost or _gnu_openmp_runs()


def _gnu_openmp_runs() -> bool:
    try:
        if parallel.threading_layer() != "omp":
            return False
    except ValueError:  # no threads yet
        return False
    from numba.np.ufunc import omppool  # type: ignore[attr-defined]

    return bool(omppool.openmp_vendor == "GNU")


if hasattr(os, "register_at_fork"):
    # A kernel that another thread runs is waited for: the child would find what it holds in use for ever.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork)
