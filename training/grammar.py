"""The template language of the story writer.

A template is plain text with three kinds of marks, which may be nested:

- ``[a|b|c]`` is one of the alternatives;
- ``<rule>`` is a fresh draw from a rule; a story repeats no alternative of a rule while others are left;
- ``{slot}`` is a fact of the story, the same at every use; a slot without a value is drawn once. ``{Slot}``
  is the same with a capital letter, ``{slot2}`` a second fact of the same sort, other than the first.
"""

import random
import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

_MARKS = re.compile(r"\[|\]|\||<\w+>|\{[\w.]+\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!uni|one|use)")


class Choice(NamedTuple):
    """Alternatives, each a sequence of nodes."""

    options: tuple["Sequence", ...]


class Rule(NamedTuple):
    """A fresh draw from a named rule."""

    name: str


class Slot(NamedTuple):
    """A fact of the story."""

    name: str


Sequence = tuple[str | Choice | Rule | Slot, ...]


def _parse_options(template: str, start: int) -> tuple[tuple[Sequence, ...], int]:
    options: list[Sequence] = []
    nodes: list[str | Choice | Rule | Slot] = []
    position = start
    while match := _MARKS.search(template, position):
        if match.start() > position:
            nodes.append(template[position : match.start()])
        mark, position = match[0], match.end()
        if mark == "[":
            inner, position = _parse_options(template, position)
            nodes.append(Choice(inner))
        elif mark == "|":
            options.append(tuple(nodes))
            nodes = []
        elif mark == "]":
            return (*options, tuple(nodes)), position
        else:
            nodes.append(Rule(mark[1:-1]) if mark[0] == "<" else Slot(mark[1:-1]))
    if position < len(template):
        nodes.append(template[position:])
    return (*options, tuple(nodes)), len(template)


@cache
def parse(template: str) -> Choice:
    """Parse a template; the alternatives may also stand at the top, without brackets."""
    options, _ = _parse_options(template, 0)
    return Choice(options)


class Scene:
    """The facts of one story and the sentences it has used.

    Parameters
    ----------
    rng : random.Random
        Source of every choice.
    slots, rules : Mapping[str, str]
        Templates of the slots and rules that may be drawn.

    Attributes
    ----------
    facts : dict[str, str]
        The slots that have their value.
    first : dict[str, str]
        What a slot reads at its first use only, such as "her friend Tom" before "Tom".
    """

    def __init__(self, rng: random.Random, slots: Mapping[str, str], rules: Mapping[str, str]) -> None:
        self.rng = rng
        self.facts: dict[str, str] = {}
        self.first: dict[str, str] = {}
        self.slots = slots
        self.rules = rules
        self._used: set[tuple[str, int]] = set()

    def write(self, template: str) -> str:
        """Expand a template to text, with "a" and "an" put right."""
        return _ARTICLE.sub(r"\1n ", self._choose(parse(template)))

    def _choose(self, choice: Choice) -> str:
        return "".join(self._expand(node) for node in self.rng.choice(choice.options))

    def _expand(self, node: str | Choice | Rule | Slot) -> str:
        if isinstance(node, str):
            return node
        if isinstance(node, Choice):
            return self._choose(node)
        if isinstance(node, Rule):
            return self._draw(node.name)
        return self._recall(node.name)

    def _recall(self, name: str) -> str:
        if name[0].isupper():
            text = self._recall(name[0].lower() + name[1:])
            return text[0].upper() + text[1:]
        if name in self.first:
            return self.first.pop(name)
        if name not in self.facts:
            template = self.slots[name.rstrip("23")]
            taken = {self.facts.get(name.rstrip("23"))}
            while (text := self._choose(parse(template))) in taken:
                pass
            self.facts[name] = text
        return self.facts[name]

    def _draw(self, rule: str) -> str:
        choice = parse(self.rules[rule])
        # A rule is usually one pair of brackets: look through it to the alternatives.
        while (
            len(choice.options) == 1
            and len(choice.options[0]) == 1
            and isinstance(choice.options[0][0], Choice)
        ):
            choice = choice.options[0][0]
        fresh = [i for i in range(len(choice.options)) if (rule, i) not in self._used]
        index = self.rng.choice(fresh or range(len(choice.options)))
        self._used.add((rule, index))
        return "".join(self._expand(node) for node in choice.options[index])
