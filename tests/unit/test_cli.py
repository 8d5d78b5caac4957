"""The command line: output, exit codes, and one line for every mistake."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

import minidecilm
from minidecilm.catalog import DEMO_FOLDER
from minidecilm.weights.safetensors_file import TensorSource, read_safetensors, write_safetensors
from tests import checks


def test_generate_prints_the_text_and_nothing_else(run_command):
    options = {"max_new_tokens": 20, "temperature": 0.7, "seed": 3}
    expected = minidecilm.generate("Once upon a time", **options)
    arguments = ("--max-new-tokens", 20, "--temperature", 0.7, "--seed", 3)
    assert run_command("generate", "Once upon a time", *arguments)[:2] == (0, expected + "\n")
    echoed = run_command("generate", "Once upon a time", "--echo", *arguments)
    assert echoed[:2] == (0, "Once upon a time" + expected + "\n")


def test_generate_says_in_one_line_what_it_took(run_command):
    totals = minidecilm.Totals()
    minidecilm.generate("Once upon a time", max_new_tokens=20, temperature=0, totals=totals)
    err = run_command("generate", "Once upon a time", "--max-new-tokens", 20, "--temperature", 0)[2]
    assert len(err.splitlines()) == 1
    found = re.fullmatch(
        r"read (\S+) tokens \((\S+) a second\), wrote (\S+) \((\S+) a second\), cache (\S+) bytes\n", err
    )
    tokens, reading, written, writing, nbytes = (float(part.replace(",", "")) for part in found.groups())
    ids = minidecilm.load("demo").tokenizer.encode("Once upon a time")
    # What the last token will have to say is cached when it is read.
    heads = sum(minidecilm.load("demo").config.num_key_value_heads_per_layer)
    slot = heads * 2 * minidecilm.load("demo").config.head_dim * 4
    assert (tokens, written, nbytes) == (len(ids), 20, (len(ids) + 19) * slot)
    assert (totals.read_tokens, totals.written_tokens, totals.cache_nbytes) == (tokens, written, nbytes)
    assert reading > 0
    assert writing > 0


def generate_from(data, *arguments, **options):
    """Run `minidecilm generate -` on these bytes."""
    command = [sys.executable, "-m", "minidecilm", "generate", "-", "--max-new-tokens", "5", *arguments]
    return subprocess.run(command, input=data, capture_output=True, **options)


def test_generate_reads_standard_input():
    expected = minidecilm.generate("One day", max_new_tokens=5, temperature=0)
    found = generate_from(b"One day\n", "--temperature", "0")
    assert (found.returncode, found.stdout.decode()) == (0, expected + "\n")


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (b"One day", "One day"),
        (b"One day\n", "One day"),
        (b"One day\r\n", "One day"),
        (b"One day\n\n", "One day\n"),
        (b"One day ", "One day "),
    ],
    ids=repr,
)
def test_one_newline_is_cut_off_and_nothing_else(run_command, monkeypatch, text, prompt):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    monkeypatch.setattr(minidecilm.LanguageModel, "stream", lambda self, prompt, **options: iter([prompt]))
    assert run_command("generate", "-")[:2] == (0, prompt + "\n")


def test_standard_input_that_is_no_utf_8_is_called_that():
    found = generate_from(b"na\xefve")
    assert (found.returncode, found.stdout) == (2, b"")
    [line] = found.stderr.decode().splitlines()
    assert "standard input: expected UTF-8, found the byte 0xEF at position 2" in line


@pytest.mark.skipif(os.name != "posix", reason="closes a file descriptor")
def test_closed_standard_input_is_one_line():
    closing = ["sh", "-c", 'exec "$@" <&-', "sh"]
    found = subprocess.run(
        [*closing, sys.executable, "-m", "minidecilm", "generate", "-"], capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("minidecilm generate: standard input is closed")
    assert len(found.stderr.splitlines()) == 1


SLOW = """
import sys, time
from minidecilm import generation
from minidecilm.cli.main import main

class SlowClock(generation.LayerClock):
    def __call__(self, *arguments):
        if self._on_layer is not None:
            time.sleep(0.25)
        super().__call__(*arguments)

def slow_sample(*arguments):
    time.sleep(0.1)
    return sample(*arguments)

sample, generation.sample, generation.LayerClock = generation.sample, slow_sample, SlowClock
sys.exit(main())
"""


def screen(written):
    """What a terminal shows: lines, where a carriage return goes back to the first column."""
    lines, column = [""], 0
    for character in written:
        if character == "\n":
            lines.append("")
        elif character != "\r":
            lines[-1] = lines[-1][:column].ljust(column) + character + lines[-1][column + 1 :]
        column = 0 if character in "\r\n" else column + 1
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("to_terminal", [True, False], ids=["terminal", "file"])
def test_bars_never_run_into_the_text_on_a_terminal(to_terminal):
    """A model slow enough to have bars; where the text goes to a file, writing has one too."""
    termios = pytest.importorskip("termios")
    expected = minidecilm.generate("Once upon a time", max_new_tokens=20, temperature=0)
    terminal, inner = os.openpty()
    termios.tcsetwinsize(inner, (24, 80))  # bars need room
    arguments = ["generate", "Once upon a time", "--echo", "--max-new-tokens", "20", "--temperature", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments],
        stdout=inner if to_terminal else subprocess.PIPE,
        stderr=inner,
        stdin=inner,
    ) as process:
        os.close(inner)
        parts = []
        with suppress(OSError):  # what a terminal says when nothing holds it any more
            while part := os.read(terminal, 4096):
                parts.append(part)
        text = "" if to_terminal else process.stdout.read().decode()
    os.close(terminal)
    assert process.returncode == 0
    written = b"".join(parts).decode()
    assert "reading 5 tokens:" in written
    assert ("writing:" in written) == (not to_terminal)
    shown = screen(written)
    if to_terminal:
        text, *shown = "\n".join(shown).partition("\nread 5 tokens")
        shown = ["", *"".join(shown).splitlines()]
    assert text.rstrip("\n").endswith("Once upon a time" + expected.rstrip())
    assert text.count("%") == 0
    assert shown[-1 if shown[-1] else -2].startswith("read 5 tokens (")


def test_generate_writes_a_trace(run_command, tmp_path):
    file = tmp_path / "trace.json"
    code, _, _ = run_command(
        "generate", "One day", "--max-new-tokens", 4, "--temperature", 0, "--trace", file
    )
    assert code == 0
    trace = json.loads(file.read_text())
    assert trace["prompt"] == "One day"
    assert len(trace["steps"]) == 4
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "x", "--model", "no/such/folder"], "no/such/folder"),
        (["generate", "x", "--model", "nowhere"], "nowhere"),
        (["generate", "x", "--model", checks.GOLDEN], "tokenizer.model is missing"),
        (["generate", "x", "--model", checks.GOLDEN / "config.json"], "config.json"),
        (["generate", ""], "prompt is empty"),
        (["generate", "word " * 2000], "exceeds 1024 tokens"),
        (["generate", "x", "--max-new-tokens", "0"], "max_new_tokens"),
        (["generate", "x", "--max-new-tokens", "many"], "--max-new-tokens"),
        (["generate", "x", "--temperature", "-1"], "temperature"),
        (["generate", "x", "--temperature", "nan"], "temperature"),
        (["generate", "x", "--backend", "abacus"], "abacus"),
        (["generate", "x", "--weights", "int2"], "int2"),
        (["generate", "x", "--dtype", "float8"], "float8"),
        (["generate", "x", "--rope", "dynamic"], "dynamic"),
        (["generate", "x", "--template", "chatty"], "decilm-6b-instruct"),
        (["generate", "x", "--seed", "-1"], "seed"),
        (["generate", "x", "--trace", "/no/such/folder/trace.json"], "trace.json"),
        (["generate", "x", "--nonsense"], "--nonsense"),
        (["generate"], "prompt"),
        (["info", "gpt-5"], "decilm-6b"),
        (["info", "no/such/config.json"], "no/such/config.json"),
        (["compare", "demo", "--dtype", "float32,float64,float32"], "--dtype"),
        (["compare", "demo", checks.GOLDEN], "cannot compare"),
        (["compare", "demo", "--tokens", "0"], "--tokens"),
        (["compare", checks.GOLDEN, "--tokens", "257"], "--tokens: expected 1 to 256, found 257"),
        (["compare", "demo", "--prompt", "word " * 2000], "exceeds 1024 tokens"),
        (["compare", checks.GOLDEN, "--prompt", "x"], "tokenizer.model"),
        (["merge", "demo", "adapter"], "folder"),
        (["merge", "demo", "no/such/folder", "new"], "no/such/folder/adapter_config.json: expected"),
        (
            ["quantize", "demo", "new", "--adapter", "no/such/one"],
            "no/such/one/adapter_config.json: expected",
        ),
        (["quantize", "demo"], "folder"),
        (["quantize", "no/such/folder", "new"], "no/such/folder"),
        (["quantize", "demo", "/no/such/folder/new"], "/no/such/folder: no such folder"),
        (["quantize", "demo", checks.GOLDEN], "not an empty folder"),
        (["quantize", "demo", "new", "--weights", "int2"], "'int8' or 'int4'"),
        (["quantize", "demo", "new", "--weights", "float32"], "'int8' or 'int4'"),
        (["quantize", "demo", "new", "--group", "48"], "32 or 64 or 128"),
        (["quantize", "demo", "new", "--group", "many"], "--group"),
        (["fly"], "fly"),
        ([], "COMMAND"),
    ],
    ids=lambda value: " ".join(map(str, value))[:50] if isinstance(value, list) else "",
)
def test_bad_input_gives_one_line_and_exit_2(run_command, arguments, message):
    code, out, err = run_command(*arguments)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.parametrize("command", [[], ["generate"], ["info"], ["quantize"], ["compare"]])
def test_help_shows_an_example(run_command, command):
    code, out, _ = run_command(*command, "--help")
    assert code == 0
    assert not command or f"example: minidecilm {command[0]}" in " ".join(out.split())


def test_info_json_of_a_preset(run_command):
    code, out, _ = run_command("info", "DeciLM-6b", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["parameters"] == 5_717_102_592
    assert facts["weight_bytes"] == 11_434_205_184
    assert facts["kv_heads_per_layer"] == [4] + [2] * 9 + [1] * 20 + [4, 4]
    assert facts["kv_cache_bytes_per_token"] == 25_600
    assert facts["max_position_embeddings"] == 4096
    assert facts["rope"] == {"type": "dynamic", "theta": 10000.0, "factor": 2.0}
    assert sum(layer["kv_cache_bytes_per_token"] for layer in facts["layers"]) == 25_600


@pytest.mark.parametrize("model", ["demo", checks.GOLDEN, checks.GOLDEN / "config.json"], ids=str)
def test_info_agrees_between_table_and_json(run_command, model):
    facts = json.loads(run_command("info", model, "--json")[1])
    code, table, _ = run_command("info", model)
    assert code == 0
    for key in ("parameters", "weight_bytes", "kv_cache_bytes_per_token"):
        assert f"{facts[key]:,}" in table
    for name in ("storage", "compute", "accumulate"):
        assert facts["dtypes"][name] in (["bfloat16"], "float32")
    rows = [line.split() for line in table.splitlines()[-len(facts["layers"]) :]]
    assert [int(row[1]) for row in rows] == facts["kv_heads_per_layer"]


def test_quantize_then_info_and_generate(run_command, tmp_path):
    folder = tmp_path / "demo-int4"
    code, out, err = run_command("quantize", "demo", folder, "--weights", "int4", "--group", 32)
    assert (code, out) == (0, "")
    facts = json.loads(run_command("info", folder, "--json")[1])
    plain = json.loads(run_command("info", "demo", "--json")[1])
    assert facts["parameters"] == plain["parameters"]
    assert facts["dtypes"]["storage"] == ["bfloat16", "int4", "int8"]
    assert (facts["group"], plain["group"]) == (32, None)
    assert f"{facts['weight_bytes']:,} bytes of weights, {facts['bits_per_weight']:.2f} bits each" in err
    assert facts["bits_per_weight"] == 8 * facts["weight_bytes"] / facts["parameters"]
    assert plain["bits_per_weight"] == 16
    table = run_command("info", folder)[1]
    assert f"{facts['bits_per_weight']:.2f} bits each, storage bfloat16/int4/int8" in table
    assert "a scale per 32 columns" in table
    arguments = ("Once upon a time", "--model", folder, "--max-new-tokens", 5, "--temperature", 0)
    code, text, _ = run_command("generate", *arguments)
    assert code == 0
    assert run_command("generate", *arguments, "--weights", "float32")[1] == text
    code, out, err = run_command("quantize", folder, tmp_path / "again")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "expected float weights, found int4" in err
    assert run_command("generate", *arguments, "--weights", "int8")[0] == 2


def test_compare_agrees_with_itself_across_dtypes(run_command):
    code, out, _ = run_command(
        "compare", "demo", "--dtype", "float32,float64", "--prompt", "Once upon a time"
    )
    assert (code, out[:14]) == (0, "the same withi")


def test_compare_names_the_first_stage_and_layer(run_command, tmp_path):
    """A copy of the checkpoint with one weight of layer 3 changed: the first stage that shows it is named."""
    import shutil

    import ml_dtypes  # noqa: F401 - lets NumPy name bfloat16
    from safetensors.numpy import load_file, save_file

    for file in checks.GOLDEN.iterdir():
        shutil.copy(file, tmp_path)
    name = "model.layers.3.self_attn.v_proj.weight"
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shard = tmp_path / index["weight_map"][name]
    tensors = load_file(shard)
    tensors[name] = tensors[name].copy()
    tensors[name][0] += 1
    save_file(tensors, shard)
    code, out, _ = run_command("compare", checks.GOLDEN, tmp_path)
    assert code == 1
    assert out.startswith("first difference: v of layer 3")
    result = json.loads(run_command("compare", checks.GOLDEN, tmp_path, "--json")[1])
    assert (result["first_difference"]["layer"], result["first_difference"]["stage"]) == (3, "v")


def test_compare_sees_rotary_policies_part_beyond_m(run_command):
    short = run_command("compare", checks.GOLDEN, "--rope", "reference,exact", "--tokens", 64)
    assert short[0] == 0
    code, out, _ = run_command("compare", checks.GOLDEN, "--rope", "reference,exact", "--tokens", 65)
    assert code == 1
    assert "attention_weights of layer 0" in out


# Tests that a shell runs in its background inherit that Ctrl-C is ignored.
HEEDING_CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from minidecilm.cli.main import main
sys.exit(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_prints_what_there_is():
    command = [
        sys.executable,
        "-c",
        HEEDING_CTRL_C,
        "generate",
        "Once",
        "--max-new-tokens",
        "900",
        "--min-p",
        "0",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # Nearly uniform tokens do not end the text by themselves before the signal arrives.
    command += ["--temperature", "20", "--top-p", "1", "--dtype", "float64"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        started = process.stdout.read(1)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (started + out).strip()
    assert err == "interrupted\n"


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="the system has no such signal")
def test_a_file_cut_short_during_a_run_is_one_line(tmp_path):
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "model")
    arguments = ["generate", "Once upon a time", "--model", str(folder), "--max-new-tokens", "200"]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.read(1)
        for file in folder.glob("*.safetensors"):
            os.truncate(file, 4096)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == (
        f"minidecilm generate: a file of {folder} was cut short while it was read; "
        "let what writes there finish\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("delay", [0.05, 0.2, 0.5])
def test_ctrl_c_while_the_program_loads_is_one_line(delay):
    """The first moments are Python's own: it may not have got to this package yet."""
    code = HEEDING_CTRL_C.replace("minidecilm.cli.main import main", "minidecilm.__main__ import run as main")
    code = code.replace("\nsys.exit", "\nprint('begun', flush=True)\nsys.exit")
    with subprocess.Popen(
        [sys.executable, "-c", code, "generate", "Once", "--max-new-tokens", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "interrupted\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no device that is always full")
@pytest.mark.parametrize("arguments", [["generate", "Once"], ["info", "demo"]], ids=lambda a: a[0])
def test_a_full_disk_behind_standard_output_is_named(arguments):
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [sys.executable, "-m", "minidecilm", *arguments], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert found.returncode == 2
    assert found.stderr == (
        f"minidecilm {arguments[0]}: [Errno 28] No space left on device: 'standard output'\n"
    )


def test_running_out_of_memory_is_said(run_command, monkeypatch):
    def out_of_memory(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("minidecilm.cli.generate.load", out_of_memory)
    assert run_command("generate", "Once") == (2, "", "minidecilm generate: not enough memory\n")


def test_a_full_disk_behind_standard_error_takes_nothing_from_the_text():
    if not os.path.exists("/dev/full"):
        pytest.skip("the system has no device that is always full")
    command = [sys.executable, "-m", "minidecilm", "generate", "Once", "--max-new-tokens", "3"]
    with open("/dev/full", "w") as full:
        found = subprocess.run([*command, "--temperature", "0"], stdout=subprocess.PIPE, stderr=full)
    text = minidecilm.generate("Once", max_new_tokens=3, temperature=0)
    assert (found.returncode, found.stdout.decode()) == (0, text + "\n")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("é" * 6, "standard input: expected at most 10 bytes of text, found more"),
        ("ab\xe9".encode("latin-1"), "found the byte 0xE9 at position 2"),
        (b"\xef\xbb\xbf", "the prompt is empty"),  # a byte-order mark
    ],
    ids=["long", "latin-1", "mark"],
)
def test_what_standard_input_holds(run_command, monkeypatch, data, expected):
    monkeypatch.setattr("minidecilm.cli.generate._MAX_PROMPT_BYTES", 10)
    data = data.encode() if isinstance(data, str) else data
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    code, out, err = run_command("generate", "-")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert expected in err


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_numbers_that_overflow_are_named_by_every_command_that_runs_a_model(run_command, tmp_path, backend):
    folder = shutil.copytree(checks.GOLDEN, tmp_path / "huge")
    name = "model.layers.3.mlp.down_proj.weight"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shard = folder / index["weight_map"][name]
    tensors = {key: np.array(value) for key, value in read_safetensors(shard).items()}
    tensors[name] = tensors[name] * tensors[name].dtype.type(1e30)
    write_safetensors(shard, [TensorSource.from_array(*item) for item in tensors.items()])
    fault = "input_layernorm of layer 4 vanishes"
    code, _, err = run_command("compare", folder, "--tokens", 5, "--backend", backend)
    assert f"the first run: {fault}" in err
    assert f"the second run: {fault}" in err
    code, out, err = run_command("bench", folder, "--backend", backend)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"minidecilm bench: {fault}")
