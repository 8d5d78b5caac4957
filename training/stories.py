"""Writes small stories for children from the plots of ``plots.txt`` and the lists of :mod:`training.words`.

A story has a hero, a friend, someone of the hero's family, a place and a thing. They are cast first and stay
the same to the end. Story number ``n`` is always the same text, so a range of numbers names a data set:
training uses the numbers from 0 on, the held-out set those from :data:`HELD_OUT_START` on.

Run ``python -m training.stories --start 0 --count 3`` to read some.
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from training import words
from training.grammar import Scene

HELD_OUT_START = 1_000_000_000
_FRIENDS = ("stranger", "known", "skilled")
_PRONOUNS = {
    "girl": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
    "boy": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
}


@dataclass
class Plot:
    """A plot skeleton: who the friend is, records of which one holds, and paragraphs of beats."""

    name: str
    friend: str
    pair: bool
    picks: list[dict[str, str]] = field(default_factory=list)
    paragraphs: list[list[tuple[bool, list[str]]]] = field(default_factory=lambda: [[]])


@cache
def plots() -> tuple[Plot, ...]:
    """Read the plot skeletons."""
    found: list[Plot] = []
    previous = ""
    for line in (Path(__file__).parent / "plots.txt").read_text(encoding="utf-8").splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "plot":
            name, friend, *flags = rest.split()
            if friend not in _FRIENDS:
                raise ValueError(f"plot {name}: the friend is {friend!r}, expected one of {_FRIENDS}")
            found.append(Plot(name, friend, "pair" in flags))
        elif mark == "pick":
            found[-1].picks.append(dict(fact.strip().split("=", 1) for fact in rest.split(";")))
        elif mark == "---":
            found[-1].paragraphs.append([])
        elif mark in ("*", "?"):
            if previous != mark:
                found[-1].paragraphs[-1].append((mark == "?", []))
            found[-1].paragraphs[-1][-1][1].append(rest)
        previous = mark
    return tuple(found)


def _name(rng: random.Random, sex: str) -> str:
    if rng.random() < 0.3:  # a made-up name
        ends = words.GIRL_ENDS if sex == "girl" else words.BOY_ENDS
        name = rng.choice(words.NAME_STARTS) + rng.choice(words.NAME_MIDDLES) + rng.choice(ends)
        return _name(rng, sex) if name in words.AVOIDED_NAMES else name
    return rng.choice(words.GIRL_NAMES if sex == "girl" else words.BOY_NAMES)


def _limbs(kind: str) -> dict[str, str]:
    limb = next((limb for limb, kinds in words.LIMBS.items() if kind in kinds), "")
    many = {"": ("hands", "feet"), "hoof": ("hooves", "hooves")}.get(limb, (limb + "s", limb + "s"))
    return {"hand": limb or "hand", "foot": limb or "foot", "hands": many[0], "feet": many[1]}


def _cast_character(scene: Scene, prefix: str, kind: str, sex: str, name: str, traits: list[str]) -> None:
    """Set the facts of the hero (prefix "") or of the friend (prefix "f.")."""
    rng = scene.rng
    trait = rng.choice(traits)
    facts = {"kind": kind, "trait": trait, "described": f"{trait} {kind}"} | _PRONOUNS[sex] | _limbs(kind)
    facts |= {"home": scene.write(words.KINDS[kind].homes), "ran": scene.write(words.KINDS[kind].moves)}
    if name:
        who, facts["call"], facts["iam"] = name, name, f"I am {name}"
        facts["a"] = rng.choice(
            (f"a {trait} {kind} named {name}", f"a {kind} named {name}", f"{name} the {kind}")
        )
        title = "" if kind in ("girl", "boy") else rng.choice(("", f" the {kind}"))
        facts["friend"] = f"{rng.choice(('', 'good ', 'best '))}friend {name}{title}"
    else:
        who, facts["call"] = f"the {rng.choice((kind, facts['described']))}", f"{trait} {kind}"
        facts["a"], facts["friend"] = f"a {trait} {kind}", f"friend the {trait} {kind}"
        facts["iam"] = scene.write(f"I am a {trait} {kind}")
    scene.facts |= {prefix + key: text for key, text in facts.items()}
    scene.facts["f" if prefix else "h"] = who


def _kind(rng: random.Random, sex: str, skill: str = "") -> str:
    if skill:
        return rng.choice([name for name, kind in words.KINDS.items() if skill in kind.skills.split()])
    return rng.choice(words.PEOPLE[sex] if rng.random() < 0.4 else words.CREATURES)


def _sex_of(kind: str, sex: str) -> str:
    """Return ``sex``, or the other one for kinds of people that are never of that sex."""
    other = "boy" if sex == "girl" else "girl"
    return other if kind in words.PEOPLE[other] and kind not in words.PEOPLE[sex] else sex


def _cast(scene: Scene, plot: Plot) -> None:
    """Set the facts a story begins with: what holds in this plot, hero, friend, family, place and thing."""
    rng, facts = scene.rng, scene.facts
    sex = rng.choice(("girl", "boy"))
    kind = _kind(rng, sex)
    hero_name = _name(rng, sex) if rng.random() < 0.88 else ""
    _cast_character(scene, "", kind, sex, hero_name, words.TRAITS)

    pick = rng.choice(plot.picks or [{}])
    friend_sex = {"girl": "boy", "boy": "girl"}[sex] if rng.random() < 0.8 else sex
    friend_kind = kind
    skill = pick["skill"] if plot.friend == "skilled" else ""
    while friend_kind == kind and (skill or kind not in ("girl", "boy")):
        friend_kind = _kind(rng, friend_sex, skill)
    friend_sex = _sex_of(friend_kind, friend_sex)
    friend_name = hero_name
    while friend_name == hero_name:
        friend_name = _name(rng, friend_sex) if rng.random() < 0.85 or friend_kind == kind else "-"
    old = friend_name == "-" and plot.friend != "known"
    traits = words.OLD_TRAITS if old else words.TRAITS
    _cast_character(scene, "f.", friend_kind, friend_sex, friend_name.strip("-"), traits)
    known = f"{facts['his']} {facts['f.friend']}"
    scene.first["f"] = known if plot.friend == "known" else scene.write(facts["f.a"])

    mom = rng.choice(list(words.PARENTS))
    facts["mom"] = mom
    facts |= {f"mom.{key}": text for key, text in _PRONOUNS[words.PARENTS[mom]].items()}
    facts |= rng.choice(words.PLACES)._asdict()
    for number, things in enumerate(rng.sample((words.HARD, words.SOFT), 2)):
        suffix = "2" if number else ""
        facts |= {"adj" + suffix: rng.choice(things.adjectives), "thing" + suffix: rng.choice(things.nouns)}
    scene.slots = {**scene.slots, **pick}


def _opening(scene: Scene, plot: Plot) -> str:
    """Introduce the hero, or both friends at once."""
    named = scene.facts["h"] == scene.facts["call"]
    both = named and scene.facts["f"] == scene.facts["f.call"]
    if plot.pair and both and scene.rng.random() < 0.3:
        scene.first.clear()
        return scene.write("<open_pair>")
    first = scene.write("<open_named>" if named else "<open_nameless>")
    if first.startswith("One "):
        scene.rules = {**scene.rules, "day": scene.rules["later"]}
    details = [scene.write("<detail>") for _ in range(scene.rng.choice((0, 0, 1, 1, 2)))]
    return " ".join([first, *details])


def story(number: int) -> str:
    """Write story ``number``: three or four paragraphs, separated by line breaks."""
    rng = random.Random(number)
    plot = rng.choice(plots())
    scene = Scene(rng, words.SLOTS, words.RULES)
    _cast(scene, plot)
    opening = _opening(scene, plot)
    paragraphs = []
    for beats in plot.paragraphs:
        kept = [options for optional, options in beats if not optional or rng.random() < 0.4]
        paragraphs.append(" ".join(scene.write(rng.choice(options)) for options in kept))
    return f"{opening} " + "\n".join(paragraphs)


def stories(start: int, count: int) -> Iterator[str]:
    """Write ``count`` stories, beginning with number ``start``."""
    return (story(number) for number in range(start, start + count))


def main() -> None:
    """Print some stories."""
    parser = argparse.ArgumentParser(description="Print some stories.")
    parser.add_argument("--start", type=int, default=0, help="number of the first story (default: 0)")
    parser.add_argument("--count", type=int, default=3, help="how many (default: 3)")
    arguments = parser.parse_args()
    print("\n\n".join(stories(arguments.start, arguments.count)))


if __name__ == "__main__":
    main()
