"""Measure minidecilm on this machine's GPU, in one call of a few minutes; write one json.

On a machine with a GPU and CuPy (``pip install '.[cuda13]'``), from a clone:

    python -m pytest -m gpu
    python -m benchmarks.gpu
    python -m benchmarks.tables

The comparison with transformers needs PyTorch for CUDA and transformers; without them it is left out. Reads
and writes that go astray, on the small models alone:

    compute-sanitizer --tool memcheck python -m benchmarks.gpu --only agreement --out memcheck.json
    compute-sanitizer --tool racecheck python -m benchmarks.gpu --only agreement --out racecheck.json

Weights are random, of full size, and made on the device; keys and values in the caches too. All figures are
medians of calls timed to their end on the device. The json is written anew after every part, so that whatever
ends the measurement early leaves what was measured.
"""

import argparse
import sys
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, describe, write_result
from benchmarks.gpu import parts
from benchmarks.gpu.setup import Setup, Sizes
from benchmarks.gpu.transformers_part import transformers

#: In the order in which they are measured: what shares weights follows each other.
PARTS: dict[str, Callable[[Setup, dict[str, Any]], dict[str, Any]]] = {
    "agreement": parts.agreement,
    "limits": parts.limits,
    "decode": parts.decode,
    "batch": parts.batch,
    "prefill": parts.prefill,
    "sampling": parts.sampling,
    "transformers": transformers,
    "sweep": parts.sweep,
    "headline": parts.headline,
}
LIMITED = {"decode", "batch", "prefill", "sweep"}  # are laid beside the limits of the card


def measure(
    sizes: Sizes, out: Path, names: Collection[str] = tuple(PARTS), minutes: float = 5
) -> dict[str, Any]:
    """Measure parts and write them to `out`, each as soon as it is there.

    Raises
    ------
    ValueError
        If there is no usable GPU.
    """
    setup = Setup(sizes, 60 * minutes)
    if LIMITED & set(names):
        names = {*names, "limits"}
    results: dict[str, Any] = {
        "what": "decilm-6b and llama-2-7b on one GPU, random weights, CuPy backend",
        "card": setup.card(),
        "date": datetime.now(UTC).date().isoformat(),
        **describe("numpy", "ml_dtypes", *_installed()),
        "parts": {},
    }
    for name, part in PARTS.items():
        if name not in names:
            continue
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        try:
            found = part(setup, results)
        except Exception as problem:  # one part that fails must not cost the others
            found = {"failed": f"{type(problem).__name__}: {problem}"}
        results["parts"][name] = found | {"took_seconds": time.perf_counter() - start}
        write_result(out, results)
        print(f"{name}: {summary(found)}, {results['parts'][name]['took_seconds']:.0f} s", flush=True)
    return results


def summary(found: dict[str, Any]) -> str:
    """Say in a line what came of a part."""
    for key in ("failed", "skipped"):
        if key in found:
            return f"{key}, {found[key]}"
    goals = [row["reached"] for row in found.get("rows", []) if row.get("reached") is not None]
    ended = ", ended early: out of time" if "cut" in found else ""
    return (f"{sum(goals)} of {len(goals)} goals reached" if goals else "measured") + ended


def missed(results: dict[str, Any]) -> bool:
    """Whether a result is wrong, or a part failed; being slow is neither."""
    rows = results["parts"].get("agreement", {}).get("rows", [])
    wrong = any(row["reached"] is False for row in rows)
    return wrong or any("failed" in part for part in results["parts"].values())


def _installed() -> list[str]:
    """Packages of a GPU that are here, by the names they were installed under."""
    found = []
    for name in ("cupy-cuda13x", "cupy-cuda12x", "torch", "transformers"):
        try:
            version(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json", help="json to write")
    parser.add_argument("--minutes", type=float, default=5, help="no point begins later (default: 5)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=tuple(PARTS), metavar="NAME",
                        help=f"parts to measure: {', '.join(PARTS)} (default: all)")  # fmt: skip
    arguments = parser.parse_args()
    try:
        results = measure(Sizes(), arguments.out, arguments.only, arguments.minutes)
    except ValueError as problem:
        sys.exit(f"benchmarks.gpu: {problem}")
    sys.exit(1 if missed(results) else 0)


if __name__ == "__main__":
    main()
