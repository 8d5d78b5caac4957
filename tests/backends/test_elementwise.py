"""RMSNorm and SwiGLU of every backend at each position of sizes that no register divides; the exponential."""

import ml_dtypes
import numpy as np
import pytest

from minidecilm import ops
from tests.backends import kernels

#: Around the lanes of every register, and around the elements that a thread takes at a time.
SIZES = (*range(1, 41), 63, 64, 65, 4095, 4096, 4097, 8192, 8205, 12300)


@pytest.fixture(scope="module", params=kernels.NAMES)
def backend(request):
    return kernels.make_on_host(request.param)


def test_swiglu(backend):
    generator = np.random.default_rng(0)
    for size in (*SIZES, 16384, 16385, 20500):  # beyond what one thread does alone
        gate, up = 5 * generator.standard_normal((2, 1, 1, size), np.float32)
        found = backend.swiglu(gate, up)
        assert found.shape == gate.shape
        wide = gate.astype(np.float64)
        np.testing.assert_allclose(found, wide / (1 + np.exp(-wide)) * up, rtol=1e-6, err_msg=f"{size}")


def test_rms_norm(backend):
    """In each row another value says most of its size: none may be left out, wherever it stands."""
    generator = np.random.default_rng(0)
    for size in SIZES:
        places = [*range(min(size, 40)), size - 1]
        x = generator.standard_normal((len(places), size), np.float32)
        x[range(len(places)), places] += 1000
        weight = (1 + np.arange(size) / size).astype(np.float32)
        wide = x.astype(np.float64)
        expected = weight * wide / np.sqrt(np.mean(wide**2, axis=-1, keepdims=True) + 1e-6)
        for rows in (slice(None), slice(1)):
            found = backend.rms_norm(x[rows], weight, 1e-6)
            np.testing.assert_allclose(found, expected[rows], rtol=2e-6, err_msg=f"size {size}")


def test_rotate(backend):
    """Few tokens and many, of several rows; keys as a cache of bfloat16 holds them; against float64."""
    if backend.name == "cupy":
        pytest.skip("NumPy arrays only: the network's own tests cover it")
    generator = np.random.default_rng(0)
    for B, heads, T, D in ((1, 3, 1, 6), (2, 4, 2, 16), (2, 1, 9, 10), (1, 2, 40, 128)):
        x = generator.standard_normal((B, T, heads, D), np.float32).swapaxes(1, 2)
        cos, sin = generator.standard_normal((2, B, 1, T, D // 2), np.float32)
        for cached in (x, x.astype(ml_dtypes.bfloat16)):
            expected = ops.rotate(*(array.astype(np.float64) for array in (cached, cos, sin)))
            np.testing.assert_allclose(backend.rotate(cached, cos, sin), expected, rtol=1e-6, atol=1e-6)


def test_nan_stays_in_its_place(backend):
    """Of SwiGLU; and in its row, of RMSNorm. The last position, in no full register, as any other."""
    for size in (5, 16, 37):
        for place in (0, size - 1):
            x = np.ones((2, size), np.float32)
            x[1, place] = np.nan
            affected = np.zeros((2, size), bool)
            affected[1, place] = True
            for arguments in ((x, np.ones_like(x)), (np.ones_like(x), x)):
                np.testing.assert_array_equal(np.isnan(backend.swiglu(*arguments)), affected)
            affected[1] = True
            found = backend.rms_norm(x, np.ones(size, np.float32), 1e-6)
            np.testing.assert_array_equal(np.isnan(found), affected)


@pytest.fixture(scope="module")
def exponential():
    """Return the exponential of the explicit kernels, of one array: its size a multiple of the lanes."""
    import numba

    kernels.make("numba-explicit")
    from minidecilm.backends.numba_backend import vectors

    @numba.njit
    def fill(x, y):
        for i in range(0, len(x), vectors.LANES):
            vectors.store(y, i, vectors.exp(vectors.load(x, i)))

    def exp(x):
        padded = np.pad(np.asarray(x, np.float32), (0, -len(x) % vectors.LANES))
        y = np.empty_like(padded)
        fill(padded, y)
        return y[: len(x)]

    return exp


def neighbours(values, count=4):
    """Some float32 values, and those next to each on both sides."""
    bits = np.abs(np.asarray(values, np.float32)).view(np.int32)[:, None] + np.arange(-count, count + 1)
    return -np.ravel(bits).astype(np.int32).view(np.float32)


def test_the_exponential_is_right_to_2e_7(exponential):
    """Relative to float64, from 0 to -87; at the ends, and where the power of two that it is of changes."""
    halves = (np.arange(1, 126) + 0.5) * np.log(2)
    x = np.concatenate([np.linspace(-87, 0, 1 << 20, dtype=np.float32), neighbours(halves)])
    x = np.concatenate([x, neighbours(-np.arange(1, 87)), np.float32([-87, 0, -0.0, -1e-45, -1e-30, -1e-7])])
    expected = np.exp(x.astype(np.float64))
    error = np.abs(exponential(x) / expected - 1)
    assert error.max() <= 2e-7, f"{error.max():.3g} at {x[error.argmax()]!r}"


def test_the_exponential_at_its_ends(exponential):
    below = np.nextafter(np.float32(-87), np.float32(-np.inf))
    found = exponential([0.0, -0.0, below, -100.0, -3e38, -np.inf, np.nan])
    np.testing.assert_array_equal(found, [1, 1, 0, 0, 0, 0, np.nan])
