"""Writing a checkpoint folder: the published layout and sharding, streamed."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minidecilm.config import Config
from minidecilm.files import require_file, resolved, temporary_beside
from minidecilm.ops import Array
from minidecilm.progress import ProgressBar, progress_bar
from minidecilm.weights.safetensors_file import TensorSource, write_safetensors
from minidecilm.weights.scheme import Scheme, tensors_in_files

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
MAX_SHARD_BYTES = 5_000_000_000  # decimal, as DeciLM was published

LICENCES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "Notice", "NOTICE")

# What belongs to a model beside its weights, whatever these are stored as.
_COMPANIONS = (
    *("tokenizer.model", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"),
    *("added_tokens.json", "chat_template.jinja", "generation_config.json"),
    *LICENCES,
)


def companions_of(folder: Path, names: Iterable[str] = _COMPANIONS) -> list[Path]:
    """Find the files that go where a model goes: tokenizer, generation settings, licence."""
    return [file for name in names if (file := folder / name).exists()]


def plan_shards(sizes: Mapping[str, int], max_shard_bytes: int = MAX_SHARD_BYTES) -> list[list[str]]:
    """Divide tensors among files in their order: a file ends before the tensor that would pass the limit.

    `sizes` has the bytes of every tensor. Only one larger than the limit gets a larger file, of its own.

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
    scheme: Scheme | None = None,
    values: Mapping[str, Any] | None = None,
    companions: Iterable[Path] = (),
    check: Callable[[], None] = lambda: None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: bool | None = None,
) -> None:
    """Write a checkpoint in the published layout; memory stays at one chunk of one tensor.

    Parameters
    ----------
    config : Config
        Becomes config.json, unless `values` do.
    folder : str or Path
        To be created; it appears when it is complete. An empty folder may be there.
    tensors : iterable of TensorSource
        Exactly the names and shapes of ``config.parameter_shapes()``, packed as `scheme` says.
    scheme : Scheme, optional
        Which weights are packed; None if all are floats.
    values : mapping of str to value, optional
        What config.json says of that config; None for ``config.to_dict()``, the form DeciLM was published in.
    companions : iterable of Path
        Files that are copied, the tokenizer's for instance.
    check : callable
        Is called when all is written; what it raises keeps the folder from appearing.
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
    folder = Path(folder)
    sources = {source.name: source for source in tensors}
    shapes = {name: shape for name, (shape, _) in tensors_in_files(config.parameter_shapes(), scheme).items()}
    if {name: source.shape for name, source in sources.items()} != shapes:
        raise ValueError("tensors: expected the names and shapes of config.parameter_shapes()")
    values = dict(config.to_dict() if values is None else values)
    if scheme is not None:
        values["quantization_config"] = scheme.to_dict(config.tie_word_embeddings)
    sizes = {name: sources[name].nbytes for name in shapes}
    shards = plan_shards(sizes, max_shard_bytes)
    total = sum(sizes.values())
    with (
        new_folder(folder, companions, check) as new,
        progress_bar(total, f"writing {folder.name}", "B", progress, True) as bar,
    ):
        (new / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
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


def _counted(source: TensorSource, bar: ProgressBar) -> TensorSource:
    def chunks() -> Iterator[Array]:
        for chunk in source.chunks:
            yield chunk
            bar.update(chunk.nbytes)

    return source._replace(chunks=chunks())


@contextmanager
def new_folder(
    folder: Path, companions: Iterable[Path], check: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` on success and vanishes on failure, Ctrl-C included.

    The companions are copied to it first, and at the end `check` is called.
    """
    folder = resolved(folder)  # through a link, as if it were what it leads to
    _require_room(folder)
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"{folder.parent}: no such folder; make it first")
    with temporary_beside(folder, folder=True) as temporary:
        for file in companions:
            require_file(file)
            shutil.copyfile(file, temporary / file.name)
        yield temporary
        check()
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
