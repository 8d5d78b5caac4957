"""Mistakes in ops."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/ops.py",
        "np.sqrt(D, dtype=q.dtype)",
        "np.sqrt(D + 1, dtype=q.dtype)",
        "tests/unit/test_ops.py::test_attention_is_grouped_in_neighbours",
    ),
    Mutation(
        "minidecilm/ops.py",
        "np.where(total > 0, total, 1)",
        "total",
        "tests/unit/test_ops.py::test_attention_is_grouped_in_neighbours",
    ),
    Mutation(
        "minidecilm/ops.py",
        "np.where(gate >= 0, 1, decay)",
        "np.where(gate >= 0, decay, 1)",
        "tests/unit/test_ops.py::test_swiglu_has_no_overflow_and_is_exact",
    ),
    Mutation(
        "minidecilm/ops.py",
        "second * cos + first * sin",
        "second * cos - first * sin",
        "tests/unit/test_ops.py::test_rotate_pairs_the_halves",
    ),
    Mutation(
        "minidecilm/ops.py",
        "step = max(1, _TILE // weight.shape[1])",
        "step = _TILE",
        "tests/unit/test_ops.py::test_linear_never_widens_the_whole_weight",
    ),
    Mutation(
        "minidecilm/ops.py",
        "step = max(1, _SCORES // (B * H * S))",
        "step = max(1, _SCORES // (B * H))",
        "tests/unit/test_ops.py::test_attention_never_holds_all_scores",
    ),
    Mutation("minidecilm/ops.py", "keepdims=True) + eps)", "keepdims=True)) + eps", "tests/test_golden.py"),
    Mutation(
        "minidecilm/ops.py",
        "np.promote_types(x.dtype, np.float32)",
        "x.dtype",
        "tests/unit/test_ops.py::test_rms_norm_casts_before_the_weight",
    ),
    Mutation(
        "minidecilm/ops.py",
        "np.asarray(weight[ids], dtype)",
        "np.asarray(weight[ids])",
        "tests/unit/test_ops.py::test_embedding_comes_in_the_compute_dtype",
    ),
    Mutation(
        "minidecilm/ops.py",
        "slots <= slots[-self.new :, None]",
        "slots < slots[-self.new :, None]",
        "tests/unit/test_rope_policies.py::test_every_row_follows_the_definition",
    ),
]
