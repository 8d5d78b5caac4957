"""A model and its adapter as one model: a folder in the published layout, written a block at a time."""

from collections.abc import Iterable
from pathlib import Path

from minidecilm.weights.adapted import AdaptedWeight, with_adapter
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.checkpoint_writer import MAX_SHARD_BYTES, companions_of, write_checkpoint
from minidecilm.weights.quantize import stored_source
from minidecilm.weights.safetensors_file import TensorSource, format_name


def merge_checkpoint(
    source: str | Path,
    adapter: str | Path,
    folder: str | Path,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    ignore_config_keys: Iterable[str] = (),
    progress: bool | None = None,
) -> None:
    """Merge an adapter into a checkpoint folder's weights, and write a new folder.

    Weights keep the dtype they are stored in; sums are float64 and rounded once. Memory stays at a few blocks
    and the adapter. Tokenizer and licence files come along.

    Parameters
    ----------
    source : str or Path
        A folder in Hugging Face layout, whose weights are floats.
    adapter : str or Path
        As for :func:`minidecilm.weights.adapters.read_adapter`.
    ignore_config_keys : iterable of str
        As for :func:`minidecilm.load`.
    folder, max_shard_bytes, progress
        As for :func:`minidecilm.weights.checkpoint_writer.write_checkpoint`.

    Raises
    ------
    CheckpointError, ConfigError
        If `source` is no checkpoint or is quantised, or the adapter does not fit it.
    FileExistsError
        If `folder` exists and is not empty.
    """
    checkpoint = open_checkpoint(source, ignore_config_keys=ignore_config_keys)
    config, weights = with_adapter(checkpoint.config, checkpoint.float_tensors(), adapter)
    write_checkpoint(
        config,
        folder,
        [
            TensorSource(name, format_name(weight.dtype), weight.shape, weight.blocks(weight.dtype))
            if isinstance(weight, AdaptedWeight)
            else stored_source(name, weight, f"{source}: tensor {name}")
            for name, weight in weights.items()
        ],
        companions=companions_of(checkpoint.folder),
        check=checkpoint.check_unchanged,
        max_shard_bytes=max_shard_bytes,
        progress=progress,
    )
