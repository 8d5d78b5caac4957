"""Rounding of another CPU, and more of it: no text or picture may hang by the last bits."""

from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import numpy as np

from minidecilm.model import DeciLM

#: Standard deviation of the noise, in units of rounding, as a share of a product's root mean square. Products
#: of the demo model err by 2.3 units, with OpenBLAS and with Numba.
UNITS = 20


@contextmanager
def shaken(seed):
    """Let networks that are made meanwhile compute their products with noise, the same for a shape."""
    init = DeciLM.__init__

    def shaken_init(self, config, weights, backend, *arguments, **options):
        def linear(x, weight):
            y = backend.linear(x, weight)
            noise = np.random.default_rng([seed, *y.shape]).standard_normal(y.shape)
            return y + (UNITS * np.finfo(y.dtype).eps * np.sqrt(np.mean(y**2)) * noise).astype(y.dtype)

        init(self, config, weights, replace(backend, linear=linear), *arguments, **options)

    with mock.patch.object(DeciLM, "__init__", shaken_init):
        yield
