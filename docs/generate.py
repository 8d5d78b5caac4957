"""What the site makes from code at every build, below ``docs/_generated`` and ``docs/tutorial``."""

import ast
import inspect
import shutil
from importlib import import_module
from pathlib import Path

from docs.explorer import build as explorer

ROOT = Path(__file__).resolve().parents[1]


def main(source: Path) -> None:
    """Write everything that the pages include."""
    generated = source / "_generated"
    generated.mkdir(exist_ok=True)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copy(notebook, source / "tutorial")
    figures = generated / "figures"
    shutil.copytree(ROOT / "analysis" / "figures", figures, dirs_exist_ok=True)
    (generated / "explorer.html").write_text(explorer.fragment())


def homes(module: str) -> dict[str, str]:
    """Full names of what a module takes from others of the package, by name."""
    tree = ast.parse(inspect.getsource(import_module(module)))
    return {
        alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("minidecilm.")
        for alias in node.names
    }
