"""`minidecilm plot`: files of every kind, and one line for every mistake. What is drawn: test_gallery.py."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from minidecilm import preset
from minidecilm.catalog import DEMO_FOLDER
from minidecilm.plots.gallery import OF_A_RUN, OF_CONFIGS
from tests import checks

NAMES = [*OF_CONFIGS, *OF_A_RUN]


@pytest.mark.parametrize("name", NAMES)
def test_every_plot_of_the_demo_model(run_command, tmp_path, name):
    file, numbers = tmp_path / "plot.svg", tmp_path / "plot.csv"
    assert run_command("plot", name, "demo", "--out", file, "--csv", numbers) == (
        0,
        f"wrote {file} and {numbers}\n",
        "",
    )
    assert file.read_text().startswith("<?xml")
    header, *rows = numbers.read_text().splitlines()
    assert header.startswith("panel,series,")
    assert len(rows) > 2
    assert sorted(tmp_path.iterdir()) == [numbers, file]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are any bytes on Linux only")
def test_a_folder_whose_name_is_no_text(tmp_path, run_command):
    folder = tmp_path / os.fsdecode(b"na\xefve")
    shutil.copytree(DEMO_FOLDER, folder)
    file, numbers = folder / "heads.png", folder / "heads.csv"
    assert run_command("plot", "kv-heads", folder, "--out", file, "--csv", numbers)[0] == 0
    assert "na\ufffdve" in numbers.read_text(encoding="utf-8")


def test_links_in_a_circle(tmp_path, run_command):
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    code, _, err = run_command(
        "plot", "kv-heads", "--out", tmp_path / "a.svg", "--csv", tmp_path / "loop.csv"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "links lead in a circle" in err


def test_formats(run_command, tmp_path):
    starts = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    for suffix, start in starts.items():
        assert run_command("plot", "kv-heads", "--out", tmp_path / f"p.{suffix}")[0] == 0
        assert (tmp_path / f"p.{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pie", "--out", "p.svg"], "no plot 'pie': choose from architecture, kv-heads, parameters"),
        (["kv-heads"], "--out"),
        (["kv-heads", "--out", "p.jpg"], "p.jpg: expected a name that ends in .svg, .png, .pdf"),
        (["kv-heads", "--out", "p.gif", "--csv", "p.csv"], "p.gif: expected a name"),
        (["kv-heads", "--out", "p"], "expected a name that ends in"),
        (["kv-heads", "--out", "no/such/folder/p.svg"], "no such folder"),
        (["kv-heads", "--out", "p.svg", "--csv", "no/such/folder/p.csv"], "no such folder"),
        (["kv-heads", "gpt-5", "--out", "p.svg"], "gpt-5"),
        (["kv-heads", "--config", "no/config.json", "--out", "p.svg"], "no/config.json"),
        (["kv-heads", "demo", "demo", "--out", "p.svg"], "two models"),
        (["angles", "decilm-6b", "decilm-7b", "--out", "p.svg"], "of one model, found 2"),
        (["throughput", "--device", "abacus", "--out", "p.svg"], "abacus"),
        (["throughput", "--devices", "no.json", "--out", "p.svg"], "no.json"),
        (["largest-batch", "--weights", "int2", "--out", "p.svg"], "int2"),
        (["throughput", "--context", "0", "--out", "p.svg"], "--context: expected 1 to 16,777,216, found 0"),
        (["throughput", "--context", "9999999", "--out", "p.svg"], "before the first row"),
        (["kv-cache-batch", "--context", "9" * 30, "--out", "p.svg"], "--context: expected 1 to 16,777,216"),
        (["kv-heads", "--out", "p.svg", "--csv", "p.svg"], "name the same file"),
        (["kv-heads", "--out", "p.svg", "--csv", "/dev/null"], "found a folder, pipe or device"),
        (["kv-heads", "", "--out", "p.svg"], "the name is empty"),
        (["attention", "decilm-6b", "--out", "p.svg"], "preset without weights"),
        (["attention", "demo", "demo", "--out", "p.svg"], "of one model"),
        (["attention", "no/such/folder", "--out", "p.svg"], "no/such/folder"),
        (["attention", "--layer", "8", "--out", "p.svg"], "--layer: expected 0 to 7, found 8"),
        (["attention", "--prompt", "", "--out", "p.svg"], "at least two tokens"),
        (["attention", "--prompt", "word " * 2000, "--out", "p.svg"], "exceeds 1024 tokens"),
        (["activations", checks.GOLDEN, "--out", "p.svg"], "tokenizer.model"),
    ],
    ids=lambda value: " ".join(map(str, value))[:50] if isinstance(value, list) else "",
)
def test_bad_input_gives_one_line_and_leaves_nothing(run_command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_command("plot", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("heads", [None, [7] * 32], ids=["no KV heads", "7 for 32 query heads"])
def test_wrong_kv_heads_are_refused(run_command, tmp_path, heads):
    values = preset("decilm-6b").to_dict()
    del values["num_key_value_heads_per_layer"]
    if heads is not None:
        values["num_key_value_heads_per_layer"] = heads
    (tmp_path / "config.json").write_text(json.dumps(values))
    for name in OF_CONFIGS:
        code, _, err = run_command("plot", name, tmp_path / "config.json", "--out", tmp_path / "p.svg")
        assert code == 2
        assert "num_key_value_heads_per_layer" in err
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_odd_names_and_short_contexts(run_command, tmp_path):
    values = preset("decilm-6b").to_dict() | {"max_position_embeddings": 16}
    for name in ("_under.json", "a$b$.json"):
        (tmp_path / name).write_text(json.dumps(values))
        arguments = ("plot", "kv-cache", tmp_path / name, "--csv", tmp_path / "p.csv")
        assert run_command(*arguments, "--out", tmp_path / "p.svg")[0] == 0
        assert len((tmp_path / "p.csv").read_text().splitlines()) == 3  # 16 and 32 tokens


def test_a_window_that_is_not_installed_is_not_needed(tmp_path):
    """A notebook sets MPLBACKEND to one that the environment of a command may lack."""
    file = tmp_path / "heads.svg"
    command = [sys.executable, "-m", "minidecilm", "plot", "kv-heads", "--out", str(file)]
    found = subprocess.run(command, env={**os.environ, "MPLBACKEND": "no-such-window"}, capture_output=True)
    assert (found.returncode, found.stderr) == (0, b"")
    assert file.stat().st_size > 1000
    code = "from minidecilm import plots\nwith plots.style(): import matplotlib\n"
    code += "import os; print(matplotlib.get_backend(), os.environ['MPLBACKEND'])"
    environment = {**os.environ, "MPLBACKEND": "svg"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert found.stdout == "svg svg\n"  # what a program has chosen for its own windows stays
