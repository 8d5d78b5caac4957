"""What the site makes from code at every build, below ``docs/_generated`` and ``docs/tutorial``."""

import shutil
from pathlib import Path

import minidecilm
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


def home_of(name: str) -> str:
    """Full name of a public name, with the module that defines it."""
    return f"minidecilm.{minidecilm._HOMES[name]}.{name}"
