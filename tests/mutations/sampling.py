"""Mistakes in sampling."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/sampling.py",
        "np.where(logits < kth,",
        "np.where(logits <= kth,",
        "tests/unit/test_sampling.py::test_process_matches_transformers",
    ),
    Mutation(
        "minidecilm/sampling.py",
        "np.count_nonzero(below <= 1 - top_p)",
        "np.count_nonzero(below < 1 - top_p)",
        "tests/unit/test_sampling.py::test_process_matches_transformers",
    ),
    Mutation(
        "minidecilm/sampling.py",
        'side="right"',
        'side="left"',
        "tests/unit/test_sampling.py::test_no_draw_chooses_a_removed_token",
    ),
    Mutation(
        "minidecilm/sampling.py",
        "logits / temperature",
        "logits * temperature",
        "tests/unit/test_sampling.py::test_process_matches_transformers",
    ),
    Mutation(
        "minidecilm/sampling.py",
        "    scores = apply_repetition_penalty(scores, token_ids, options.repetition_penalty)\n    if",
        "    if",
        "tests/unit/test_sampling.py::test_greedy_takes_the_first_best_token_after_the_penalty",
    ),
    Mutation(
        "minidecilm/sampling.py",
        "scores[tied[: count",
        "scores[tied[::-1][: count",
        "tests/unit/test_sampling.py::test_process_matches_transformers",
    ),
    Mutation(
        "minidecilm/sampling.py",
        "rng.random() * cumulative[-1]",
        "rng.random() * (cumulative[-1] - 0.1)",
        "tests/unit/test_sampling.py::test_tokens_follow_the_distribution",
    ),
]
