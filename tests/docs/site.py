"""One build of the site, for every test that reads it or opens it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WARNINGS = "warnings.txt"  # in the folder of the built site; a test demands that it is empty


def build(out: Path) -> None:
    """Build the site, and write what Sphinx warns of beside its pages."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "sphinx", "-n", "-q", "-w", str(out / WARNINGS), "-b", "html"]
    subprocess.run([*command, str(ROOT / "docs"), str(out)], check=True, cwd=ROOT)
