"""Mistakes in observe."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/observe.py",
        "on_host(value).copy()",
        "on_host(value)",
        "tests/unit/test_observe.py::test_a_recorder_keeps_copies",
    ),
    Mutation(
        "minidecilm/model.py",
        'if "attention_weights" in see.stages:',
        "if see.stages:",
        "tests/unit/test_observe.py::test_attention_weights_are_computed_for_those_who_ask_only",
    ),
    Mutation(
        "minidecilm/observe.py",
        "np.log2(p,",
        "np.log(p,",
        "tests/unit/test_observe.py::test_entropy_counts_the_tokens_looked_at",
    ),
    Mutation(
        "minidecilm/observe.py",
        "weights[..., 1:, 0]",
        "weights[..., 0]",
        "tests/unit/test_observe.py::test_first_token_share_leaves_out_the_query_that_sees_nothing_else",
    ),
    Mutation(
        "minidecilm/observe.py",
        "np.square(values, dtype=np.float64)",
        "np.square(values)",
        "tests/unit/test_observe.py::test_root_mean_square",
    ),
    Mutation(
        "minidecilm/observe.py",
        "sound &= bool(abs(hidden_states).max() < limit)",
        "sound &= True",
        "tests/unit/test_generation.py::test_damaged_weights_are_named_not_sampled",
    ),
    Mutation(
        "minidecilm/observe.py",
        "if what and self.fault is None:",
        "if what:",
        "tests/unit/test_generation.py::test_damaged_weights_are_named_not_sampled",
    ),
]
