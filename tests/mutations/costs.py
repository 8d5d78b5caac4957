"""Mistakes in counts of bytes and operations, and in what follows from them."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/costs/forward.py",
        "skipped_positions = new_tokens - 1 if",
        "skipped_positions = new_tokens if",
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/forward.py",
        "new_tokens * (new_tokens + 1) // 2",
        "new_tokens * (new_tokens - 1) // 2",
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/forward.py",
        "if reading >= computing else",
        "if reading > computing else",
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/memory.py",
        "2 * config.head_dim * FLOAT_BYTES",
        "config.head_dim * FLOAT_BYTES",
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/memory.py",
        "return config.with_equal_kv_heads()",
        "return config",
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/memory.py",
        "scheme = Scheme(weights) if",
        'scheme = Scheme("int8") if',
        "tests/unit/test_costs_of_files.py::test_weights_in_memory",
    ),
    Mutation(
        "minidecilm/costs/fits.py",
        "- weight_bytes(config, weights) - reserved_bytes, context",
        "- weight_bytes(config, weights), context",
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/fits.py",
        "free = memory_bytes - weight_bytes(config, weights)",
        "free = memory_bytes - weight_bytes(config)",
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/layers.py",
        "past_tokens + new_tokens, kv_cache)",
        "past_tokens, kv_cache)",
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/layers.py",
        "queries_per_kv_head=heads[index] //",
        "queries_per_kv_head=config.num_attention_heads //",
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/parts.py",
        '"v_proj": "attention k, v"',
        '"v_proj": "attention q, o"',
        "tests/unit/test_costs.py",
    ),
    Mutation(
        "minidecilm/costs/prediction.py",
        '(1 if operation == "head" else new_tokens)',
        "new_tokens",
        "tests/unit/test_prediction.py",
    ),
    Mutation(
        "minidecilm/costs/prediction.py",
        "batch_size, 1, context - 1, weights",
        "batch_size, 1, context, weights",
        "tests/unit/test_prediction.py",
    ),
    Mutation(
        "minidecilm/costs/prediction.py",
        '("attention", kv_cache, cached',
        '("attention", "bfloat16", cached',
        "tests/unit/test_prediction.py",
    ),
    Mutation(
        "minidecilm/costs/prediction.py",
        "yield operation, stored[names[0]].dtype,",
        "yield operation, config.torch_dtype,",
        "tests/unit/test_prediction.py",
    ),
    Mutation(
        "minidecilm/costs/published.py",
        "context, kv_cache=kv_cache\n",
        "context\n",
        "tests/unit/test_prediction.py",
    ),
    Mutation(
        "minidecilm/costs/devices.py",
        '"bfloat16": ("bfloat16", "float32"),',
        '"bfloat16": ("bfloat16",),',
        "tests/unit/test_devices.py",
    ),
]
