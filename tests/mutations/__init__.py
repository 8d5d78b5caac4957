"""One-line mistakes, and the tests that must notice each: ``python -m tests.mutations [ROOM ...]``.

A room is a module of this folder with a list ``MUTATIONS``. The run is long and no part of the tests, which
only keep the lists in step with the code (tests/unit/test_mutations.py).
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

ROOT = Path(__file__).parents[2]


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


def room_names() -> list[str]:
    """Names of the lists."""
    return sorted(
        module.name for module in iter_modules([str(Path(__file__).parent)]) if module.name[0] != "_"
    )


def rooms() -> dict[str, list[Mutation]]:
    """Return the list of every room."""
    return {name: import_module(f"tests.mutations.{name}").MUTATIONS for name in room_names()}


def faults(mutation: Mutation) -> list[str]:
    """Say what keeps a mistake from being planted, or its tests from being run."""
    found = []
    count = (ROOT / mutation.path).read_text(encoding="utf-8").count(mutation.old)
    if count != 1 or mutation.old == mutation.new:
        found.append(
            f"{mutation.path}: {mutation.old!r} stands {count} times, expected once: list out of date"
        )
    for test in mutation.tests.split():
        file, *names = test.split("[")[0].split("::")
        if not all(f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") for name in names):
            found.append(f"{test}: there is no such test")
    return found
