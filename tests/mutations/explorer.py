"""Mistakes in the explorer's numbers."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "docs/explorer/costs.js",
        "limited_share: Math.max(reading, 1 - reading)",
        "limited_share: reading",
        "tests/docs/test_explorer.py::test_formulas_are_the_library_s",
    ),
    Mutation(
        "docs/explorer/costs.js",
        "limited_share: Math.max(reading, 1 - reading)",
        "limited_share: 1 - Math.max(reading, 1 - reading)",
        "tests/docs/test_explorer.py::test_formulas_are_the_library_s",
    ),
    Mutation(
        "docs/explorer/costs.js",
        "flops: batch * product.flops",
        "flops: product.flops",
        "tests/docs/test_explorer.py::test_formulas_are_the_library_s",
    ),
    Mutation(
        "docs/explorer/costs.js",
        "choice.batch / seconds",
        "1 / seconds",
        "tests/docs/test_explorer.py::test_formulas_are_the_library_s",
    ),
    Mutation(
        "docs/explorer/costs.js",
        'time.limit === "memory"',
        'time.limit === "arithmetic"',
        "tests/docs/test_explorer.py::test_formulas_are_the_library_s",
    ),
    Mutation(
        "docs/explorer/build.py",
        '"dtype": dtypes[time.operation],',
        '"dtype": config.torch_dtype,',
        "tests/docs/test_explorer.py::test_counts_scale_to_the_library_s",
    ),
    Mutation(
        "docs/explorer/build.py",
        "3 * power for power in powers",
        "5 * power for power in powers",
        "tests/docs/test_explorer.py::test_sliders_stop_at_round_numbers",
    ),
]
