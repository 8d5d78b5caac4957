"""Mistakes in strict json."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/strict_json.py",
        "        if key in found:",
        "        if False:",
        "tests/unit/test_strict_json.py",
    ),
    Mutation(
        "minidecilm/strict_json.py",
        "            parse_constant=_refuse_constant,\n",
        "",
        "tests/unit/test_strict_json.py",
    ),
    Mutation(
        "minidecilm/strict_json.py",
        "            parse_float=_finite_float,\n",
        "",
        "tests/unit/test_strict_json.py",
    ),
    Mutation(
        "minidecilm/strict_json.py",
        "_MAX_DEPTH = 32",
        "_MAX_DEPTH = 1 << 20",
        "tests/unit/test_strict_json.py",
    ),
    Mutation(
        "minidecilm/strict_json.py",
        "text = file.read(max_bytes + 1)",
        "text = file.read(max_bytes)",
        "tests/unit/test_strict_json.py",
    ),
    Mutation(
        "minidecilm/strict_json.py",
        "_REPR.maxlevel = 3",
        "_REPR.maxlevel = 300",
        "tests/unit/test_strict_json.py",
    ),
]
