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
        "pieces = (len(gate) + _PIECE - 1) // _PIECE",
        "pieces = max(1, len(gate) // _PIECE)",
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
        "lowest = constant(-87.0)",
        "lowest = constant(-80.0)",
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
    Mutation(
        "minidecilm/backends/numba_backend/elementwise.py",
        "second * cos[i] + first * sin[i]",
        "second * cos[i] - first * sin[i]",
        "tests/backends/test_elementwise.py::test_rotate[numba-explicit]",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/elementwise.py",
        "_rotate_row(x[row], cos[row], sin[row], turned[row])\n    else:",
        "_rotate_row(x[row], cos[0], sin[0], turned[row])\n    else:",
        "tests/backends/test_elementwise.py::test_rotate[numba-explicit]",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/linear.py",
        "x = x.astype(BFLOAT16)\n",
        "x = x.astype(np.float16)\n",
        "tests/backends/test_linear.py::test_activations_rounded_to_bfloat16",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/linear.py",
        "for row in range(start + side * length, stop):",
        "for row in range(start + side * length + 1, stop):",
        "tests/backends/test_linear.py::test_stored",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/linear.py",
        "token, soon = token + 2, 0",
        "token, soon = token + 3, 0",
        "tests/backends/test_linear.py::test_stored",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/linear.py",
        "length = (stop - start + side - 1) // side",
        "length = (stop - start) // side",
        "tests/backends/test_linear.py::test_result_does_not_depend_on_how_weights_are_read",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/linear.py",
        "taken = min(panel + stream * length, last)",
        "taken = panel + stream * length",
        "tests/backends/test_linear.py::test_result_does_not_depend_on_how_weights_are_read",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/tiles.py",
        'code["step"])), code["last"])',
        'code["step"])), code["first"])',
        "tests/backends/test_linear.py::test_result_does_not_depend_on_how_weights_are_read",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/__init__.py",
        "weights}) > 1:",
        "weights}) > 9:",
        "tests/backends/test_linear.py::test_products_in_one_go_are_those_of_each_weight",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/choosing.py",
        "key=seconds.__getitem__",
        "key=lambda choice: -seconds[choice]",
        "tests/backends/test_choosing.py",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/choosing.py",
        "nbytes < _LEAST",
        "nbytes < 0",
        "tests/backends/test_choosing.py",
    ),
    Mutation(
        "minidecilm/backends/numba_backend/choosing.py",
        "if choice in CANDIDATES}",
        "}",
        "tests/backends/test_choosing.py",
    ),
]
