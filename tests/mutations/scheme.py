"""Mistakes in which weights are packed, and what a checkpoint says of them."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/weights/scheme.py",
        "return 8 if name == HEAD else BITS[self.weights]",
        "return BITS[self.weights]",
        "tests/unit/test_quantize.py::test_which_weights_are_packed",
    ),
    Mutation(
        "minidecilm/weights/scheme.py",
        "if len(shape) != 2 or name == EMBEDDING:",
        "if len(shape) != 2:",
        "tests/unit/test_quantize.py::test_which_weights_are_packed",
    ),
    Mutation(
        "minidecilm/weights/scheme.py",
        '"head": "stored" if tied else "int8"',
        '"head": "int8"',
        "tests/unit/test_quantize.py::test_the_scheme_goes_through_config_json_and_back",
    ),
    Mutation(
        "minidecilm/weights/scheme.py",
        '_check("layout", values["layout"], _LAYOUT)',
        "pass",
        "tests/unit/test_malformed.py::test_malformed",
    ),
]
