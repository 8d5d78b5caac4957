"""What every measurement shares: where results lie, what they were measured on, spreads, Markdown tables."""

import json
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from minidecilm.bench.machine import cpu_model
from minidecilm.files import replacing

#: Timings that depend on the CPU's instructions lie one folder deeper: see :func:`cpu_folder`.
RESULTS = Path(__file__).parent / "results"

CPU_FLAGS = (
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
)
#: Kinds of CPU, the latest first: the flag that tells one, its part of a folder's name, and its title.
KINDS = (
    ("amx_int8", "amx", "AMX"),
    ("avx512_bf16", "avx512-bf16", "AVX-512 with VNNI and BF16"),
    ("avx512_vnni", "avx512-vnni", "AVX-512 with VNNI"),
    ("avx512f", "avx512", "AVX-512"),
    ("avx_vnni", "avx2-vnni", "AVX2 with VNNI"),
    ("avx2", "avx2", "AVX2"),
)
_CPUINFO = Path("/proc/cpuinfo")
_NOISE = r"\(R\)|\(TM\)|@.*|\b(CPU|Processor|\d+-Core)\b"  # of a CPU's name


def cpu_flags() -> list[str]:
    """Those of CPU_FLAGS that this CPU has."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    found = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return [flag for flag in CPU_FLAGS if flag in found]


def cpu_slug(name: str, flags: Iterable[str]) -> str:
    """Shorten a CPU's name and its instructions to the name of a folder.

    Examples
    --------
    >>> cpu_slug("AMD EPYC 9654 96-Core Processor", ["avx2", "avx512f", "avx512_vnni", "avx512_bf16"])
    'amd-epyc-9654-avx512-bf16'
    >>> cpu_slug("Intel(R) Xeon(R) CPU @ 2.20GHz", ["avx2"])
    'intel-xeon-avx2'
    """
    words = re.findall(r"[a-z0-9]+", re.sub(_NOISE, " ", name, flags=re.IGNORECASE).lower())
    kind = next((part for flag, part, _ in KINDS if flag in flags), platform.machine().lower())
    return "-".join([*words, kind])


def cpu_kind(result: dict[str, Any]) -> str | None:
    """Which of KINDS a result was measured on."""
    return next((title for flag, _, title in KINDS if flag in result["cpu_flags"]), None)


def cpu_title(result: dict[str, Any]) -> str:
    """Name the CPU that a result was measured on, and the kind of its instructions."""
    kind = cpu_kind(result)
    return f"{result['cpu']} with {kind}" if kind else result["cpu"]


def cpu_folder() -> Path:
    """Where the results of this CPU lie."""
    return RESULTS / cpu_slug(cpu_model(), cpu_flags())


def cpu_folders() -> list[Path]:
    """Where the results of all CPUs lie that were measured."""
    return sorted(file.parent for file in RESULTS.glob("*/peers.json"))


def read_result(folder: Path, name: str) -> dict[str, Any] | None:
    """Read a stored result; None if there is none."""
    file = folder / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def results_of_every_cpu(*names: str) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Folder and results of each CPU that has all of these."""
    for folder in cpu_folders():
        results = [read_result(folder, name) for name in names]
        if all(results):
            yield folder, results


def describe(*packages: str) -> dict[str, Any]:
    """CPU, system and versions."""
    return {
        "cpu": cpu_model(),
        "cpu_flags": cpu_flags(),
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
