"""Mistakes in files of caches."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/weights/cache_file.py",
        "if not np.isfinite(array).all():",
        "if np.isinf(array).any():",
        "tests/unit/test_cache.py::test_a_damaged_cache_is_refused_in_one_line",
    ),
    Mutation(
        "minidecilm/weights/cache_file.py",
        "not 0 <= unscaled <= S",
        "not 0 <= unscaled",
        "tests/unit/test_cache.py::test_a_damaged_cache_is_refused_in_one_line",
    ),
    Mutation(
        "minidecilm/weights/cache_file.py",
        "if array.shape != shape or",
        "if array.ndim != 4 or",
        "tests/unit/test_cache.py::test_a_damaged_cache_is_refused_in_one_line",
    ),
    Mutation(
        "minidecilm/weights/cache_file.py",
        "if tensors.keys() != heads.keys():",
        "if False:",
        "tests/unit/test_cache.py::test_a_damaged_cache_is_refused_in_one_line",
    ),
    Mutation(
        "minidecilm/weights/cache_file.py",
        "or real.max() > 1:",
        "or False:",
        "tests/unit/test_cache.py::test_a_damaged_cache_is_refused_in_one_line",
    ),
    Mutation(
        "minidecilm/weights/cache_file.py",
        "        if found != expected:\n",
        "        if False:\n",
        "tests/unit/test_cache.py::test_a_cache_of_another_model_is_refused_by_what_differs",
    ),
    Mutation(
        "minidecilm/weights/cache_file.py",
        "stored.planned_lengths.tolist()",
        "[int(max(stored.planned_lengths))] * B",
        "tests/unit/test_cache.py::test_a_saved_cache_goes_on_bit_for_bit",
    ),
]
