"""Mistakes in what the scripts of the analysis draw."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "analysis/throughput.py",
        "gallery.throughput, configs, device, CONTEXT,",
        "gallery.throughput, configs, device, 1,",
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
        "*run_of, LAYER)",
        "*run_of, LAYER + 1)",
        "tests/analysis/test_numbers.py::test_attention",
    ),
    Mutation(
        "minidecilm/plots/gallery.py",
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
        "gallery.kv_cache_batch, configs, CONTEXT,",
        "gallery.kv_cache_batch, configs, 1024,",
        "tests/analysis/test_numbers.py::test_caches",
    ),
]
