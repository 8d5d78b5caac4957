"""The command line: output, exit codes, and one line for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import minidecilm
from minidecilm.cli import main
from tests import checks


def run(capsys, *arguments):
    """Return exit code, stdout and stderr of the command line."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def test_generate_prints_the_text_and_nothing_else(capsys):
    options = {"max_new_tokens": 20, "temperature": 0.7, "seed": 3}
    expected = minidecilm.generate("Once upon a time", **options)
    arguments = ("--max-new-tokens", 20, "--temperature", 0.7, "--seed", 3)
    assert run(capsys, "generate", "Once upon a time", *arguments) == (0, expected + "\n", "")
    echoed = run(capsys, "generate", "Once upon a time", "--echo", *arguments)
    assert echoed == (0, "Once upon a time" + expected + "\n", "")


def test_generate_reads_standard_input(capsys, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("One day"))
    expected = minidecilm.generate("One day", max_new_tokens=5, temperature=0)
    assert run(capsys, "generate", "-", "--max-new-tokens", 5, "--temperature", 0)[1] == expected + "\n"


def test_generate_writes_a_trace(capsys, tmp_path):
    file = tmp_path / "trace.json"
    code, _, _ = run(
        capsys, "generate", "One day", "--max-new-tokens", 4, "--temperature", 0, "--trace", file
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
        (["compare", checks.GOLDEN, "--prompt", "x"], "tokenizer.model"),
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
def test_bad_input_gives_one_line_and_exit_2(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.parametrize("command", [[], ["generate"], ["info"], ["quantize"], ["compare"]])
def test_help_shows_an_example(capsys, command):
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert not command or f"example: minidecilm {command[0]}" in " ".join(out.split())


def test_info_json_of_a_preset(capsys):
    code, out, _ = run(capsys, "info", "DeciLM-6b", "--json")
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
def test_info_agrees_between_table_and_json(capsys, model):
    facts = json.loads(run(capsys, "info", model, "--json")[1])
    code, table, _ = run(capsys, "info", model)
    assert code == 0
    for key in ("parameters", "weight_bytes", "kv_cache_bytes_per_token"):
        assert f"{facts[key]:,}" in table
    for name in ("storage", "compute", "accumulate"):
        assert facts["dtypes"][name] in (["bfloat16"], "float32")
    rows = [line.split() for line in table.splitlines()[-len(facts["layers"]) :]]
    assert [int(row[1]) for row in rows] == facts["kv_heads_per_layer"]


def test_quantize_then_info_and_generate(capsys, tmp_path):
    folder = tmp_path / "demo-int4"
    code, out, err = run(capsys, "quantize", "demo", folder, "--weights", "int4", "--group", 32)
    assert (code, out) == (0, "")
    facts = json.loads(run(capsys, "info", folder, "--json")[1])
    plain = json.loads(run(capsys, "info", "demo", "--json")[1])
    assert facts["parameters"] == plain["parameters"]
    assert facts["dtypes"]["storage"] == ["bfloat16", "int4", "int8"]
    assert (facts["group"], plain["group"]) == (32, None)
    assert f"{facts['weight_bytes']:,} bytes of weights, {facts['bits_per_weight']:.2f} bits each" in err
    assert facts["bits_per_weight"] == 8 * facts["weight_bytes"] / facts["parameters"]
    assert plain["bits_per_weight"] == 16
    table = run(capsys, "info", folder)[1]
    assert f"{facts['bits_per_weight']:.2f} bits each, storage bfloat16/int4/int8" in table
    assert "a scale per 32 columns" in table
    arguments = ("Once upon a time", "--model", folder, "--max-new-tokens", 5, "--temperature", 0)
    code, text, _ = run(capsys, "generate", *arguments)
    assert code == 0
    assert run(capsys, "generate", *arguments, "--weights", "float32")[1] == text
    code, out, err = run(capsys, "quantize", folder, tmp_path / "again")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "expected float weights, found int4" in err
    assert run(capsys, "generate", *arguments, "--weights", "int8")[0] == 2


def test_compare_agrees_with_itself_across_dtypes(capsys):
    code, out, _ = run(
        capsys, "compare", "demo", "--dtype", "float32,float64", "--prompt", "Once upon a time"
    )
    assert (code, out[:14]) == (0, "the same withi")


def test_compare_names_the_first_stage_and_layer(capsys, tmp_path):
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
    code, out, _ = run(capsys, "compare", checks.GOLDEN, tmp_path)
    assert code == 1
    assert out.startswith("first difference: v of layer 3")
    result = json.loads(run(capsys, "compare", checks.GOLDEN, tmp_path, "--json")[1])
    assert (result["first_difference"]["layer"], result["first_difference"]["stage"]) == (3, "v")


def test_compare_sees_rotary_policies_part_beyond_m(capsys):
    short = run(capsys, "compare", checks.GOLDEN, "--rope", "reference,exact", "--tokens", 64)
    assert short[0] == 0
    code, out, _ = run(capsys, "compare", checks.GOLDEN, "--rope", "reference,exact", "--tokens", 65)
    assert code == 1
    assert "attention_weights of layer 0" in out


# Tests that a shell runs in its background inherit that Ctrl-C is ignored.
HEEDING_CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from minidecilm.cli import main
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
