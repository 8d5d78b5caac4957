"""Writes small stories for children from the plots of ``plots.txt`` and the lists of :mod:`training.words`.

A story has a hero, a friend, someone of the hero's family, a place and a thing. They are cast first and stay
the same to the end. Story number ``n`` is always the same text, so a range of numbers names a data set:
training uses the numbers from 0 on, the held-out set those from :data:`HELD_OUT_START` on.

Run ``python -m training.stories --start 0 --count 3`` to read some.
"""

import argparse
import hashlib
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
    often: bool
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
            found.append(Plot(name, friend, "pair" in flags, "often" in flags))
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


def _limbs(kind: str) -> dict[str, str]:
    limb = next((limb for limb, kinds in words.LIMBS.items() if kind in kinds), "")
    many = {"": ("hands", "feet"), "hoof": ("hooves", "hooves")}.get(limb, (limb + "s", limb + "s"))
    return {"hand": limb or "hand", "foot": limb or "foot", "hands": many[0], "feet": many[1]}


def _kind(rng: random.Random, sex: str, skill: str) -> str:
    possible = [*words.PEOPLE[sex], *words.CREATURES]
    if skill:
        return rng.choice([kind for kind in possible if skill in words.KINDS[kind].skills.split()])
    return rng.choice(words.PEOPLE[sex] if rng.random() < 0.4 else words.CREATURES)


def _cast_character(scene: Scene, prefix: str, kind: str, sex: str) -> None:
    """Set the facts of the hero (prefix "") or of the friend (prefix "f.")."""
    facts = {"kind": kind, "trait": scene.rng.choice(words.TRAITS)} | _PRONOUNS[sex] | _limbs(kind)
    facts |= {"home": scene.write(words.KINDS[kind].homes), "ran": scene.write(words.KINDS[kind].moves)}
    scene.facts |= {prefix + key: text for key, text in facts.items()}
    scene.facts["f" if prefix else "h"] = scene.rng.choice(words.NAMES[sex])


def _cast(scene: Scene, plot: Plot) -> None:
    """Set the facts a story begins with: what holds in this plot, hero, friend, family, place and thing.

    One of hero and friend is a girl and the other a boy, so that "he" and "she" are never in doubt.
    """
    rng, facts = scene.rng, scene.facts
    pick = rng.choice(plot.picks or [{}])
    sex, friend_sex = rng.choice((("girl", "boy"), ("boy", "girl")))
    kind = friend_kind = _kind(rng, sex, "")
    while friend_kind == kind:
        friend_kind = _kind(rng, friend_sex, pick["skill"] if plot.friend == "skilled" else "")
    _cast_character(scene, "", kind, sex)
    _cast_character(scene, "f.", friend_kind, friend_sex)
    titled = "{f}" if friend_kind in ("girl", "boy") else "{f} the {f.kind}"
    scene.first["f"] = scene.write(
        f"{{his}} [|good |best ]friend [{{f}}|{titled}]"
        if plot.friend == "known"
        else f"[a {{f.trait}} {{f.kind}} named {{f}}|a {{f.kind}} named {{f}}|{titled}]"
    )

    mom = rng.choice(list(words.PARENTS))
    facts["mom"] = mom
    facts |= {f"mom.{key}": text for key, text in _PRONOUNS[words.PARENTS[mom]].items()}
    facts |= rng.choice(words.PLACES)._asdict()
    facts |= {"adj": rng.choice(words.ADJECTIVES), "thing": rng.choice(words.THINGS)}
    scene.slots = {**scene.slots, **pick}


def _opening(scene: Scene, plot: Plot) -> str:
    """Introduce the hero, or both friends at once."""
    if plot.pair and scene.rng.random() < 0.3:
        scene.first.clear()
        return scene.write("<open_pair>")
    first = scene.write("<open>")
    if first.startswith("One "):
        scene.rules = {**scene.rules, "day": scene.rules["later"]}
    return " ".join([first, *(scene.write("<detail>") for _ in range(scene.rng.choice((0, 1))))])


def _write(scene: Scene, beats: list[tuple[bool, list[str]]]) -> str:
    kept = [options for optional, options in beats if not optional or scene.rng.random() < 0.2]
    return " ".join(scene.write(scene.rng.choice(options)) for options in kept)


def _paragraph(scene: Scene, beats: list[tuple[bool, list[str]]]) -> str:
    text = _write(scene, beats)
    # At a paragraph's start a word has no space before it and so another token: no name stands there.
    named = text.startswith((scene.facts["h"], scene.facts["f"]))
    return f"{scene.rng.choice(('Then', 'Now'))} {text}" if named else text


def story(number: int) -> str:
    """Write story ``number``: three or four paragraphs, separated by line breaks."""
    rng = random.Random(number)
    [plot] = rng.choices(plots(), [3 if plot.often else 1 for plot in plots()])
    scene = Scene(rng, words.SLOTS, words.RULES)
    _cast(scene, plot)
    opening = _opening(scene, plot)
    first, *rest = plot.paragraphs
    return "\n".join([f"{opening} {_write(scene, first)}", *(_paragraph(scene, beats) for beats in rest)])


def stories(start: int, count: int) -> Iterator[str]:
    """Write ``count`` stories, beginning with number ``start``."""
    return (story(number) for number in range(start, start + count))


def writer_digest() -> str:
    """Tell whether the stories of two moments are the same: a digest of all they are made from."""
    folder = Path(__file__).parent
    names = ("plots.txt", "words.py", "stories.py", "grammar.py")
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()[:16]


def main() -> None:
    """Print some stories."""
    parser = argparse.ArgumentParser(description="Print some stories.")
    parser.add_argument("--start", type=int, default=0, help="number of the first story (default: 0)")
    parser.add_argument("--count", type=int, default=3, help="how many (default: 3)")
    arguments = parser.parse_args()
    print("\n\n".join(stories(arguments.start, arguments.count)))


if __name__ == "__main__":
    main()
