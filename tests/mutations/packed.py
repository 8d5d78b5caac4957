"""Mistakes in the layout of packed weights."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/weights/packed.py",
        "values[:, edge:] *= scales[:, whole:]",
        "values[:, edge:] *= scales[:, :1]",
        "tests/unit/test_packed.py::test_every_slice_of_rows",
    ),
    Mutation(
        "minidecilm/weights/packed.py",
        "return self.codes.nbytes + self.scales.nbytes",
        "return self.codes.nbytes",
        "tests/unit/test_packed.py::test_it_says_what_it_is",
    ),
    Mutation(
        "minidecilm/weights/packed.py",
        "+ prod(scales) * BFLOAT16.itemsize",
        "+ prod(scales)",
        "tests/unit/test_costs_of_files.py",
    ),
    Mutation(
        "minidecilm/weights/packed.py",
        "words >> np.uint32(4) & _LOW_HALVES",
        "words >> np.uint32(3) & _LOW_HALVES",
        "tests/unit/test_packed.py::test_every_slice_of_rows",
    ),
]
