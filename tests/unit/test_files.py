"""Files and folders that appear whole or not at all, whoever else writes them."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from minidecilm import write_random_checkpoint
from minidecilm.files import replacing, temporary_beside
from tests.configs import TINY


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link", tmp_path / "there" / "target"
    target.write_text("old")
    link.symlink_to(target)
    with replacing(link) as file:
        file.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: give the name of a file"), replacing(tmp_path):
        pass


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="is a pipe or device"), replacing(tmp_path / "pipe") as file:
        file.touch()
    assert [path.is_fifo() for path in tmp_path.iterdir()] == [True]


def test_writers_of_one_file_do_not_meet(tmp_path):
    """Each writes its own temporary file; the last to finish wins, and what is there is whole at any time."""
    target = tmp_path / "file"
    wrong = []

    def write(letter):
        for _ in range(30):
            with replacing(target) as temporary, temporary.open("w") as file:
                for _ in range(20):
                    file.write(letter * 500)
                    file.flush()
            content = target.read_text()
            if len(content) != 10_000 or len(set(content)) != 1:
                wrong.append(content[:10])

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_of_the_users_own_is_left_alone(tmp_path):
    names = [
        ".file.part",
        ".file.mine.part",
        ".file.0123456789abcdef.part.txt",
        ".other.0123456789abcdef.part",
    ]
    for name in names:
        (tmp_path / name).write_text("mine")
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "file"])
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


KILLED = """
import sys, time
from pathlib import Path
from minidecilm.files import temporary_beside
with temporary_beside(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as temporary:
    if temporary.is_dir():
        (temporary / "weights").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks that end with a process")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_goes_with_the_next_and_that_of_a_living_one_stays(tmp_path, kind):
    target = tmp_path / "target"
    processes = [
        subprocess.Popen([sys.executable, "-c", KILLED, str(target), kind], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == b"writing\n"
    killed, living = processes
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = set(tmp_path.iterdir())
    assert len(before) == 2
    if kind == "file":
        with replacing(target) as temporary:
            temporary.write_text("whole")
    else:
        write_random_checkpoint(TINY, target)
    left = set(tmp_path.iterdir()) - {target}
    assert len(left) == 1
    assert left < before
    living.kill()
    living.communicate()


def test_two_writers_of_one_folder(tmp_path):
    """The slower one is told; what the faster one wrote stays."""
    results = []

    def write(seed):
        try:
            write_random_checkpoint(TINY, tmp_path / "new", seed=seed)
            results.append("wrote")
        except FileExistsError as problem:
            results.append("refused" if "not an empty folder" in str(problem) else str(problem))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["refused"] * 3 + ["wrote"]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_links_in_a_circle_are_one_line(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="links lead in a circle"), replacing(tmp_path / "a") as file:
        file.touch()
    with pytest.raises(OSError, match="links lead in a circle"):
        write_random_checkpoint(TINY, tmp_path / "b")


def test_an_error_of_the_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space.*whole\.txt"), replacing(tmp_path / "whole.txt"):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError, match=r"nowhere/file'$"), replacing(tmp_path / "nowhere/file"):
        pass


@pytest.mark.parametrize("copied", [False, True])
def test_an_error_inside_a_temporary_folder_names_what_was_to_be_written(tmp_path, copied):
    def fail():
        with temporary_beside(tmp_path / "new", folder=True) as temporary:
            inside = str(temporary / "inside")
            names = ("/elsewhere", None, inside) if copied else (inside,)
            raise OSError(28, "No space left on device", *names)

    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path / 'new'}'$"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_fills_what_a_name_may_take(tmp_path):
    target = tmp_path / ("x" * 250)
    with replacing(target) as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 250]


@pytest.mark.skipif(sys.platform == "win32", reason="makes a pipe")
def test_a_pipe_named_as_a_left_over_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".file.0123456789abcdef.part")
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "file").read_text() == "whole"
