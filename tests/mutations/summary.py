"""Mistakes in what is said of a model, and of two side by side."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/costs/summary.py",
        "8 * model.weight_bytes / config.num_parameters",
        "model.weight_bytes / config.num_parameters",
        "tests/unit/test_summary.py",
    ),
    Mutation(
        "minidecilm/costs/summary.py",
        "past_tokens=_CONTEXT - 1",
        "past_tokens=_CONTEXT",
        "tests/unit/test_summary.py",
    ),
    Mutation(
        "minidecilm/costs/summary.py",
        "size * 10**9 - model.weight_bytes, _CONTEXT",
        "size * 10**9, _CONTEXT",
        "tests/unit/test_summary.py",
    ),
    Mutation(
        "minidecilm/costs/summary.py",
        '"kv_heads": row.kv_heads,',
        '"kv_heads": row.queries_per_kv_head,',
        "tests/unit/test_summary.py",
    ),
    Mutation(
        "minidecilm/costs/summary.py",
        '"theta": config.rope_theta,',
        '"theta": config.rope_factor,',
        "tests/unit/test_summary.py",
    ),
    Mutation(
        "minidecilm/costs/summary.py",
        '"hidden_size": config.hidden_size,',
        '"hidden_size": config.vocab_size,',
        "tests/unit/test_summary.py",
    ),
    Mutation(
        "minidecilm/catalog.py",
        "group = checkpoint.scheme.group if",
        "group = 64 if",
        "tests/unit/test_summary.py",
    ),
    Mutation(
        "minidecilm/cli/info.py",
        "{row['kv_heads']:8d}",
        "{row['queries_per_kv_head']:8d}",
        "tests/unit/test_summary.py",
    ),
    Mutation(
        "minidecilm/cli/info.py",
        "{found['max_position_embeddings']:,} tokens",
        "{found['vocab_size']:,} tokens",
        "tests/unit/test_summary.py",
    ),
    Mutation(
        "minidecilm/cli/info.py",
        "hidden, vocabulary {found['hidden_size']:,}",
        "hidden, vocabulary {found['vocab_size']:,}",
        "tests/unit/test_summary.py",
    ),
]
