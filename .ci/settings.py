"""Run the tests as on other machines: with other instructions, another number of threads, another Python.

    python .ci/settings.py numba-x86-64                               # all tests
    python .ci/settings.py numba-avx2 threads-2 -- tests/backends     # pytest's arguments after --
    python .ci/settings.py python-3.13 openblas-sse -- -n 2 -m "not slow"

Settings add up. Run it by the Python of an environment that can run the tests; for another Python it makes
one. Where there is no other, "python-other" makes one for the same.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.13", "3.12", "3.11")

# Instructions of what compilers call x86-64-v3, and of the first CPUs with AVX-512 VNNI.
AVX2 = "sse3 ssse3 sse4.1 sse4.2 popcnt cx16 sahf avx avx2 bmi bmi2 f16c fma lzcnt movbe"
AVX512 = f"{AVX2} avx512f avx512bw avx512cd avx512dq avx512vl avx512vnni"


def numba(cpu: str, features: str) -> dict[str, str]:
    """What Numba compiles for."""
    return {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in features.split())}


def threads(count: int) -> dict[str, str]:
    """How many threads Numba and OpenBLAS use."""
    return {"NUMBA_NUM_THREADS": str(count), "OPENBLAS_NUM_THREADS": str(count)}


SETTINGS = {
    "numba-x86-64": numba("x86-64", ""),
    "numba-avx2": numba("haswell", AVX2),
    "numba-avx512": numba("cascadelake", AVX512),
    "numpy-baseline": {},  # depends on NumPy's version: see narrowest
    "openblas-sse": {"OPENBLAS_CORETYPE": "Prescott"},
    "openblas-avx": {"OPENBLAS_CORETYPE": "Sandybridge"},
    "threads-1": threads(1),
    "threads-2": threads(2),
    **{f"python-{version}": {} for version in PYTHONS},
    "python-other": {},
}
NEEDS = {"numba-avx2": {"avx2", "fma", "f16c"}, "numba-avx512": {"avx512f", "avx512bw", "avx512_vnni"}}


def narrowest(python: str) -> dict[str, str]:
    """Turn off all instructions that NumPy chooses when it is imported: those that this CPU has."""
    code = (
        "from numpy._core import _multiarray_umath as u;"
        "print(*(name for name in u.__cpu_dispatch__ if u.__cpu_features__[name]))"
    )
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(found)} if found else {}


def find_python(wanted: str) -> str | None:
    """Path of a Python, such as "3.12" or one "other" than this, on the search path or of pyenv."""
    if wanted == "other":
        own = platform.python_version().rpartition(".")[0]
        return next(filter(None, map(find_python, [version for version in PYTHONS if version != own])), None)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for path in (f"python{wanted}", *sorted(pyenv.glob(f"{wanted}.*/bin/python"))):
        found = shutil.which(path)  # pyenv has programs on the search path that only say where to look
        if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
            return found
    return None


def environment(python: str, folder: Path, extra: str) -> str:
    """Make a virtual environment, or bring one up to date; return its Python."""
    own = folder / "bin" / "python"
    if not own.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    install = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", "constraints.txt", "-e", f".[{extra}]"], check=True, cwd=ROOT)
    return str(own)


def main() -> int:
    """Run the tests as the command line says; return pytest's exit status."""
    arguments = sys.argv[1:]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="+", choices=SETTINGS, metavar="SETTING", help=", ".join(SETTINGS))
    parser.add_argument("--extra", default="test", help="what another Python gets installed (default: test)")
    parser.add_argument("--venv", type=Path, help="where (default: .venv-VERSION in the clone)")
    options = parser.parse_args(arguments[:at])

    python, variables = sys.executable, {}
    flags = set(Path("/proc/cpuinfo").read_text().split()) if sys.platform == "linux" else set()
    for name in options.settings:
        if flags and not NEEDS.get(name, set()) <= flags:
            parser.error(f"{name}: this CPU lacks {', '.join(sorted(NEEDS[name] - flags))}")
        variables |= SETTINGS[name]
        wanted = name.removeprefix("python-")
        if wanted != name:
            found = find_python(wanted) or (sys.executable if wanted == "other" else None)
            if found is None:
                parser.error(f"{name}: no such Python on the search path, nor in pyenv's folder")
            python = environment(found, options.venv or ROOT / f".venv-{wanted}", options.extra)
    if "numpy-baseline" in options.settings:
        variables |= narrowest(python)

    shown = " ".join(f"{name}={value!r}" for name, value in variables.items())
    command = [python, "-m", "pytest", *arguments[at + 1 :]]
    print(f"{shown} {' '.join(command)}", flush=True)
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
