"""Mistakes in what the host does for the CUDA kernels."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/backends/cupy_backend/decoding.py",
        "if self.known != (cache.length, cache.trims):",
        "if self.length < 0:",
        "tests/backends/test_cupy.py::test_steps_calls_and_caches_may_alternate",
    ),
    Mutation(
        "minidecilm/backends/cupy_backend/decoding.py",
        "return self.logits[:, None].copy()",
        "return self.logits[:, None]",
        "tests/backends/test_cupy.py::test_logits_outlive_the_next_step",
    ),
    Mutation(
        "minidecilm/backends/cupy_backend/launches.py",
        "head = embedding if config.tie_word_embeddings else",
        "head = embedding if not config.tie_word_embeddings else",
        "tests/backends/test_cupy.py::test_tied_head_and_odd_sizes",
    ),
    Mutation(
        "minidecilm/cache.py",
        "        self.trims += 1",
        "        self.trims += 0",
        "tests/backends/test_cupy.py::test_a_recorded_step_sees_that_slots_were_forgotten",
    ),
]
