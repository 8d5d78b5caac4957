"""Mistakes in comparing two models stage by stage."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/experiments/compare.py",
        "if not d.error <= tolerance)",
        "if d.error > tolerance)",
        "tests/unit/test_compare.py",
    ),
    Mutation(
        "minidecilm/experiments/compare.py",
        "difference = np.max(",
        "difference = np.nanmax(",
        "tests/unit/test_compare.py",
    ),
    Mutation(
        "minidecilm/experiments/compare.py",
        "scale = np.max(np.abs(a.astype(np.float64)))",
        "scale = np.max(a.astype(np.float64))",
        "tests/unit/test_compare.py",
    ),
    Mutation(
        "minidecilm/experiments/compare.py",
        "scale = np.max(np.abs(a.astype(np.float64)))",
        "scale = np.max(np.abs(b.astype(np.float64)))",
        "tests/unit/test_compare.py",
    ),
    Mutation(
        "minidecilm/experiments/compare.py",
        "for key in a if key in b]",
        "for key in a if key in b and key[0] is not None]",
        "tests/unit/test_compare.py",
    ),
    Mutation(
        "minidecilm/experiments/compare.py",
        "if len(shapes) != len(second.config.parameter_shapes()):",
        "if False:",
        "tests/unit/test_compare.py",
    ),
    Mutation(
        "minidecilm/experiments/compare.py",
        "key=lambda d: np.nan_to_num(d.error, nan=np.inf))",
        "key=lambda d: d.error)",
        "tests/unit/test_compare.py",
    ),
]
