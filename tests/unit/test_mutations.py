"""The lists of mistakes keep up with the code. The run itself is long: python -m tests.mutations."""

import pytest

from tests.mutations import Mutation, faults, rooms


def test_every_mistake_can_still_be_planted():
    assert [fault for room in rooms().values() for mutation in room for fault in faults(mutation)] == []


@pytest.mark.parametrize(
    ("old", "test", "message"),
    [
        ("no such line", "test_linear_widens_any_storage", "stands 0 times"),
        ("import", "test_linear_widens_any_storage", "times, expected once"),
        ("def rms_norm(", "test_of_yesterday", "no such test"),
    ],
)
def test_a_list_out_of_date_is_found(old, test, message):
    [fault] = faults(Mutation("minidecilm/ops.py", old, "", f"tests/unit/test_ops.py::{test}"))
    assert message in fault
