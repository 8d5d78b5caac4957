"""The story writer: deterministic, grammatical, and true to its cast."""

import random
import re

import pytest

from training import words
from training.grammar import Scene
from training.stories import HELD_OUT_START, plots, stories, story

SOME = [story(number) for number in range(400)]
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")


def test_a_number_always_gives_the_same_story():
    assert [story(number) for number in range(20)] == SOME[:20]


def test_stories_differ_and_held_out_stories_are_others():
    assert len(set(SOME)) == len(SOME)
    assert not set(SOME) & set(stories(HELD_OUT_START, 400))


@pytest.mark.parametrize("mark", ["[", "]", "{", "}", "<", ">", "|", "  ", "..", " ,", " .", "the the "])
def test_nothing_of_the_templates_is_left(mark):
    assert not [text for text in SOME if mark in text]


def test_articles_agree():
    assert not [text for text in SOME if re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiou]", text)]


def test_sentences_begin_with_a_capital_and_end():
    for text in SOME:
        assert not re.search(r"[.] [a-z]", text), text
        for paragraph in text.split("\n"):
            assert paragraph[0].isupper() or paragraph[0] == '"'
            assert paragraph[-1] in '.!?"'


def test_quotation_marks_pair_up():
    assert not [p for text in SOME for p in text.split("\n") if p.count('"') % 2]


def test_a_story_has_one_girl_and_one_boy():
    for text in SOME:
        girls, boys = (
            set(re.findall(rf"\b({'|'.join(words.NAMES[sex])})\b", text)) for sex in ("girl", "boy")
        )
        assert (len(girls), len(boys)) == (1, 1), text
        assert set(NAME.findall(text)) <= girls | boys


def test_no_name_stands_where_it_would_be_another_token():
    named = re.compile(rf"[\n\"]({'|'.join(words.GIRL_NAMES + words.BOY_NAMES)})\b")
    assert not [text for text in SOME if named.search(text)]


def test_the_word_lists_that_must_not_mix_do_not():
    lists = [words.GIRL_NAMES, words.BOY_NAMES, words.KINDS, words.PARENTS, words.THINGS, words.FLOWERS]
    together = [word for one in lists for word in one]
    assert len(set(together)) == len(together)
    assert {limb for kinds in words.LIMBS.values() for limb in kinds} <= set(words.KINDS)


def test_every_plot_and_every_pick_can_be_written():
    for plot in plots():
        assert plot.paragraphs
        assert all(options for beats in plot.paragraphs for _, options in beats), plot.name
        for pick in plot.picks:
            assert all(key and template for key, template in pick.items())


def test_every_skill_a_plot_asks_for_belongs_to_several_kinds():
    asked = {pick["skill"] for plot in plots() if plot.friend == "skilled" for pick in plot.picks}
    for skill in asked:
        assert sum(skill in kind.skills.split() for kind in words.KINDS.values()) > 1


def test_slots_stay_and_rules_change():
    scene = Scene(random.Random(0), {"pet": "[cat|dog|bird]"}, {"mood": "[glad|sad]"})
    once = scene.write("{pet} {Pet} {pet2}").split()
    assert once[0].capitalize() == once[1]
    assert once[0] != once[2]
    assert set(scene.write("<mood> <mood>").split()) == {"glad", "sad"}


def test_a_first_use_may_read_otherwise():
    scene = Scene(random.Random(0), {}, {})
    scene.facts["f"], scene.first["f"] = "Tom", "her friend Tom"
    assert scene.write("{F} met a owl, and {f} ran.") == "Her friend Tom met an owl, and Tom ran."
