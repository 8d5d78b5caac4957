"""Mistakes in model."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/model.py",
        "planned_lengths=real.sum(axis=1)",
        "planned_lengths=ids.shape[1]",
        "tests/unit/test_rope_policies.py::test_fixed_without_a_cache_plans_each_rows_own_length",
    ),
    Mutation(
        "minidecilm/model.py",
        "np.any(window.row_lengths > cache.planned_lengths)",
        "window.row_lengths[0] > cache.planned_lengths[0]",
        "tests/unit/test_rope_policies.py::test_fixed_refuses_one_row_that_outgrows_its_plan",
    ),
    Mutation(
        "minidecilm/model.py",
        "np.any(window.row_lengths > cache",
        "np.any(window.row_lengths >= cache",
        "tests/unit/test_rope_policies.py::test_fixed_refuses_one_row_that_outgrows_its_plan",
    ),
    Mutation(
        "minidecilm/model.py",
        "x = x[:, -1:] if last_only else x",
        "x = x[:, :1] if last_only else x",
        "tests/unit/test_model.py::test_last_only_is_the_last_row",
    ),
    Mutation(
        "minidecilm/model.py",
        "        ids = np.where(real, ids, 0)\n",
        "",
        "tests/unit/test_model.py::test_ids_on_padding_are_not_looked_at",
    ),
    Mutation(
        "minidecilm/rope.py",
        "slice(past + start, past + end)",
        "slice(start, end)",
        "tests/unit/test_rope_policies.py::test_every_row_follows_the_definition",
    ),
    Mutation(
        "minidecilm/model.py",
        'dtype if kv_cache == "compute" else kv_cache',
        "dtype",
        "tests/unit/test_cache.py::test_keys_and_values_are_stored_as_asked",
    ),
    Mutation(
        "minidecilm/model.py",
        '        x = x + down\n        see(layer, "hidden_states", x)',
        '        see(layer, "hidden_states", x)\n        x = x + down',
        "tests/test_golden.py",
    ),
    Mutation(
        "minidecilm/model.py",
        "np.concatenate(weights, axis=2)",
        "weights[0]",
        "tests/unit/test_model.py::test_every_stage_is_shown_in_its_shape",
    ),
    Mutation(
        "minidecilm/model.py",
        "elif cache.rope_policy != self.rope_policy:",
        "elif False:",
        "tests/unit/test_cache.py::test_a_cache_of_another_policy_is_refused",
    ),
]
