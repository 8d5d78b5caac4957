"""Mistakes in rope."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/rope.py",
        "/ config.max_position_embeddings - (s - 1), 1.0)",
        "/ config.max_position_embeddings - s, 1.0)",
        "tests/unit/test_rope.py::test_base_of_decilm_6b",
    ),
    Mutation(
        "minidecilm/rope.py",
        "stretch ** (D / (D - 2))",
        "stretch ** (D / (D - 1))",
        "tests/unit/test_rope.py::test_base_of_decilm_6b",
    ),
    Mutation(
        "minidecilm/rope.py",
        "slots[:, -T:] + 1, config",
        "slots[:, -T:], config",
        "tests/unit/test_rope_policies.py::test_every_row_follows_the_definition",
    ),
    Mutation(
        "minidecilm/rope.py",
        "np.any(bases[:, 1:] != bases[:, :-1], axis=0)",
        "bases[0, 1:] != bases[0, :-1]",
        "tests/unit/test_rope_policies.py::test_every_row_follows_the_definition",
    ),
    Mutation(
        "minidecilm/rope.py",
        "rotary_table(slots, bases[:, start],",
        "rotary_table(slots, bases[:1, start],",
        "tests/unit/test_rope_policies.py::test_every_row_follows_the_definition",
    ),
    Mutation(
        "minidecilm/rope.py",
        "(angles > trained)",
        "(angles >= trained)",
        "tests/unit/test_rope.py::test_unseen_angles_begin_after_the_last_position_of_training",
    ),
    Mutation(
        "minidecilm/rope.py",
        "np.arange(0, head_dim, 2) / head_dim",
        "np.arange(0, head_dim, 2) / (head_dim - 2)",
        "tests/unit/test_rope.py::test_inverse_frequencies_span_one_to_the_base",
    ),
]
