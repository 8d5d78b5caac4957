"""Files from outside, and files that appear whole or not at all."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minidecilm.errors import CheckpointError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; it takes the place of `path` when all went well.

    If the block raises, Ctrl-C included, the temporary file is removed and `path` is as it was.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file to write")
    if path.exists() and not path.is_file():  # to be replaced is not what a device expects
        raise FileExistsError(f"{path} is a pipe or device: give the name of a file to write")
    path = path.resolve()  # writes through a link, rather than replace it
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def require_file(path: Path) -> None:
    """Refuse a folder, a pipe or a device before anything opens it, because opening a pipe waits forever.

    Raises
    ------
    CheckpointError
        If something is there that is not a file.
    """
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: expected a file, found a folder, pipe or device; put the file there")


def refuse_lfs_pointer(path: Path, beginning: bytes) -> None:
    """Refuse the short text that git leaves in the place of a large file which was not fetched.

    Raises
    ------
    CheckpointError
        If the first bytes of the file, 8 or more, are those of such a text.
    """
    if len(beginning) >= 8 and b"version https://git-lfs".startswith(beginning[:23]):
        raise CheckpointError(
            f"{path}: expected the file itself, found a git-lfs pointer to it; fetch it with `git lfs pull`"
        )


def hub_name(path: str | Path) -> str | None:
    """Name of what lies in a Hugging Face hub cache, whose folders are called by a hash; None elsewhere.

    Examples
    --------
    >>> hub_name("/cache/models--Deci--DeciLM-6b/snapshots/03eb969")
    'Deci/DeciLM-6b'
    """
    found = re.search(r"/models--([^/]+)/snapshots/[^/]+(/.*)?$", Path(os.path.abspath(path)).as_posix())
    return found and found[1].replace("--", "/") + (found[2] or "")
