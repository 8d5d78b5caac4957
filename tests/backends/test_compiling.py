"""Compiled code follows the sources it was made of, and is kept where it is safe, or not at all."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidecilm
from minidecilm.backends import create_backend
from minidecilm.backends.numba_backend import compiling

pytestmark = pytest.mark.slow
PACKAGE = Path(minidecilm.__file__).parent

EXTREMES = """
from minidecilm.backends import create_backend
from tests.backends.test_linear import check_extremes
try:
    check_extremes(create_backend("numba"), 4, 128, token_counts=[1])  # others take longer to compile
    print("right")
except AssertionError:
    print("wrong")
"""

#: By what the CPU runs: a file, and a mistake in it. 4-bit weights are stored 8 too large on every CPU.
MISTAKES = {
    "explicit": ("dots.py", "offset, -8)", "offset, -7)"),
    "portable": ("portable_linear.py", "else -8 *", "else -7 *"),
}


@pytest.fixture
def copy(tmp_path):
    """A copy of the package and of the tests, without what was compiled."""
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "minidecilm", ignore=without)
    shutil.copytree(Path(__file__).parents[1], tmp_path / "tests", ignore=without)
    return tmp_path


def run(copy, code, **environment):
    sooner = {"NUMBA_OPT": "0"}  # compiled, but slow: that is enough here
    environment = {**os.environ, **sooner, "PYTHONPATH": str(copy), **environment}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def test_a_changed_source_is_compiled_anew(copy):
    """The extremes notice the mistake, and run as before once it is gone."""
    file, right, wrong = MISTAKES[create_backend("numba").kernels]
    source = copy / "minidecilm/backends/numba_backend" / file
    sound = source.read_text()
    assert run(copy, EXTREMES) == "right"
    assert sound.count(right) == 1
    source.write_text(sound.replace(right, wrong))
    assert run(copy, EXTREMES) == "wrong"
    source.write_text(sound)
    assert run(copy, EXTREMES) == "right"


def test_without_a_place_for_compiled_code(copy):
    """Then it is compiled in every run."""
    nowhere = copy / "a file"
    nowhere.touch()
    (copy / "minidecilm/backends/numba_backend/__pycache__").touch()
    code = "import minidecilm.backends.numba_backend.compiling as c; print(c.CACHE_FOLDER)"
    environment = {"NUMBA_CACHE_DIR": "", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"XDG_CACHE_HOME": str(nowhere), "TMPDIR": str(nowhere)}
    assert run(copy, code, **environment) == "None"
    assert run(copy, EXTREMES, **environment) == "right"


@pytest.fixture
def no_places(tmp_path, monkeypatch):
    """No place of this process will do: tests make some, in the folder that is returned."""
    nowhere = tmp_path / "a file"
    nowhere.touch()
    monkeypatch.setattr(compiling, "_HERE", nowhere)
    monkeypatch.setattr(compiling.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere))
    monkeypatch.setenv("TMPDIR", str(nowhere))
    monkeypatch.chdir(tmp_path)
    assert compiling._cache_folder() is None
    return tmp_path


def test_no_place_is_relative(no_places, monkeypatch):
    """A user whom the password file does not know has no home: "~" remains, a name like any other."""

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(compiling.config, "CACHE_DIR", "relative")
    before = sorted(no_places.iterdir())
    for variable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
        monkeypatch.setenv("TMPDIR", "relative")
        assert compiling._cache_folder() is None
    assert sorted(no_places.iterdir()) == before

    monkeypatch.setenv("TMPDIR", str(no_places))
    folder = compiling._cache_folder()
    assert folder.parent == no_places / f"minidecilm-{os.geteuid()}"
    assert [stat.S_IMODE(place.stat().st_mode) for place in (folder, folder.parent)] == [0o700, 0o700]


def test_a_home_is_used_before_the_temporary_folder(no_places, monkeypatch):
    monkeypatch.setenv("HOME", str(no_places / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("TMPDIR", str(no_places))
    assert compiling._cache_folder().parent == no_places / "home/.cache/minidecilm"


def open_to_all(place):
    place.chmod(0o777)


def of_another_group(place):
    place.chmod(0o770)
    os.chown(place, -1, os.getegid() + 1)


def of_another_user(place):
    os.chown(place, os.geteuid() + 1, -1)


def behind_anothers_link(place):
    (place.parent / "elsewhere").mkdir()
    place.rmdir()
    place.symlink_to("elsewhere")
    os.lchown(place, os.geteuid() + 1, -1)


@pytest.mark.parametrize("make", [open_to_all, of_another_group, of_another_user, behind_anothers_link])
@pytest.mark.parametrize("level", ["above", "base", "folder"])
def test_a_place_that_others_can_write_is_left_alone(make, level, no_places, monkeypatch):
    base = no_places / "above/base"
    monkeypatch.setattr(compiling.config, "CACHE_DIR", str(base))
    folder = compiling._cache_folder()
    assert folder.parent == base
    place = {"above": base.parent, "base": base, "folder": folder}[level]
    shutil.rmtree(place)
    place.mkdir()
    try:
        make(place)
    except PermissionError:
        pytest.skip("only root gives files away")
    before = sorted(no_places.rglob("*"))
    assert compiling._cache_folder() is None
    assert sorted(no_places.rglob("*")) == before


def test_a_temporary_folder_for_all_will_do(no_places, monkeypatch):
    """Like /tmp: everyone may add to it, nobody may touch what others have added."""
    (no_places / "tmp").mkdir()
    (no_places / "tmp").chmod(0o1777)
    monkeypatch.setattr(compiling.config, "CACHE_DIR", str(no_places / "tmp"))
    folder = compiling._cache_folder()
    assert folder.parent == no_places / "tmp"
    folder.chmod(0o1777)  # now everyone may add compiled code
    assert compiling._cache_folder() is None


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Makes a function anew, as a new process does, that keeps its compiled code in `tmp_path`."""
    monkeypatch.setattr(compiling, "CACHE_FOLDER", tmp_path)
    compiling._say_once.cache_clear()

    def make():
        @compiling.njit()
        def twice(x):
            return x + x

        return twice

    return make


def loads(function):
    """How often code was loaded, and how often there was none to load."""
    return sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values())


def flip(content, at):
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "random": lambda content: np.random.default_rng(0).bytes(len(content)),
    "halved": lambda content: content[: len(content) // 2],
    "flipped early": lambda content: flip(content, len(content) // 5),
    "flipped late": lambda content: flip(content, len(content) * 4 // 5),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_code_is_compiled_anew(suffix, damage, compiled, tmp_path, capsys):
    assert compiled()(3) == 6
    whole = compiled()
    assert (whole(3), loads(whole)) == (6, (1, 0))
    [file] = tmp_path.glob(f"*{suffix}")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert capsys.readouterr().err == ""
    mended = compiled()
    assert (mended(3), loads(mended)) == (6, (0, 1))
    assert capsys.readouterr().err == f"minidecilm: damaged compiled code in {tmp_path}: compiling anew\n"
    again = compiled()
    assert (again(3), loads(again)) == (6, (1, 0))


def test_code_for_other_arguments_is_not_taken(compiled, tmp_path):
    """Two processes that write at the same time may leave an index of one and code of the other."""
    function = compiled()
    assert (function(3), function(0.5)) == (6, 1.0)
    first, second = sorted(tmp_path.glob("*.nbc"))
    second.write_bytes(first.read_bytes())
    found = compiled()
    assert (found(3), found(0.5), loads(found)) == (6, 1.0, (1, 1))


FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, BYTES))
from minidecilm.backends.numba_backend import linear
print([linear.share_of(0, 2, 10, step) for step in (1, 4)], linear.share_of(0, 2, 10, 1.0))
"""


@pytest.mark.parametrize("limit", [0, 4096])
def test_a_full_disk_costs_one_line(limit, tmp_path):
    """Not even the index fits, or the index fits and the code does not."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", FULL_DISK.replace("BYTES", str(limit))]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "[(0, 5), (0, 4)] (0.0, 5.0)\n"
    [line] = found.stderr.splitlines()
    assert line.startswith(f"minidecilm: cannot keep compiled code in {tmp_path}")
    assert ": File too large;" in line
    assert not list(tmp_path.rglob("*.tmp.*"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has no owners of files")
@pytest.mark.parametrize("kind", ["relative", "open to all", "links in a circle"])
def test_a_place_that_was_asked_for_and_is_not_used_is_said(tmp_path, kind):
    place = tmp_path / "place"
    if kind == "links in a circle":
        place.symlink_to(place)
    else:
        place.mkdir()
        place.chmod(0o777)
    asked = "place" if kind == "relative" else str(place)
    code = "import minidecilm.backends.numba_backend.compiling as c; print(c.CACHE_FOLDER)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": asked, "PYTHONPATH": str(PACKAGE.parent)}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 0
    assert str(place) not in found.stdout
    assert found.stderr == (
        f"minidecilm: NUMBA_CACHE_DIR={asked} is not used: expected a whole path that nobody else can write\n"
    )
