"""Mistakes in cache."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/cache.py",
        "row_lengths=self.row_lengths + np.sum(real, axis=1)",
        "row_lengths=self.row_lengths + real.shape[1]",
        "tests/unit/test_rope_policies.py::test_every_row_follows_the_definition",
    ),
    Mutation(
        "minidecilm/cache.py",
        "np.cumsum(real, axis=1) - 1",
        "np.cumsum(real, axis=1)",
        "tests/unit/test_rope_policies.py::test_keys_are_cached_as_the_policy_says",
    ),
    Mutation(
        "minidecilm/cache.py",
        "planned = max_length if planned_lengths is None else planned_lengths",
        "planned = max_length",
        "tests/unit/test_rope_policies.py::test_fixed_takes_the_base_of_each_rows_own_plan",
    ),
    Mutation(
        "minidecilm/cache.py",
        "// self.max_length * self.length",
        "// self.max_length * (self.length + 1)",
        "tests/unit/test_cache.py::test_bytes_are_what_the_formula_says",
    ),
    Mutation(
        "minidecilm/cache.py",
        "if end > self.max_length:",
        "if end >= self.max_length:",
        "tests/unit/test_rope_policies.py::test_every_row_follows_the_definition",
    ),
    Mutation(
        "minidecilm/cache.py",
        "return self.base_at(self.row_lengths)",
        "return self.base_at(np.zeros_like(self.row_lengths))",
        "tests/unit/test_generation.py::test_a_row_that_ends_counts_nowhere_from_then_on",
    ),
]
