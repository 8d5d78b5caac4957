"""Mistakes in what the scripts of the analysis draw."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "analysis/throughput.py",
        "plots.throughput(ax, configs, device, range(1, 513), CONTEXT, measured)",
        "plots.throughput(ax, configs, device, range(1, 513), 1, measured)",
        "tests/analysis/test_numbers.py::test_bounds_and_the_fifteen_times",
    ),
    Mutation(
        "analysis/throughput.py",
        "device, llama.batch_size, CONTEXT",
        "device, 64, CONTEXT",
        "tests/analysis/test_numbers.py::test_bounds_and_the_fifteen_times",
    ),
    Mutation(
        "analysis/attention.py",
        "plots.attention_maps(axes, weights[LAYER], kv_heads[LAYER])",
        "plots.attention_maps(axes, weights[LAYER + 1], kv_heads[LAYER])",
        "tests/analysis/test_numbers.py::test_attention",
    ),
    Mutation(
        "analysis/activations.py",
        '"added by attention": "o_proj"',
        '"added by attention": "hidden_states"',
        "tests/analysis/test_numbers.py::test_activations",
    ),
    Mutation(
        "analysis/kv_allocation.py",
        'for row in rows if row["chosen"]]',
        "for row in rows]",
        "tests/analysis/test_numbers.py::test_what_pooling_costs",
    ),
    Mutation(
        "analysis/kv_cache.py",
        "range(9)], context=4096)",
        "range(9)], context=1024)",
        "tests/analysis/test_numbers.py::test_caches",
    ),
]
