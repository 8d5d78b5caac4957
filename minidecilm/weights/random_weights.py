"""Random weights of any model, made in memory in seconds: for measuring speed at true size."""

from math import prod

import numpy as np

from minidecilm import costs
from minidecilm.config import Config
from minidecilm.ops import Array
from minidecilm.progress import progress_bar
from minidecilm.weights.packed import BFLOAT16, BITS, CODE_DTYPES, PANEL, PackedWeight, Weight, packed_shapes
from minidecilm.weights.scheme import BITS as PACKED
from minidecilm.weights.scheme import Scheme

# The weights are this many values over and over: 16 MB of bfloat16. A prime, so that the rows of no matrix
# repeat in step with it.
_BLOCK_VALUES = 8_388_593
_DEVIATION = 0.02
_SMALLEST_NORMAL = 2.0**-14  # of float16; smaller values are slow to compute with, which trained ones are not


def random_weights(
    config: Config, storage: str, seed: int = 0, progress: bool | None = None
) -> dict[str, Weight]:
    """Make weights that compute as fast as real ones and mean nothing.

    Parameters
    ----------
    config : Config
        Any model.
    storage : str
        "float64", "float32", "bfloat16" or "float16"; "int8" or "int4" for packed matrices.
    seed : int
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal if it takes over a second.

    Returns
    -------
    dict of str to array or PackedWeight
        Named and shaped as ``config.parameter_shapes()``. Matrices have deviation 0.02, norms are near one;
        no value is NaN or subnormal.

    Examples
    --------
    >>> from minidecilm.config import LayerConfig
    >>> config = Config(32, 8, 2, 4, (LayerConfig(2, 16), LayerConfig(1, 16)), 64)
    >>> weights = random_weights(config, "bfloat16")
    >>> sum(weight.nbytes for weight in weights.values()) == costs.weight_bytes(config, "bfloat16")
    True
    """
    shapes = config.parameter_shapes()
    generator = np.random.default_rng(seed)
    count = min(_BLOCK_VALUES, config.num_parameters)
    values = generator.standard_normal(count, np.float32) * np.float32(_DEVIATION)
    values[np.abs(values) < _SMALLEST_NORMAL] = 0
    scheme = Scheme(storage) if storage in PACKED else None
    floats = _Repeated(values.astype(config.torch_dtype if scheme else storage))
    packed = {bits: _RepeatedCodes(generator, count, bits) for bits in BITS} if scheme else {}
    weights: dict[str, Weight] = {}
    total = costs.weight_bytes(config, storage)
    with progress_bar(total, f"random {storage} weights", "B", progress, True) as bar:
        for name, shape in shapes.items():
            bits = scheme.bits(name, shape) if scheme else None
            if scheme and bits:
                weights[name] = packed[bits].take_packed(shape, scheme.group)
            else:
                array = floats.take(shape)
                weights[name] = array + array.dtype.type(1) if len(shape) == 1 else array
            bar.update(weights[name].nbytes)
    return weights


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


class _RepeatedCodes:
    """The same for packed matrices."""

    def __init__(self, generator: np.random.Generator, count: int, bits: int) -> None:
        low, high = (-127, 128) if bits == 8 else (0, 256)  # two codes of 4 bits, each plus 8, fill a byte
        self._bytes = _Repeated(generator.integers(low, high, count, CODE_DTYPES[bits]))
        self._bits = bits
        self._scale = _DEVIATION / (4**bits / 12) ** 0.5  # that of codes which are all equally likely

    def take_packed(self, shape: tuple[int, ...], group: int) -> PackedWeight:
        """Return a new matrix. One of odd size has padding, which must be 0, so it is packed for real."""
        rows, columns = shape
        code_shape, scale_shape = packed_shapes(shape, self._bits, group)
        if rows % PANEL == 0 and columns % 8 == 0:
            scales = np.full(scale_shape, self._scale, BFLOAT16)
            return PackedWeight(self._bytes.take(code_shape), scales, (rows, columns), group)
        codes = self._bytes.take(shape).view(np.int8) >> np.int8(8 - self._bits)
        scales = np.full((rows, scale_shape[1]), self._scale)
        return PackedWeight.from_codes(codes, scales, self._bits, group)
