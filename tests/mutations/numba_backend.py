"""Mistakes in the kernels of the Numba backend."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/backends/numba_backend/elementwise.py",
        "for i in range(whole, len(x)):",
        "for i in range(whole + 1, len(x)):",
        "tests/backends/test_elementwise.py::test_rms_norm[numba-explicit]",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/elementwise.py",
        "if whole < stop:",
        "if whole + 1 < stop:",
        "tests/backends/test_elementwise.py::test_swiglu[numba-explicit]",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/elementwise.py",
        "prange((len(gate) + _PIECE - 1) // _PIECE)",
        "prange(max(1, len(gate) // _PIECE))",
        "tests/backends/test_elementwise.py::test_swiglu[numba-explicit]",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/vectors.py",
        "_EXP_TERMS = (1.381454e-3, 8.368745e-3,",
        "_EXP_TERMS = (8.368745e-3,",
        "tests/backends/test_elementwise.py::test_the_exponential_is_right_to_2e_7",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/vectors.py",
        "_EXP_TERMS = (1.381454e-3, 8.368745e-3,",
        "_EXP_TERMS = (1 / 720, 1 / 120,",
        "tests/backends/test_elementwise.py::test_the_exponential_is_right_to_2e_7",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/vectors.py",
        "lowest = _constant(-87.0)",
        "lowest = _constant(-80.0)",
        "tests/backends/test_elementwise.py::test_the_exponential_is_right_to_2e_7",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/portable_linear.py",
        "for token in range(len(x)):\n            total",
        "for token in range(len(x) - 1):\n            total",
        "tests/backends/test_linear.py::test_stored",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/threads.py",
        "with _lock:\n            return",
        "if True:\n            return",
        "tests/backends/test_network.py::test_a_threading_layer_that_allows_one_call_at_a_time",
    ),
]
