"""Mistakes in checkpoint."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "if array.shape != shape:",
        "if sorted(array.shape) != sorted(shape):",
        "tests/unit/test_checkpoint.py::test_a_transposed_tensor",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "if array.dtype not in dtypes:",
        "if False:",
        "tests/unit/test_checkpoint.py::test_quantised_weights",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "for name, file in (weight_map or {}).items():",
        "for name, file in {}.items():",
        "tests/unit/test_checkpoint.py::test_a_tensor_that_is_not_where_the_index_says",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "weight_map is not None and weight_map.get(name) != path.name",
        "False",
        "tests/unit/test_checkpoint.py::test_a_tensor_that_the_index_does_not_know",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "[\\w+ -][\\w.+ -]{0,200}",
        "[\\w/.+ -]{1,200}",
        "tests/unit/test_malformed.py",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "single.exists() and SINGLE_NAME not in weight_map.values()",
        "False",
        "tests/unit/test_checkpoint.py::test_a_single_file_beside_shards",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "    missing = [name for name in expected if name not in tensors]",
        "    missing = []",
        "tests/unit/test_checkpoint.py::test_a_missing_tensor",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        'return f".{name}".endswith(_SKIPPED)',
        "return False",
        "tests/unit/test_checkpoint.py::test_rotary_frequencies_of_older_copies_are_skipped",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "    config = _add_ends(config",
        "    _add_ends(config",
        "tests/unit/test_checkpoint.py",
    ),
]
