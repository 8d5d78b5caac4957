"""Finds where a text slips: names, kinds, things or the family that change in the middle of a story.

These checks only know the story writer's own words, so a text without a slip can still be a poor story.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from training.stories import plots
from training.words import ADJECTIVES, FLOWERS, KINDS, NAMES, PARENTS, PEOPLE, SNACKS, THINGS, TREATS

# How many different words of one sort a story may hold.
_AT_MOST = {
    "two girls' names": (NAMES["girl"], 1),
    "two boys' names": (NAMES["boy"], 1),
    "more than two kinds": (KINDS, 2),
    "two members of the family": (PARENTS, 1),
    "two things": (THINGS, 1),
    "two flowers": (FLOWERS, 1),
    "two treats": (TREATS, 1),
    "two snacks": (SNACKS, 1),
}
_CAPITALIZED = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")
_KINDS = "|".join(KINDS)
_CALLED = re.compile(
    rf"\b({_KINDS}) named ([A-Z][a-z]+)"
    rf"|\b(?!There|It|He|She)([A-Z][a-z]+) (?:the|was an?) (?:[a-z]+ )?({_KINDS})\b"
)
_THING = re.compile(rf"\b({'|'.join(ADJECTIVES)}) ({'|'.join(THINGS)})\b")
_ANY_NAME = "|".join(NAMES["girl"] + NAMES["boy"])
_ALONE = re.compile(
    rf"\b({_ANY_NAME}) (?:asked|hugged|told|thanked|helped|saw|met) \1\b"
    rf"|\b({_ANY_NAME}) held one side, and \2\b"
)
_SUBJECTS = {"girl": re.compile(r"\b[Hh]e\b"), "boy": re.compile(r"\b[Ss]he\b")}


def _mentioned(text: str, words: Iterable[str]) -> set[str]:
    return {word for word in words if re.search(rf"\b{word}\b", text)}


def _wrong_pronoun(text: str) -> bool:
    """Return whether "he" follows a girl's name, or "she" a boy's, in a sentence about no one else."""
    for sentence in re.split(r'[.!?"]', text):
        named = [(sex, name) for sex, names in NAMES.items() for name in _mentioned(sentence, names)]
        if len(named) == 1 and not _mentioned(sentence, PARENTS):
            [(sex, name)] = named
            if _SUBJECTS[sex].search(sentence.partition(name)[2]):
                return True
    return False


@cache
def _phrases() -> list[list[set[str]]]:
    """Return, for each pick of each plot, what it says up to its first choice, if three words or more."""
    literals = [
        [
            {re.split(r"[\[{<]", template)[0].strip().lower() for template in pick.values()}
            for pick in plot.picks
        ]
        for plot in plots()
    ]
    return [[{phrase for phrase in pick if phrase.count(" ") > 1} for pick in picks] for picks in literals]


def _mixed_plot(text: str) -> bool:
    """Return whether the text takes phrases from two picks of a plot, such as two skills that are learned."""
    text = text.lower()
    for picks in _phrases():
        found = {phrase for pick in picks for phrase in pick if phrase in text}
        if not any(found <= pick for pick in picks or [set()]):
            return True
    return False


def slips(text: str) -> dict[str, bool]:
    """Return which checks of the cast a text fails.

    A story is about one girl and one boy. Each is of one kind; there is one member of the family, one thing
    with one adjective, and one flower.
    """
    kinds: dict[str, set[str]] = defaultdict(set)
    for kind, name, other_name, other_kind in _CALLED.findall(text):
        kinds[name or other_name].add(kind or other_kind)
    adjectives: dict[str, set[str]] = defaultdict(set)
    for adjective, noun in _THING.findall(text):
        adjectives[noun].add(adjective)
    found = {
        "more than two names": len(set(_CAPITALIZED.findall(text))) > 2,
        **{slip: len(_mentioned(text, words)) > most for slip, (words, most) in _AT_MOST.items()},
        "two kinds for one name": any(len(one) > 1 for one in kinds.values()),
        "a girl called Tom, or a king called Lily": any(
            name in NAMES[sex] and one & {*PEOPLE[other]}
            for name, one in kinds.items()
            for sex, other in (("girl", "boy"), ("boy", "girl"))
        ),
        "two adjectives for one thing": any(len(one) > 1 for one in adjectives.values()),
        "he for a girl or she for a boy": _wrong_pronoun(text),
        "parts of two variants of a plot": _mixed_plot(text),
        "one character as two": bool(_ALONE.search(text)),
    }
    return found | {"any of these": any(found.values())}
