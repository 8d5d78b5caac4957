"""`minidecilm info --compare`: two models side by side, as a table and as JSON."""

import json
import re
from dataclasses import replace

import pytest

from minidecilm import costs, write_random_checkpoint
from minidecilm.catalog import DEMO_FOLDER, find_model
from minidecilm.cli.info import comparison_text
from minidecilm.config import Config, LayerConfig
from minidecilm.costs.summary import Model, comparison
from minidecilm.presets import preset
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.quantize import quantize_checkpoint
from tests.configs import SMALL
from tests.unit.test_config import ORIGINAL


def test_json_keeps_its_keys_and_adds_the_comparison(run_command):
    alone = json.loads(run_command("info", "decilm-6b", "--json")[1])
    code, out, err = run_command("info", "decilm-6b", "--compare", "llama-2-7b", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {key: found[key] for key in alone} == alone
    assert found.keys() - alone.keys() == {"compared_with", "comparison"}
    assert found["compared_with"] == "llama-2-7b"
    compared = found["comparison"]
    assert {key: (row["model"], row["other"]) for key, row in compared.items()} == {
        "parameters": (5_717_102_592, 6_738_415_616),
        "weight_bytes": (11_434_205_184, 13_476_831_232),
        "kv_cache_bytes_per_token": (25_600, 524_288),
        "kv_cache_bytes_at_4096": (100 * 2**20, 2 * 2**30),
        "kv_cache_bytes_at_64x4096": (6400 * 2**20, 128 * 2**30),
        # (memory - weights) // (bytes per token * 4096), by hand
        "largest_batch_24_gb": (12_565_794_816 // 104_857_600, 10_523_168_768 // 2_147_483_648),
        "largest_batch_40_gb": (28_565_794_816 // 104_857_600, 26_523_168_768 // 2_147_483_648),
        "largest_batch_80_gb": (68_565_794_816 // 104_857_600, 66_523_168_768 // 2_147_483_648),
        # 2 for each streamed weight, 4 x 4096 positions x 32 layers x 4096 wide
        "flops_per_decoded_token": tuple(
            2 * costs.streamed_parameters(preset(name)) + 4 * 4096 * 32 * 4096
            for name in ("decilm-6b", "llama-2-7b")
        ),
    }
    assert compared["kv_cache_bytes_per_token"]["ratio"] == 20.48
    assert all(row["ratio"] == row["other"] / row["model"] for row in compared.values())


OWN = replace(SMALL, max_position_embeddings=512, rope_theta=20_000.0, rope_factor=3.0)


def test_every_fact_by_hand(run_command, tmp_path):
    """Of a quantised model with other layers and numbers than any preset; as JSON and as a table."""
    write_random_checkpoint(OWN, tmp_path / "own")
    quantize_checkpoint(tmp_path / "own", tmp_path / "packed", "int8", 32)
    found = json.loads(run_command("info", tmp_path / "packed", "--json")[1])
    # q, o: 64 x 64 each; k, v: 16 K x 64 each; gate, up, down: 96 x 64 each; two norms
    layers = [2 * 64 * 64 + 2 * 16 * K * 64 + 3 * 96 * 64 + 2 * 64 for K in (4, 1, 2)]
    parameters = sum(layers) + 2 * 80 * 64 + 64
    nbytes = open_checkpoint(tmp_path / "packed").nbytes
    assert found == {
        "model": str(tmp_path / "packed"),
        "parameters": parameters,
        "weight_bytes": nbytes,
        "bits_per_weight": 8 * nbytes / parameters,
        "group": 32,
        "kv_heads_per_layer": [4, 1, 2],
        "kv_cache_bytes_per_token": 2 * 16 * 2 * (4 + 1 + 2),
        "max_position_embeddings": 512,
        "rope": {"type": "dynamic", "theta": 20_000.0, "factor": 3.0},
        "dtypes": {"storage": ["bfloat16", "int8"], "compute": "float32", "accumulate": "float32"},
        "hidden_size": 64,
        "vocab_size": 80,
        "num_attention_heads": 4,
        "head_dim": 16,
        "tie_word_embeddings": False,
        "layers": [
            {
                "layer": layer,
                "kv_heads": K,
                "queries_per_kv_head": 4 // K,
                "intermediate_size": 96,
                "parameters": layers[layer],
                "kv_cache_bytes_per_token": 2 * 16 * 2 * K,
            }
            for layer, K in enumerate((4, 1, 2))
        ],
    }
    assert 8.5 < found["bits_per_weight"] < 11  # embedding and norms keep 16
    _, *lines = run_command("info", tmp_path / "packed")[1].splitlines()
    said = [re.sub(" {2,}", " | ", line.strip()) for line in lines if line.strip()]
    rows = [f"{n} | {K} | {4 // K} | 96 | {layers[n]:,} | {64 * K}" for n, K in enumerate((4, 1, 2))]
    assert said == [
        f"parameters | {parameters:,}",
        f"weights | {nbytes:,} bytes, {8 * nbytes / parameters:.2f} bits each, "
        "storage bfloat16/int8, a scale per 32 columns",
        "computed in | float32, accumulated in float32",
        "KV cache | 448 bytes per token in bfloat16",
        "context | 512 tokens, dynamic NTK x3 beyond it",
        "rotary base | 20000, head_dim 16",
        "hidden, vocabulary 64, 80",
        "layer | KV heads | queries per KV head | feed-forward | parameters | KV bytes per token",
        *rows,
    ]


def test_table_says_what_json_says(run_command):
    compared = json.loads(run_command("info", "decilm-6b", "--compare", "mistral-7b", "--json")[1])[
        "comparison"
    ]
    code, out, err = run_command("info", "decilm-6b", "--compare", "mistral-7b")
    head, *rows = out.splitlines()
    assert (code, err, len(rows)) == (0, "", len(compared))
    assert head.split("  ")[-1].strip() == "mistral-7b / decilm-6b"
    assert len({len(line) for line in (head, *rows)}) == 1
    for row, found in zip(rows, compared.values(), strict=True):
        *_, one, two, ratio = row.split()
        assert (one, two) == (f"{found['model']:,}", f"{found['other']:,}")
        assert float(ratio.replace(",", "")) == pytest.approx(found["ratio"], abs=5e-3)


def test_a_folder_is_compared_by_the_bytes_of_its_files(run_command, tmp_path):
    folder = tmp_path / "demo-int4"
    quantize_checkpoint(DEMO_FOLDER, folder)
    compared = json.loads(run_command("info", "demo", "--compare", folder, "--json")[1])["comparison"]
    found = compared["weight_bytes"]
    assert (found["model"], found["other"]) == tuple(open_checkpoint(f).nbytes for f in (DEMO_FOLDER, folder))
    assert found["ratio"] < 0.5
    assert compared["kv_cache_bytes_per_token"]["ratio"] == 1


def test_what_fits_nowhere_has_no_ratio():
    huge = Config(10, 2**17, 2**10, 128, (LayerConfig(2**10, 2**19),), 4096)
    one, two = Model("huge", huge, 10**12, ["bfloat16"]), find_model("demo")
    compared = comparison(one, two)
    assert compared["largest_batch_80_gb"]["ratio"] is None
    lines = comparison_text(compared, "huge", "demo").splitlines()
    assert next(line.split()[-3::2] for line in lines if "80 GB" in line) == ["0", "-"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads_per_layer": None}, "num_key_value_heads_per_layer is missing"),
        ({"num_key_value_heads_per_layer": [7] * 32}, "= 7 does not divide num_attention_heads = 32"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--compare", "decilm-6b"], ["--compare"]], ids=str)
def test_a_wrong_config_is_refused_on_either_side(run_command, tmp_path, changes, message, options):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ORIGINAL | changes))
    arguments = ["decilm-6b", *options, path] if options == ["--compare"] else [path, *options]
    code, out, err = run_command("info", *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
    assert str(path) in err


def test_an_unknown_other_is_one_line(run_command):
    code, out, err = run_command("info", "decilm-6b", "--compare", "gpt-5")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "no preset, config.json or folder 'gpt-5'" in err
