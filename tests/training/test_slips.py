"""The checks of a story's cast: the story writer passes them, and every planted change is noticed."""

import pytest

from training.slips import slips
from training.stories import stories

STORY = (
    "Once upon a time, there was a little fox named Lily. She lived with her grandma. One day, Lily lost "
    "her red ball. Then a bear named Tom came by. Lily told Tom about the red ball, and he found it. "
    "Lily ate some honey bread and planted a rose."
)


def test_the_story_writer_does_not_slip():
    assert not [text for text in stories(0, 500) if slips(text)["any of these"]]


def test_a_story_that_keeps_to_its_cast_passes_every_check():
    assert not any(slips(STORY).values())


@pytest.mark.parametrize(
    ("addition", "slip"),
    [
        ("Then Lily thanked Zork.", "more than two names"),
        ("Then Mia ran home.", "two girls' names"),
        ("Then Ben ran home.", "two boys' names"),
        ("Then the owl ran home.", "more than two kinds"),
        ("Her uncle was proud.", "two members of the family"),
        ("She put on her hat.", "two things"),
        ("The tulip grew.", "two flowers"),
        ("They had apple pie.", "two treats"),
        ("Tom was a bear. Tom the fox ran.", "two kinds for one name"),
        ("There was a king named Lily.", "a girl called Tom, or a king called Lily"),
        ("The blue ball was back.", "two adjectives for one thing"),
        ("Lily ran as fast as he could.", "he for a girl or she for a boy"),
        ("Tom said that she was glad.", "he for a girl or she for a boy"),
        ("Then Tom asked Tom for help.", "one character as two"),
        ("Ben held one side, and Ben held the other side.", "one character as two"),
        ("Lily wanted to ride a bike. Tom kept three apples in the air.", "parts of two variants of a plot"),
    ],
)
def test_a_planted_change_is_noticed(addition, slip):
    found = slips(f"{STORY} {addition}")
    assert found[slip]
    assert found["any of these"]


def test_another_pronoun_is_right_when_it_means_someone_else():
    assert not any(slips(f"{STORY} Tom saw Lily, and she waved. Lily saw that her grandma smiled.").values())
