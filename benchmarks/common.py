"""What every measurement shares: where results lie, what they were measured on, spreads, Markdown tables."""

import json
import platform
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from minidecilm.bench.machine import cpu_model
from minidecilm.files import replacing

RESULTS = Path(__file__).parent / "results"


def describe(*packages: str) -> dict[str, Any]:
    """CPU, system and versions."""
    return {
        "cpu": cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Store a result under today's date; what was there stays until all of it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dated = {"date": datetime.now(UTC).date().isoformat(), **result}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(dated, indent=2) + "\n", encoding="utf-8")


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Least, median and greatest of the rounds, and all of them in order."""
    rounds = list(values)
    return {"min": min(rounds), "median": median(rounds), "max": max(rounds), "rounds": rounds}


def brief(spread: dict[str, Any], convert: Callable[[float], float]) -> str:
    """Median, and least to greatest, of a stored spread in another unit."""
    middle, *ends = (convert(spread[key]) for key in ("median", "min", "max"))
    middle, low, high = (
        f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in (middle, *sorted(ends))
    )
    return f"{middle} ({low} to {high})"


def table(titles: list[str], rows: Iterable[list[str]]) -> str:
    """Make a table of Markdown; every column but the first is aligned to the right."""
    rule = ["---"] + ["---:"] * (len(titles) - 1)
    return "".join(f"| {' | '.join(row)} |\n" for row in (titles, rule, *rows))
