"""Mistakes in losses, and in feeding a text in two ways."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/experiments/evaluate.py",
        "found[row] = cross_entropy(",
        "found[start + slot] = cross_entropy(",
        "tests/unit/test_evaluate.py",
    ),
    Mutation(
        "minidecilm/experiments/evaluate.py",
        "logits[slot, T - len(targets) :]",
        "logits[slot, : len(targets)]",
        "tests/unit/test_evaluate.py",
    ),
    Mutation(
        "minidecilm/experiments/evaluate.py",
        "return sum(map(len, self.rows))",
        "return sum(len(row) + 1 for row in self.rows)",
        "tests/unit/test_evaluate.py",
    ),
    Mutation(
        "minidecilm/experiments/evaluate.py",
        "np.concatenate(self.rows).mean()",
        "np.mean([row.mean() for row in self.rows])",
        "tests/unit/test_evaluate.py",
    ),
    Mutation(
        "minidecilm/experiments/evaluate.py",
        "config.max_position_embeddings + 1\n",
        "config.max_position_embeddings\n",
        "tests/unit/test_evaluate.py",
    ),
    Mutation(
        "minidecilm/experiments/evaluate.py",
        "end = lm.config.eos_token_ids[:1]",
        "end = lm.config.eos_token_ids",
        "tests/unit/test_evaluate.py",
    ),
    Mutation(
        "minidecilm/experiments/feeding.py",
        "len(ids), length, planned_lengths=ids.shape[1])",
        "len(ids), length)",
        "tests/unit/test_feeding.py",
    ),
    Mutation(
        "minidecilm/experiments/feeding.py",
        "(np.exp(log_p) * (log_p - log_q))",
        "(np.exp(log_q) * (log_p - log_q))",
        "tests/unit/test_feeding.py",
    ),
    Mutation(
        "minidecilm/experiments/feeding.py",
        ".mean(axis=(0, 2))))",
        ".mean(axis=2)).mean(axis=0))",
        "tests/unit/test_feeding.py",
    ),
    Mutation(
        "minidecilm/experiments/evaluate.py",
        "losses[block] = -log_p[np.arange(len(log_p)), wanted[block]]",
        "losses[block] = -log_p[np.arange(len(log_p)), wanted[: len(log_p)]]",
        "tests/unit/test_evaluate.py",
    ),
    Mutation(
        "minidecilm/experiments/feeding.py",
        "bar.update(length)",
        "bar.update(1)",
        "tests/unit/test_feeding.py",
    ),
    Mutation(
        "minidecilm/experiments/feeding.py",
        "logits[:, position] = on_host(",
        "logits[:1, position] = on_host(",
        "tests/unit/test_feeding.py",
    ),
]
