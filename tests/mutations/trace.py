"""Mistakes in trace."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/generation.py",
        "np.argsort(-log_p,",
        "np.argsort(log_p,",
        "tests/unit/test_generation.py::test_trace_says_what_every_step_did",
    ),
    Mutation(
        "minidecilm/trace.py",
        "        if reading:\n",
        "        if not reading:\n",
        "tests/unit/test_generation.py::test_totals_tell_reading_from_writing",
    ),
    Mutation(
        "minidecilm/trace.py",
        "_rate(self.written_tokens - self.rows, self.write_seconds)",
        "_rate(self.written_tokens, self.write_seconds)",
        "tests/unit/test_generation.py::test_totals_tell_reading_from_writing",
    ),
    Mutation(
        "minidecilm/observe.py",
        "self.layer_seconds.append(now - self._last)",
        "self.layer_seconds.append(now - self.started)",
        "tests/unit/test_generation.py::test_trace_says_what_every_step_did",
    ),
    Mutation(
        "minidecilm/generation.py",
        "float(log_p[b, t])",
        "float(log_p[0, t])",
        "tests/unit/test_generation.py::test_every_row_of_a_trace_is_that_row",
    ),
    Mutation(
        "minidecilm/trace.py",
        "        self.cache_nbytes = cache_nbytes\n",
        "        self.cache_nbytes += cache_nbytes\n",
        "tests/unit/test_generation.py::test_totals_add_up",
    ),
]
