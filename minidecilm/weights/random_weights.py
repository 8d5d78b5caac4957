"""Random weights of any model, to measure speed at true size: in memory within seconds, or in a folder."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from minidecilm.config import FLOAT_BYTES, Config
from minidecilm.ops import Array
from minidecilm.progress import progress_bar
from minidecilm.weights.checkpoint_writer import MAX_SHARD_BYTES, write_checkpoint
from minidecilm.weights.packed import BFLOAT16, CODE_DTYPES, PANEL, PackedWeight, Weight, packed_shapes
from minidecilm.weights.safetensors_file import DTYPES, TensorSource, format_name
from minidecilm.weights.scheme import BITS, Scheme, check_weights

# The weights are this many values over and over: 16 MB of bfloat16. A prime, so that the rows of no matrix
# repeat in step with it.
_BLOCK_VALUES = 8_388_593
_CHUNK_VALUES = 1 << 20  # written to a file at a time
_DEVIATION = 0.02

# Smaller values become 0: subnormal ones are slow to compute with, which trained weights are not. That of
# float16, the narrowest dtype, so that one seed gives every dtype the same zeros.
_SMALLEST_NORMAL = 2.0**-14


def random_weights(config: Config, storage: str, progress: bool | None = None) -> dict[str, Weight]:
    """Make weights that compute as fast as real ones and mean nothing.

    Parameters
    ----------
    config : Config
    storage : str
        "float64", "float32", "bfloat16" or "float16"; "int8" or "int4" for packed matrices.
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal if it takes over a second.

    Returns
    -------
    dict of str to array or PackedWeight
        Named and shaped as ``config.parameter_shapes()``. Matrices have deviation 0.02, norms are near one;
        no value is NaN or subnormal.

    Raises
    ------
    ValueError
        For any other storage.

    Examples
    --------
    >>> from minidecilm.config import LayerConfig
    >>> config = Config(32, 8, 2, 4, (LayerConfig(2, 16), LayerConfig(1, 16)), 64)
    >>> weights = random_weights(config, "bfloat16")
    >>> sum(weight.nbytes for weight in weights.values()) == 2 * config.num_parameters
    True
    """
    check_weights(storage, (*FLOAT_BYTES, *BITS))
    generator = np.random.default_rng(0)
    count = min(_BLOCK_VALUES, config.num_parameters)
    scheme = Scheme(storage) if storage in BITS else None
    floats = _Repeated(_normal(generator, count).astype(config.torch_dtype if scheme else storage))
    codes = {bits: _Repeated(_random_codes(generator, count, bits)) for bits in CODE_DTYPES if scheme}
    weights: dict[str, Weight] = {}
    with progress_bar(config.num_parameters, f"random {storage} weights", "weight", progress, True) as bar:
        for name, shape in config.parameter_shapes().items():
            bits = scheme.bits(name, shape) if scheme else None
            if scheme and bits:
                weights[name] = _packed(codes[bits], bits, shape, scheme.group)
            else:
                array = floats.take(shape)
                weights[name] = array + array.dtype.type(1) if len(shape) == 1 else array
            bar.update(prod(shape))
    return weights


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
    folder, max_shard_bytes, progress
        As for :func:`minidecilm.weights.checkpoint_writer.write_checkpoint`.
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
    for start in range(0, prod(shape), _CHUNK_VALUES):
        count = min(_CHUNK_VALUES, prod(shape) - start)
        yield _normal(generator, count, mean=1.0 if len(shape) == 1 else 0.0).astype(DTYPES[stored])


def _normal(generator: np.random.Generator, count: int, mean: float = 0) -> Array:
    values = generator.standard_normal(count, np.float32) * np.float32(_DEVIATION) + np.float32(mean)
    values[np.abs(values) < _SMALLEST_NORMAL] = 0
    return values


class _Repeated:
    """A block of values to be handed out over and over, each part beginning where the last ended."""

    def __init__(self, block: Array) -> None:
        self._dtype = block.dtype
        self._block = block.view(f"u{block.itemsize}")  # plain integers copy fastest
        self._at = 0

    def take(self, shape: tuple[int, ...]) -> Array:
        """Return a new array of the block's dtype."""
        array = np.empty(prod(shape), self._block.dtype)
        done = 0
        while done < len(array):
            part = self._block[self._at : self._at + len(array) - done]
            array[done : done + len(part)] = part
            done += len(part)
            self._at = (self._at + len(part)) % len(self._block)
        return array.view(self._dtype).reshape(shape)


def _random_codes(generator: np.random.Generator, count: int, bits: int) -> Array:
    low, high = (-127, 128) if bits == 8 else (0, 256)  # two codes of 4 bits, each plus 8, fill a byte
    return generator.integers(low, high, count, CODE_DTYPES[bits])


def _packed(codes: _Repeated, bits: int, shape: tuple[int, ...], group: int) -> PackedWeight:
    """Make a new matrix of these codes. One of odd size has padding, which must be 0, so it is packed."""
    rows, columns = shape
    code_shape, scale_shape = packed_shapes(shape, bits, group)
    scale = _DEVIATION / (4**bits / 12) ** 0.5  # that of codes which are all equally likely
    if rows % PANEL == 0 and columns % 8 == 0:
        scales = np.full(scale_shape, scale, BFLOAT16)
        return PackedWeight(codes.take(code_shape), scales, (rows, columns), group)
    narrow = codes.take(shape).view(np.int8) >> np.int8(8 - bits)
    return PackedWeight.from_codes(narrow, np.full((rows, scale_shape[1]), scale), bits, group)
