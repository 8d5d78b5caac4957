"""Execute the walkthroughs: NN_name.py (py:percent, the source) to NN_name.ipynb.

    python -m notebooks.build                      # all of them
    python -m notebooks.build 01_first_text        # by name
    python -m notebooks.build --check              # write nothing, say which .ipynb is out of date

On one machine the bytes are the same every time. Another CPU rounds differently, so `--check` compares
outputs as notebooks/comparing.py says: numbers and pictures within a stated tolerance, everything else
exactly. A notebook notes the versions it was made with; another Matplotlib lays pictures out anew, so then
they are not compared, and `--check` says so. Outputs of cells with the tag "measured" differ from run to run
and are never compared.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from minidecilm.files import replacing
from minidecilm.progress import progress_bar
from notebooks.comparing import same_picture, same_text

FOLDER = Path(__file__).parent
TIMEOUT = 120  # seconds a cell may take

#: What outputs are made by; a notebook notes their versions.
MAKERS = (
    *("numpy", "ml-dtypes", "numba", "llvmlite", "sentencepiece"),
    *("matplotlib", "contourpy", "kiwisolver", "pillow", "matplotlib-inline", "ipython"),
)

# Sums in another order are other bits: one BLAS thread, whatever the machine. Bars do not belong in a page.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",
}


class NotebookError(Exception):
    """A notebook could not be executed: one line that says which, where and why."""


def sources() -> list[Path]:
    """Return the sources of all walkthroughs, in order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def read(source: Path) -> nbformat.NotebookNode:
    """Read a py:percent source as a notebook without outputs, its cells numbered."""
    notebook = jupytext.reads(source.read_text(encoding="utf-8"), "py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # instead of a random one
    return notebook


def execute(notebook: nbformat.NotebookNode, name: str, *, allow_errors: bool = False) -> None:
    """Run every cell in a fresh kernel, in the folder of the notebooks; outputs go into the notebook.

    Parameters
    ----------
    notebook : NotebookNode
    name : str
        For messages.
    allow_errors : bool
        Whether an error becomes an output and the next cell runs.

    Raises
    ------
    NotebookError
        If a cell fails, takes too long or ends the kernel.
    """
    path = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    running = 0
    with progress_bar(len(notebook.cells), name, "cell") as bar:

        def started(cell: Any, cell_index: int) -> None:
            nonlocal running
            bar.update(cell_index - running)
            running = cell_index

        client = NotebookClient(
            notebook,
            timeout=TIMEOUT,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,  # else a slow machine gives the same text in other pieces
            extra_arguments=["--IPKernelApp.log_level=40"],  # errors, not advice on transports
            allow_errors=allow_errors,
            resources={"metadata": {"path": str(FOLDER)}},
            on_cell_execute=started,
        )
        try:
            client.execute(env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path})
        except CellExecutionError as problem:
            said = problem.evalue.strip().partition("\n")[0]
            raise NotebookError(f"{name}, cell {running}: {problem.ename}: {said}") from None
        except CellTimeoutError:
            raise NotebookError(f"{name}, cell {running}: takes more than {TIMEOUT} seconds") from None
        except DeadKernelError:
            raise NotebookError(f"{name}, cell {running}: the kernel died") from None
        bar.update(len(notebook.cells) - running)


def made_with() -> dict[str, str]:
    """Return the versions that decide what outputs look like to the last bit."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, **{name: version(name) for name in MAKERS}}


def finish(notebook: nbformat.NotebookNode) -> str:
    """Return an executed notebook as the text of an .ipynb, without what changes from run to run."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "made_with": made_with(),
        }
    )
    return nbformat.writes(notebook, version=4) + "\n"


def build(source: Path) -> str:
    """Execute a source; return the text of its .ipynb."""
    notebook = read(source)
    execute(notebook, source.name)
    return finish(notebook)


def same_drawing(committed: str) -> bool:
    """Whether the pictures of an .ipynb were drawn by the Matplotlib that is installed."""
    return bool(json.loads(committed)["metadata"]["made_with"]["matplotlib"] == version("matplotlib"))


def difference(committed: str, built: str) -> str | None:
    """Say in what an .ipynb differs from what its source gives now, or None.

    Rounding makes no difference, nor do pictures that another Matplotlib drew and outputs of cells tagged
    "measured".
    """
    old, new = (nbformat.reads(text, as_version=4) for text in (committed, built))
    if len(old.cells) != len(new.cells):
        return f"has {len(old.cells)} cells, its source {len(new.cells)}"
    pictures = same_drawing(committed)
    for number, (before, now) in enumerate(zip(old.cells, new.cells, strict=True)):
        changed = [key for key in {*before, *now} - {"outputs"} if before.get(key) != now.get(key)]
        measured = "measured" in now.metadata.get("tags", ())
        if not measured and not same_output(before.get("outputs"), now.get("outputs"), pictures):
            changed.append("outputs")
        if changed:
            return f"is out of date: {' and '.join(sorted(changed))} of cell {number}"
    for metadata in (old.metadata, new.metadata):
        metadata.pop("made_with")
    return None if old.metadata == new.metadata else "is out of date: its metadata"


def same_output(before: Any, now: Any, pictures: bool, key: str = "") -> bool:
    """Whether outputs, or parts of them, say the same but for rounding; pictures count only if asked for."""
    if key == "image/png":
        return not pictures or same_picture(before, now)
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(
            same_output(before[key], now[key], pictures, key) for key in before
        )
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(same_output, before, now, [pictures] * len(before)))
    if isinstance(before, str) and isinstance(now, str):
        return same_text(before, now)
    return bool(before == now)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build or check notebooks as the command line says; return the exit status."""
    names = {source.stem: source for source in sources()}
    parser = argparse.ArgumentParser(prog="python -m notebooks.build", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as 01_first_text; default: all")
    parser.add_argument("--check", action="store_true", help="write nothing, report what differs")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in names]
    if unknown:
        parser.error(f"no notebook {unknown[0]!r}: choose from {', '.join(names)}")

    status = 0
    for name in options.names or names:
        source, target = names[name], names[name].with_suffix(".ipynb")
        start = perf_counter()
        try:
            built = build(source)
        except NotebookError as problem:
            print(problem, file=sys.stderr)
            return 1
        if not options.check:
            with replacing(target) as temporary:
                temporary.write_text(built, encoding="utf-8")
            result = f"{len(built.encode()) / 1000:.0f} kB"
        elif not target.exists():
            status, result = 1, f"{target.name} is missing"
        else:
            committed = target.read_text(encoding="utf-8")
            found = difference(committed, built)
            if found:
                status, result = 1, f"{target.name} {found}"
            else:
                result = (
                    "same" if same_drawing(committed) else "same text; another Matplotlib drew its pictures"
                )
        print(f"{name}: {result} ({perf_counter() - start:.0f} s)", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
