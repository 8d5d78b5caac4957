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
    Mutation(
        "minidecilm/cache.py",
        "copy.fill(self.past_mask()[sources], arrays",
        "copy.fill(np.ones_like(self.past_mask()[sources]), arrays",
        "tests/test_golden.py::test_reference",
    ),
    Mutation(
        "minidecilm/cache.py",
        "        return copy\n",
        "        copy.keys, copy.values = self.keys, self.values\n        return copy\n",
        "tests/test_golden.py::test_reference",
    ),
    Mutation(
        "minidecilm/cache.py",
        "array[sources, :, : self.length] for",
        "array[[0] * len(sources), :, : self.length] for",
        "tests/test_golden.py::test_reference",
    ),
    Mutation(
        "minidecilm/cache.py",
        "arrays, self._unscaled)\n        return",
        "arrays, self.length)\n        return",
        "tests/unit/test_cache.py::test_reference_refuses_to_trim_what_a_call_beyond_the_context_stored",
    ),
    Mutation(
        "minidecilm/cache.py",
        "planned = self.planned_lengths[sources]",
        "planned = self.planned_lengths[:1]",
        "tests/unit/test_cache.py::test_a_fork_keeps_each_rows_plan_and_base",
    ),
    Mutation(
        "minidecilm/cache.py",
        "        self.row_lengths = self.past_mask().sum(axis=1)\n",
        "",
        "tests/test_golden.py::test_reference",
    ),
    Mutation(
        "minidecilm/cache.py",
        "        self.row_lengths = self.past_mask().sum(axis=1)\n",
        "        self.row_lengths = np.full(self.batch_size, length)\n",
        "tests/test_golden.py::test_reference",
    ),
    Mutation(
        "minidecilm/cache.py",
        'if self.rope_policy == "reference" and self._unscaled',
        "if False and self._unscaled",
        "tests/unit/test_cache.py::test_reference_refuses_to_trim_what_a_call_beyond_the_context_stored",
    ),
    Mutation(
        "minidecilm/cache.py",
        'if self.rope_policy == "reference" and self._unscaled',
        "if self._unscaled",
        "tests/unit/test_cache.py::test_trim_is_right_where_it_is_allowed",
    ),
    Mutation(
        "minidecilm/cache.py",
        "        self._unscaled = min(self._unscaled, length)\n",
        "",
        "tests/unit/test_cache.py::test_a_call_beyond_the_context_is_remembered_after_going_back",
    ),
    Mutation(
        "minidecilm/cache.py",
        "        if np.all(rope_base == self._config.rope_theta):",
        "        if True:",
        "tests/unit/test_cache.py::test_reference_refuses_to_trim_what_a_call_beyond_the_context_stored",
    ),
    Mutation(
        "minidecilm/cache.py",
        "        self._unscaled = unscaled\n",
        "",
        "tests/unit/test_cache.py::test_a_saved_cache_goes_on_bit_for_bit",
    ),
]
