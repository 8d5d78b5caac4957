"""What the site makes from code at every build: below ``_generated``, and notebooks in ``tutorial``."""

import ast
import json
import re
import shutil
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib.util import find_spec
from operator import mul
from pathlib import Path
from typing import Any

from benchmarks import accuracy, calculators, exports, exports_full_size, first_use, limits, tables
from benchmarks.common import RESULTS, brief, read_result, results_of_every_cpu, spread, table
from docs.explorer import build as explorer
from minidecilm import config_keys, plots, preset
from minidecilm.plots.axes import binary

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"


def main(source: Path) -> None:
    """Write everything that the pages in `source` include."""
    generated = source / "_generated"
    for folder in (generated, source / "tutorial"):
        folder.mkdir(exist_ok=True)
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(notebook, source / "tutorial")
    parts = {
        "architecture": architecture(),
        "tutorial": tutorial(),
        "config_ignored": comma_list(config_keys.IGNORED),
        "config_required": required_values(),
        "contributing": contributing(),
        "demo_header": demo_header(),
        **benchmark_pages(),
    }
    for name, text in parts.items():
        (generated / f"{name}.md").write_text(text, encoding="utf-8")
    (generated / "explorer.html").write_text(explorer.fragment(), encoding="utf-8")


def script_of(figure: str) -> str:
    """Return the module that draws a figure of ``analysis/``."""
    for path in sorted((ROOT / "analysis").glob("*.py")):
        if re.search(rf'\bsave\(\s*"{re.escape(figure)}"', path.read_text(encoding="utf-8")):
            return f"analysis.{path.stem}"
    raise ValueError(f"no script of analysis/ draws a figure {figure!r}")


@cache
def imports(module: str) -> dict[str, str]:
    """Names that a module takes from others of the package, and from which."""
    tree = ast.parse(Path(find_spec(module).origin).read_text(encoding="utf-8"))
    return {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("minidecilm.")
        for alias in node.names
    }


def homes(module: str) -> dict[str, str]:
    """Full names, in the module that defines them, of what a module takes from others of the package."""
    found = {}
    for name, source in imports(module).items():
        while name in imports(source):
            source = imports(source)[name]
        found[name] = f"{source}.{name}"
    return found


def architecture() -> str:
    """Figure of DeciLM-6b, with a description for those who do not see it."""
    heads = preset("decilm-6b").num_key_value_heads_per_layer
    title, last = plots.TITLES["decilm-6b"], len(heads) - 1
    return (
        f"```{{drawn}} architecture\n"
        f":alt: {title} from embedding to head. KV heads of layers 0 to {last}: {comma_list(heads)}.\n\n"
        f"{title}: query heads that are joined share one KV head, so they share its keys and values. "
        "Bytes are of a bfloat16 cache.\n```\n"
    )


def tutorial() -> str:
    """List of the notebooks that are there, as their README describes them, and the toctree."""
    readme = (NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[.*?\]\((\w+)\.ipynb\) \| (.*?) \|$", readme, flags=re.MULTILINE)
    found = {name: line for name, line in rows if (NOTEBOOKS / f"{name}.ipynb").exists()}
    lines = [f"- {{doc}}`/tutorial/{name}`: {line}" for name, line in found.items()]
    toctree = ["```{toctree}", ":hidden:", "", *(f"/tutorial/{name}" for name in found), "```"]
    return "\n".join([*lines, "", *toctree]) + "\n"


def comma_list(values: Iterable[Any]) -> str:
    """Write values in one line: names in order of the alphabet and as code, numbers as they come."""
    if isinstance(values, frozenset):
        values = [f"`{value}`" for value in sorted(values)]
    return ", ".join(map(str, values))


def contributing() -> str:
    """CONTRIBUTING.md with its pictures, and without links into the clone, which the site does not hold."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)
    return text.replace("](docs/", "](/")


def required_values() -> str:
    """Table of the config keys that may hold one value only."""
    rows = [
        [f"`{key}`", ", ".join(f"`{json.dumps(value)}`" for value in values)]
        for key, values in config_keys.REQUIRED_VALUES.items()
    ]
    return table(["key", "accepted"], rows).replace("---:", "---")


def demo_header() -> str:
    """First entries of the header of a safetensors file of the demo model."""
    path = ROOT / "minidecilm" / "demo" / "model-00001-of-00003.safetensors"
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    first = list(header.items())[:3]
    entries = ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in first)
    return f"```text\n{{{entries},\n ...}}\n```\n\nThat header is {length:,} bytes long.\n"


def benchmark_pages() -> dict[str, str]:
    """Pages of all stored measurements, by name."""
    found = {path.stem: read_result(RESULTS, path.stem) for path in sorted(RESULTS.glob("*.json"))}
    pages = {
        "accuracy": accuracy.page(found["accuracy"]),
        "calculators": calculators.page(found["calculators"]),
        "exports": exports.page(found["exports"]),
        "exports_full_size": exports_full_size.page(found["exports_full_size"]),
        "full_size": full_size(found["full_size"], found["full_size_numpy"]),
        "open_checkpoint": open_checkpoint(found["open_checkpoint"]),
        "import_time": import_time(found["import_time"]),
    }
    return {
        **{name: f"{text}\n{origin(name, found[name], script(name))}" for name, text in pages.items()},
        "peers": of_every_cpu(tables.page, "peers"),
        "limits": of_every_cpu(limits.page, "limits", "peers"),
        "first_use": of_every_cpu(first_use.page, "first_use"),
    }


def script(name: str) -> str:
    """Command that made a measurement."""
    return f"`python -m benchmarks.{name}`"


def of_every_cpu(page: Callable[..., str], name: str, *others: str) -> str:
    """Pages of one measurement, one below the other, for all CPUs on which it was made.

    `others` are results that a page takes too.
    """
    return "\n".join(
        f"{page(*results)}\n{origin(f'{folder.name}/{name}', results[0], script(name))}"
        for folder, results in results_of_every_cpu(name, *others)
    )


def origin(name: str, result: dict[str, Any], script: str) -> str:
    """Say when and where a result was measured, and by what."""
    machine = result.get("machine", result)
    where = f" on {machine['cpu']}, {machine['system']}" if "cpu" in machine else ""
    versions = ", ".join(f"{package} {number}" for package, number in machine.get("versions", {}).items())
    return (
        f"Measured on {result['date']}{where}{' with ' if versions else ''}{versions}: "
        f"{script} wrote `benchmarks/results/{name}.json`.\n"
    )


def full_size(compiled: dict[str, Any], plain: dict[str, Any]) -> str:
    """DeciLM-6b at its full size, with random weights."""
    steps = plain["decode_seconds"]
    numpy = plain | {"decode_seconds": spread(steps)}
    rows = [
        [
            name,
            f"{1e3 * run['opening_seconds']:.0f}",
            f"{run['prompt_tokens']}",
            f"{run['prefill_seconds']:.1f}",
            brief(run["decode_seconds"], float),
            binary(run["peak_resident_bytes"]),
            binary(run["anonymous_bytes"]),
        ]
        for name, run in {**compiled["runs"], "NumPy bf16": numpy}.items()
    ]
    titles = ["", "opening ms", "prompt", "prefill s", "s a token", "peak memory", "besides the file"]
    allowed = binary(compiled["address_space_limit_bytes"])
    decoded = compiled["runs"]["Numba bf16"]["new_tokens"] - 1
    return (
        "# DeciLM-6b at full size\n\n"
        f"Random weights in the published layout, one text, {allowed} of address space allowed. Prompts are "
        f"in tokens. Seconds a token are of decoding: {decoded} tokens with Numba, {len(steps)} with NumPy. "
        "Weights are memory-mapped: pages of their file count as memory while they are in use.\n\n"
        f"{table(titles, rows)}\n" + origin("full_size_numpy", plain, "an earlier version of the same script")
    )


def open_checkpoint(result: dict[str, Any]) -> str:
    """How long opening 11 GB takes."""
    columns = {"seconds": 1e3, "total_bytes": 1e-3, "anonymous_bytes": 1e-3}
    rows = [
        [name, *(brief(row[key], partial(mul, scale)) for key, scale in columns.items())]
        for name, row in result["rows"].items()
    ]
    titles = ["", "ms", "memory, kB", "besides the file, kB"]
    return (
        "# Opening a checkpoint\n\n"
        f"{result['checkpoint_bytes'] / 1e9:.1f} GB in {result['files']} files, each run in a new process, "
        f"{result['runs']} of each. Warm: the files' first pages are in memory; cold: they are not. "
        "minidecilm checks the header of every file, and every shape against config.json.\n\n"
        f"{table(titles, rows)}"
    )


def import_time(result: dict[str, Any]) -> str:
    """How long the import takes."""
    rows = [[f"`import {name}`", brief(row, partial(mul, 1e3))] for name, row in result["seconds"].items()]
    return (
        "# Import\n\n"
        f"Milliseconds in a new process, {result['runs']} of each. minidecilm loads NumPy on first use.\n\n"
        f"{table(['', 'ms'], rows)}"
    )
