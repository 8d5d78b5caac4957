"""Rounding of another CPU, and more of it: no text or picture may hang by the last bits."""

from dataclasses import replace

import numpy as np

from minidecilm.model import DeciLM

#: Standard deviation of the noise, in units of rounding. Summing in another order moves results by about one.
UNITS = 10


def shake(seed=0):
    """Let every network made from now on compute its matrix products with noise; return how to end that."""
    noise, init = np.random.default_rng(seed), DeciLM.__init__

    def shaken_init(self, config, weights, backend, *arguments, **options):
        def linear(x, weight):
            y = backend.linear(x, weight)
            return y * (1 + UNITS * np.finfo(y.dtype).eps * noise.standard_normal(y.shape)).astype(y.dtype)

        init(self, config, weights, replace(backend, linear=linear), *arguments, **options)

    DeciLM.__init__ = shaken_init

    def still():
        DeciLM.__init__ = init

    return still
