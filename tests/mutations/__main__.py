"""Plant the mistakes of the lists in a copy of the clone, one by one, and see which the tests notice.

    python -m tests.mutations            all rooms, which takes long
    python -m tests.mutations rope cli   these

Exits 1 if a mistake is not noticed, 2 if a list is out of date or a test fails without a mistake.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import hypothesis  # noqa: F401 - loaded once here, not in every fork
import pytest

from tests.mutations import ROOT, Mutation, faults, room_names, rooms

FAILED = 1  # pytest's exit code when a test failed; others say that it could not run them
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "_build")


def run_tests(copy: Path, tests: list[str]) -> tuple[int, str]:
    """Run tests on a copy of the clone until one fails; return pytest's exit code and what it printed.

    In a fork of this process, which has loaded pytest: that takes longer than most tests.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.chdir(copy)
            sys.path[0] = os.environ["PYTHONPATH"] = str(copy)
            # Python tells a changed file by time, in seconds, and size: a mistake may leave both alone.
            sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
            for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
                del sys.modules[name]  # those of the clone
            loaded = "ignore::pytest.PytestAssertRewriteWarning"
            code = 3  # pytest's own for an error inside it
            try:
                code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", loaded, *tests])
            finally:
                sys.stdout.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return code, output.read()


def notice(copy: Path, mutation: Mutation) -> tuple[int, str]:
    """Plant one mistake, run its tests, and mend the copy."""
    file = copy / mutation.path
    sound = file.read_text(encoding="utf-8")
    file.write_text(sound.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return run_tests(copy, mutation.tests.split())
    finally:
        file.write_text(sound, encoding="utf-8")


def name_of_failed(output: str) -> str:
    """Name the test in pytest's summary of what failed."""
    lines = [line for line in output.splitlines() if line.startswith("FAILED ")]
    return lines[0].split(" - ")[0].removeprefix("FAILED ") if lines else "?"


def main() -> int:
    """Run the rooms that were asked for; return the exit code."""
    parser = argparse.ArgumentParser("python -m tests.mutations", description="Plant mistakes in a copy.")
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"{', '.join(room_names())} (default: all)")
    chosen = parser.parse_args().rooms
    if unknown := set(chosen) - set(room_names()):
        parser.error(f"no room {sorted(unknown)[0]!r}: choose from {', '.join(room_names())}")
    mutations = [m for name, room in rooms().items() if not chosen or name in chosen for m in room]
    if wrong := [fault for mutation in mutations for fault in faults(mutation)]:
        print(*wrong, sep="\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "clone")
        shutil.copytree(ROOT, copy, ignore=_LEFT_OUT)
        print(f"{len(mutations)} mistakes; first their tests without any ...", flush=True)
        code, output = run_tests(copy, sorted({test for m in mutations for test in m.tests.split()}))
        if code:
            print(output, "a test fails, or cannot run, without a mistake", sep="\n")
            return 2
        missed = 0
        for number, mutation in enumerate(mutations, 1):
            started = perf_counter()
            code, output = notice(copy, mutation)
            if code not in (0, FAILED):
                print(output, f"{mutation}: pytest could not run its tests", sep="\n")
                return 2
            missed += code == 0
            verdict = f"noticed by {name_of_failed(output)}" if code else f"NOT NOTICED by {mutation.tests}"
            print(
                f"[{number}/{len(mutations)}] {perf_counter() - started:5.1f} s  {mutation.path}: "
                f"{mutation.old.strip()!r} -> {mutation.new.strip()!r}: {verdict}",
                flush=True,
            )
    print(f"{len(mutations) - missed} of {len(mutations)} mistakes are noticed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
