"""Run by test_network.py with NUMBA_DISABLE_JIT=1: a small network and packed products, uncompiled."""

import numpy as np

from minidecilm import ops
from minidecilm.backends import create_backend
from minidecilm.config import Config, LayerConfig
from minidecilm.model import DeciLM
from tests.backends.test_linear import assert_product, packed_weight, random_x, rounded


def main():
    backend = create_backend("numba")
    config = Config(11, 8, 4, 2, (LayerConfig(2, 12), LayerConfig(1, 12)), 16)
    generator = np.random.default_rng(0)
    weights = {
        name: generator.standard_normal(shape, np.float32)
        for name, shape in config.parameter_shapes().items()
    }
    ids = [[1, 5, 9, 2], [3, 3, 0, 7]]
    expected = DeciLM(config, weights, create_backend("numpy"), "float64")(ids)
    np.testing.assert_allclose(DeciLM(config, weights, backend)(ids), expected, atol=1e-4)
    x = random_x(2, 50)
    for bits in (8, 4):
        weight = packed_weight((5, 50), bits, 32)
        assert_product(backend.linear(x, weight), rounded(x, 32), weight[:])
    np.testing.assert_allclose(backend.swiglu(x, x), ops.swiglu(x, x), rtol=1e-6)
    print(backend.kernels)


if __name__ == "__main__":
    main()
