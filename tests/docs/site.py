"""One build of the site, for every test that reads it or opens it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(out: Path) -> None:
    """Build the site; a warning is an error, and is shown."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    subprocess.run([*command, str(ROOT / "docs"), str(out)], check=True, cwd=ROOT)
