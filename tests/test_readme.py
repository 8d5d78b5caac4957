"""The README tells the truth: its example runs, its transcript is real, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from minidecilm import preset
from minidecilm.costs import kv_cache_bytes
from minidecilm.model import DeciLM
from tests import checks
from tests.shaken import shaken

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)


def blocks(language):
    return [text for name, text in BLOCKS if name == language]


def transcript(run_command):
    command = blocks("console")[0].split("&&")[-1]
    code, out, _ = run_command(*shlex.split(command)[1:])
    assert code == 0
    return out


def test_transcript_is_what_the_first_command_prints(run_command):
    assert transcript(run_command) == blocks("text")[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_transcript_does_not_hang_by_rounding(run_command, seed):
    """On no CPU will the first text that a reader sees be another one."""
    with shaken(seed):
        assert transcript(run_command) == blocks("text")[0]


def test_shaking_changes_what_hangs_by_rounding():
    """Of two tokens with equal logits the first is taken, unless rounding decides."""
    tied = checks.golden_model("float32")
    tied.weights = {**tied.weights, "lm_head.weight": np.ones_like(tied.weights["lm_head.weight"])}
    assert tied([[1, 2, 3]])[0, -1].argmax() == 0
    with shaken(0):
        rounded = DeciLM(tied.config, tied.weights, tied.backend)
    assert rounded([[1, 2, 3]])[0, -1].argmax() != 0


def test_python_example_runs(capsys):
    for code in blocks("python"):
        exec(code, {})
    assert capsys.readouterr().out


def test_second_command_is_the_one_ci_runs():
    command = blocks("console")[1]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for part in ('install -c constraints.txt -e ".[test]"', "-m pytest -n 2"):
        assert part in command
        assert part in ci.replace(
            '"$venv/bin/pip" install --quiet --disable-pip-version-check', "install"
        ).replace('"$venv/bin/python"', "")


@pytest.mark.parametrize(
    "file", ["README.md", "CONTRIBUTING.md", "tests/golden/README.md", "training/README.md"]
)
def test_links_to_files_lead_somewhere(file):
    path = ROOT / file
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_stated_length_of_the_reference_path_is_true():
    names = ("config", "ops", "rope", "cache", "model", "sampling", "generation")
    lines = sum(len((ROOT / "minidecilm" / f"{name}.py").read_text().splitlines()) for name in names)
    [stated] = re.findall(r"about ([\d,]+) lines", README)
    assert abs(lines - int(stated.replace(",", ""))) <= 50


def test_the_stated_numbers_are_what_the_package_computes():
    deci, llama = preset("decilm-6b"), preset("llama-2-7b")
    assert f"{deci.num_parameters / 1e9:.1f}-billion-parameter" in README
    assert f"{len(deci.layers)}\nLlama-like layers" in README
    assert f"In bfloat16 its\ncache takes {kv_cache_bytes(deci):,} bytes per token" in README
    assert f"Llama 2 7B's {kv_cache_bytes(llama):,}." in README
    assert round(kv_cache_bytes(llama) / kv_cache_bytes(deci)) == 20  # a twentieth


def test_the_stated_digits_of_agreement_are_there():
    golden, model = checks.golden_data(), checks.golden_model("float64")
    [stated] = re.findall(r"agree with Deci's own code to (\d+) digits", README)
    for ids, logits in (("short", "short"), ("long", "long.one_call")):
        expected = golden[f"{logits}.logits.f64"]
        error = np.abs(model(golden[f"{ids}.input_ids"]) - expected).max() / np.abs(expected).max()
        assert -np.log10(error) >= int(stated)
