"""One-line mistakes, and the tests that must notice each: ``python -m tests.mutations [ROOM ...]``.

A room is a module of this folder with a list ``MUTATIONS``. Nothing here runs with the tests but
``test_lists.py``, which keeps the lists in step with the code.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A mistake to plant.

    Attributes
    ----------
    path : str
        File, from the root of the clone.
    old : str
        Text that stands exactly once in it; of several lines where one would not be unique.
    new : str
        What the mistake puts in its place.
    tests : str
        Test files or node ids with spaces between; at least one of their tests must fail.
    """

    path: str
    old: str
    new: str
    tests: str
