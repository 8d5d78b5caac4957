"""Progress bars on stderr. The only file that imports tqdm, and only when work starts."""

import sys
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast


class ProgressBar(Protocol):
    """What :func:`progress_bar` hands out."""

    def update(self, n: float = 1) -> Any:
        """Advance by `n` units."""

    def set_postfix_str(self, text: str) -> Any:
        """Show `text` after the counts."""


def progress_bar(
    total: int,
    description: str,
    unit: str,
    enabled: bool | None = None,
    scale: bool = False,
    leave: bool = True,
) -> AbstractContextManager[ProgressBar]:
    """Return a context manager that shows a bar on stderr.

    Parameters
    ----------
    total : int
        Units of work in all.
    description, unit : str
        Left of the bar, and the name of one unit.
    enabled : bool, optional
        None shows the bar only if stderr is a terminal and the work takes over a second.
    scale : bool
        Print counts as 1.2k, 3.4M, 5.6G: for bytes.
    leave : bool
        Whether the finished bar stays on the screen, or makes room for what comes next.

    Examples
    --------
    >>> with progress_bar(3, "reading", "file", enabled=False) as bar:
    ...     for _ in range(3):
    ...         _ = bar.update(1)
    """
    from tqdm import tqdm

    terminal = sys.stderr is not None and sys.stderr.isatty()
    bar = tqdm(
        total=total,
        desc=description,
        unit=unit,
        unit_scale=scale,
        leave=leave,
        disable=not (terminal if enabled is None else enabled),
        delay=1.0 if enabled is None else 0.0,
        dynamic_ncols=True,
    )
    return cast(AbstractContextManager[ProgressBar], bar)
