"""The picture of the rooms and who imports whom, from the code: ``python -m docs.rooms`` writes it anew.

Rooms and their order stand in ``tests/unit/test_imports.py``, which reads the imports too. An arrow means
that some room of the upper row imports some room of the lower one; one that follows from others is left out.
"""

import re
from html import escape
from pathlib import Path

from tests.unit.test_imports import ROW, ROWS, imports, modules, room

PICTURE = Path(__file__).parent / "_static" / "rooms.svg"

# What each room is, in four words.
WORDS = {
    "errors": "what bad files raise",
    "files": "whole files, strict JSON",
    "progress": "bars that show progress",
    "ops": "every operation, in NumPy",
    "config": "sizes and per-layer heads",
    "config_keys": "what config.json may say",
    "presets": "published models by name",
    "catalog": "what a name means",
    "weights": "from disk to arrays",
    "costs": "bytes and work, derived",
    "rope": "rotary embedding, its policies",
    "backends": "the same operations, fast",
    "cache": "keys and values, kept",
    "observe": "look at any stage",
    "sampling": "from logits to token",
    "tokenizer": "text to token ids",
    "trace": "what each step did",
    "model": "the whole forward pass",
    "generation": "prefill, decode, batches, stops",
    "api": "text in, text out",
    "plots": "every figure, drawn once",
    "experiments": "losses, differences, fewer heads",
    "bench": "speed beside the limits",
    "__init__": "the names users import",
    "cli": "one file per command",
    "__main__": "where the program starts",
}

BOX, GAP, STEP = (180, 42), 10, 62  # width and height of a room; between rooms; from row to row
LANE = 16  # between arrows that pass rows by
HEAD = (
    '<defs><marker id="head" markerUnits="userSpaceOnUse" markerWidth="8" markerHeight="8" refX="1" refY="4" '
    'orient="auto"><path d="M 0 0 L 8 4 L 0 8 z"/></marker></defs>'
)
STYLE = """
  .page { fill: #ffffff } .row { fill: #eef2f7 } .room { fill: #ffffff; stroke: #8a99ad }
  text { font-family: sans-serif; font-size: 12px; text-anchor: middle; fill: #3d4b5c }
  .name { font-family: monospace; font-size: 15px; font-weight: bold; fill: #14202e }
  .arrow { fill: none; stroke: #1f6fb2; stroke-width: 1.6; marker-end: url(#head) }
  #head path { fill: #1f6fb2 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #14181e } .row { fill: #222a34 } .room { fill: #14181e; stroke: #6b7a8d }
    text { fill: #c3cedb } .name { fill: #f2f5f9 } .arrow { stroke: #6db3ea } #head path { fill: #6db3ea }
  }
"""


def imported_rows() -> dict[int, set[int]]:
    """Rows that each row imports from."""
    found: dict[int, set[int]] = {number: set() for number in range(len(ROWS))}
    for path in modules():
        for name, _ in imports(path):
            package, *rest = name.split(".")
            if package == "minidecilm":
                found[ROW[room(path)]].add(ROW[rest[0] if rest else "__init__"])
    return found


def arrows(below: dict[int, set[int]]) -> list[tuple[int, int]]:
    """Leave out what follows from others: what imports `model` rests on all that `model` imports."""
    rests_on: dict[int, set[int]] = {}
    for row in sorted(below):
        direct = {other for other in below[row] if other < row}
        rests_on[row] = direct.union(*(rests_on[other] for other in direct))
    return [
        (row, other)
        for row in sorted(below)
        for other in sorted(below[row])
        if other < row and not any(other in rests_on[between] for between in below[row] if between < row)
    ]


def data() -> tuple[list[list[str]], list[tuple[int, int]]]:
    """Rooms row by row, from the bottom up, and arrows between rows."""
    return [sorted(row) for row in ROWS], arrows(imported_rows())


def drawn(svg: str) -> tuple[list[list[str]], list[tuple[int, int]]]:
    """Read :func:`data` back from a picture."""
    rows: dict[int, list[str]] = {}
    for number, name in re.findall(r'data-row="(\d+)" data-name="(\w+)"', svg):
        rows.setdefault(int(number), []).append(name)
    lines = re.findall(r'data-from="(\d+)" data-to="(\d+)"', svg)
    return [rows[number] for number in sorted(rows)], sorted((int(row), int(other)) for row, other in lines)


def lanes(lines: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Give arrows that pass rows by a lane each, short ones first, so that none runs along another."""
    found: dict[tuple[int, int], int] = {}
    for row, other in sorted(lines, key=lambda line: line[0] - line[1]):
        taken = {lane for (start, end), lane in found.items() if end <= row and other <= start}
        found[row, other] = next(lane for lane in range(1, len(lines) + 1) if lane not in taken)
    return found


def draw() -> str:
    """Return the picture, as SVG."""
    rows, lines = data()
    passing = lanes([line for line in lines if line[0] - line[1] > 1])
    right = GAP + max(map(len, rows)) * (BOX[0] + GAP) + GAP
    band = BOX[1] + GAP
    width, height = right + LANE * max(passing.values(), default=0) + GAP, len(rows) * STEP + GAP
    tops = [GAP + STEP * (len(rows) - 1 - number) for number in range(len(rows))]

    parts = [f'<rect class="page" width="{width}" height="{height}" rx="8"/>']
    for number, (names, top) in enumerate(zip(rows, tops, strict=True)):
        parts.append(f'<rect class="row" x="{GAP}" y="{top}" width="{right - GAP}" height="{band}" rx="6"/>')
        left = (GAP + right - len(names) * (BOX[0] + GAP) + GAP) // 2
        parts += [room_box(number, name, left + i * (BOX[0] + GAP), top + 5) for i, name in enumerate(names)]
    for row, other in lines:
        if lane := passing.get((row, other)):
            side, start, end = right + LANE * lane, tops[row] + band // 2 + 8, tops[other] + band // 2 - 8
            path = f"M {right} {start} H {side} V {end} H {right + 7}"
        else:
            path = f"M {(GAP + right) // 2} {tops[row] + band} V {tops[other] - 7}"
        parts.append(f'<path class="arrow" data-from="{row}" data-to="{other}" d="{path}"/>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>Rooms of minidecilm</title>\n<style>{STYLE}</style>\n{HEAD}",
            *parts,
            "</svg>\n",
        ]
    )


def room_box(row: int, name: str, x: int, y: int) -> str:
    """Draw a room with its name and its words."""
    if name not in WORDS:
        raise ValueError(f"room {name!r}: say in WORDS of docs/rooms.py what it is, in four words")
    middle = x + BOX[0] // 2
    return (
        f'<g data-row="{row}" data-name="{name}">'
        f'<rect class="room" x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="4"/>'
        f'<text class="name" x="{middle}" y="{y + 17}">{name}</text>'
        f'<text x="{middle}" y="{y + 33}">{escape(WORDS[name])}</text></g>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
