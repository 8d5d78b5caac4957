"""Writing a checkpoint folder: the published layout and sharding, streamed, from given or random weights."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from minidecilm.config import Config
from minidecilm.files import require_file, resolved, temporary_beside
from minidecilm.progress import ProgressBar, progress_bar
from minidecilm.weights.safetensors_file import DTYPES, Array, TensorSource, format_name, write_safetensors

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
MAX_SHARD_BYTES = 5_000_000_000  # decimal, as DeciLM was published

_CHUNK_ELEMENTS = 1 << 20
_SMALLEST_NORMAL = 2.0**-14  # of float16, the narrowest: one seed gives every dtype the same zeros


def plan_shards(sizes: Mapping[str, int], max_shard_bytes: int = MAX_SHARD_BYTES) -> list[list[str]]:
    """Divide tensors among files in their order: a file ends before the tensor that would pass the limit.

    Parameters
    ----------
    sizes : mapping of str to int
        Bytes of every tensor.
    max_shard_bytes : int
        Limit of a file in bytes; only a tensor larger than it gets a larger file, of its own.

    Examples
    --------
    >>> plan_shards({"a": 3, "b": 2, "c": 4}, 5)
    [['a', 'b'], ['c']]
    """
    shards: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if size > room or not shards:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(name)
        room -= size
    return shards


def write_checkpoint(
    config: Config,
    folder: str | Path,
    tensors: Iterable[TensorSource],
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: bool | None = None,
) -> None:
    """Write a checkpoint in the published layout; memory stays at one chunk of one tensor.

    Parameters
    ----------
    config : Config
        Becomes config.json.
    folder : str or Path
        To be created; it appears when it is complete. An empty folder may be there.
    tensors : iterable of TensorSource
        Exactly the names and shapes of ``config.parameter_shapes()``.
    max_shard_bytes : int
        Limit of one file, see :func:`plan_shards`.
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal.

    Raises
    ------
    FileExistsError
        If `folder` exists and is not empty.
    ValueError
        If `tensors` are not those of the config.
    """
    sources = {source.name: source for source in tensors}
    shapes = config.parameter_shapes()
    if {name: source.shape for name, source in sources.items()} != shapes:
        raise ValueError("tensors: expected the names and shapes of config.parameter_shapes()")
    write_folder(
        folder,
        config.to_dict(),
        [sources[name] for name in shapes],
        max_shard_bytes=max_shard_bytes,
        progress=progress,
    )


def write_folder(
    folder: str | Path,
    config: Mapping[str, Any],
    tensors: Iterable[TensorSource],
    *,
    companions: Iterable[Path] = (),
    check: Callable[[], None] = lambda: None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: bool | None = None,
) -> None:
    """Write any tensors, in their order, beside any config.json.

    Parameters
    ----------
    folder, max_shard_bytes, progress
        As for :func:`write_checkpoint`.
    config : mapping of str to value
        Content of config.json.
    tensors : iterable of TensorSource
        Each name once.
    companions : iterable of Path
        Files that are copied, the tokenizer's for instance.
    check : callable
        Is called when all is written; what it raises keeps the folder from appearing.
    """
    folder = Path(folder)
    sources = {source.name: source for source in tensors}
    sizes = {name: source.nbytes for name, source in sources.items()}
    shards = plan_shards(sizes, max_shard_bytes)
    total = sum(sizes.values())
    with (
        _new_folder(folder) as new,
        progress_bar(total, f"writing {folder.name}", "B", progress, True) as bar,
    ):
        (new / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for file in companions:
            require_file(file)
            shutil.copyfile(file, new / file.name)
        weight_map: dict[str, str] = {}
        for number, names in enumerate(shards, 1):
            single = len(shards) == 1
            shard = SINGLE_NAME if single else f"model-{number:05}-of-{len(shards):05}.safetensors"
            weight_map |= dict.fromkeys(names, shard)
            # Without this note transformers refuses the file.
            write_safetensors(new / shard, [_counted(sources[name], bar) for name in names], {"format": "pt"})
        if len(shards) > 1:
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (new / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        check()


def write_random_checkpoint(
    config: Config,
    folder: str | Path,
    *,
    seed: int = 0,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: bool | None = None,
) -> None:
    """Write a checkpoint of random weights, for tests and measurements at true size.

    Matrices are normal with deviation 0.02, norm weights the same around one. No value is subnormal: those
    can be slow to compute with, which trained weights are not.

    Parameters
    ----------
    config : Config
        Any model.
    folder, max_shard_bytes, progress
        As for :func:`write_checkpoint`.
    seed : int
        Not negative. One seed gives the same weights however they are divided among files.
    dtype : str, optional
        "bfloat16", "float16" or "float32"; by default the config's ``torch_dtype``.
    """
    config = replace(config, torch_dtype=dtype or config.torch_dtype)
    stored = format_name(config.torch_dtype)
    sources = [
        TensorSource(
            name, stored, shape, _random_chunks(np.random.default_rng([seed, number]), stored, shape)
        )
        for number, (name, shape) in enumerate(config.parameter_shapes().items())
    ]
    write_checkpoint(config, folder, sources, max_shard_bytes=max_shard_bytes, progress=progress)


def _random_chunks(generator: np.random.Generator, stored: str, shape: tuple[int, ...]) -> Iterator[Array]:
    for start in range(0, prod(shape), _CHUNK_ELEMENTS):
        count = min(_CHUNK_ELEMENTS, prod(shape) - start)
        values = generator.standard_normal(count, dtype=np.float32) * np.float32(0.02)
        if len(shape) == 1:
            values += 1
        values[np.abs(values) < _SMALLEST_NORMAL] = 0
        yield values.astype(DTYPES[stored])


def _counted(source: TensorSource, bar: ProgressBar) -> TensorSource:
    def chunks() -> Iterator[Array]:
        for chunk in source.chunks:
            yield chunk
            bar.update(chunk.nbytes)

    return source._replace(chunks=chunks())


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` on success and vanishes on failure, Ctrl-C included."""
    folder = resolved(folder)  # through a link, as if it were what it leads to
    _require_room(folder)
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"{folder.parent}: no such folder; make it first")
    with temporary_beside(folder, folder=True) as temporary:
        yield temporary
        try:
            if folder.exists():
                folder.rmdir()  # Windows does not rename onto a folder, not even an empty one
            temporary.rename(folder)
        except OSError:
            _require_room(folder)  # another writer may have been faster
            raise


def _require_room(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder}: exists and is not an empty folder; remove it or choose another name"
        )
