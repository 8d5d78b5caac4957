"""Mistakes in comparing a stored head with the embedding that it repeats."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "for row in range(0, shape[0], step)\n",
        "for row in range(0, min(shape[0], step), step)\n",
        "tests/unit/test_checkpoint.py::test_every_value_of_a_tied_head_is_compared",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "for row in range(0, shape[0], step)\n",
        "for row in range(0, shape[0] - step, step)\n",
        "tests/unit/test_checkpoint.py::test_every_value_of_a_tied_head_is_compared",
    ),
    Mutation(
        "minidecilm/weights/checkpoint.py",
        "for row in range(0, shape[0], step)\n",
        "for row in range(0, shape[0], 2 * step)\n",
        "tests/unit/test_checkpoint.py::test_every_value_of_a_tied_head_is_compared",
    ),
]
