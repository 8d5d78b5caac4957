"""Files from outside, and files that appear whole or not at all."""

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
