"""Run by test_network.py with NUMBA_THREADING_LAYER=workqueue: two threads at once would end the process.

The products are long, so that they would overlap.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numba
import numpy as np

from minidecilm.backends import create_backend


def main():
    backend = create_backend("numba")
    weight, x = np.ones((8192, 512), np.float32), np.ones((8, 512), np.float32)
    together = Barrier(2)

    def multiply(_):
        together.wait()
        for _ in range(100):
            assert np.all(backend.linear(x, weight) == 512)

    backend.linear(x, weight)  # compiled
    sys.setswitchinterval(1e-5)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(multiply, range(2)))
    print(numba.threading_layer())


if __name__ == "__main__":
    main()
