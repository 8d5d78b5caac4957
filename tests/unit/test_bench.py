"""Measuring: what follows from seconds, what is refused, and random weights that are fit to be measured."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

import minidecilm
from minidecilm import bench, costs
from minidecilm.backends import create_backend
from minidecilm.bench import Limits, Plan, machine, timing
from minidecilm.bench.limits import storage_of
from minidecilm.bench.plan import check_memory
from minidecilm.cli.bench import report_text
from minidecilm.config import LayerConfig
from minidecilm.model import DeciLM
from minidecilm.weights.packed import PackedWeight
from minidecilm.weights.random_weights import random_weights
from minidecilm.weights.scheme import WEIGHTS
from tests.configs import SMALL

LIMITS = Limits(read_bandwidth=1e7, peak=1e8)
QUICK = ("--prompt-tokens", "6", "--new-tokens", "3", "--batch", "1,2", "--rounds", "2")


@pytest.fixture
def known_limits(monkeypatch):
    monkeypatch.setattr(bench, "probe", lambda threads, arithmetic: LIMITS)


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SMALL.to_dict()))
    return file


def test_json_has_the_promised_keys(run_command, known_limits):
    code, out, err = run_command("bench", *QUICK, "--backend", "numpy", "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    numbers = (
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "weight_bytes_per_second",
        "read_bandwidth_bytes_per_second",
        "peak_memory_bytes",
        "threads",
    )
    assert all(facts[key] > 0 for key in numbers)
    assert (facts["model"], facts["random_weights"]) == ("demo", False)
    assert (facts["backend"], facts["weights"], facts["kv_cache"]) == ("numpy", "bfloat16", "float32")
    assert [entry["batch_size"] for entry in facts["runs"]] == [1, 2]


def test_table_says_what_json_says(run_command, config_file, known_limits):
    code, out, err = run_command("bench", "--config", config_file, "--random", *QUICK)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(
        f"{config_file} with random weights: {SMALL.num_parameters:,} parameters in 3 "
    )
    head, *rows = lines[5:10]
    assert len({len(row) for row in (head, *rows)}) == 1
    assert [row.split("  ")[0] for row in rows] == ["prefill, 6 tokens"] * 2 + ["decode, 3 steps"] * 2
    assert lines[-1].startswith("The weights stay in the processor's caches")


class Clock:
    """Stands still but for what is told it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Scripted(DeciLM):
    """Takes known seconds: a tenth for each token of a prompt, one for each row of a step; notes its calls.

    The first two calls of a batch size take long, as those do that compile and load, and a cache does too.
    """

    def __init__(self, clock, *arguments):
        super().__init__(*arguments)
        self.clock, self.calls = clock, []

    def new_cache(self, *arguments, **options):
        self.clock.now += 1000
        return super().new_cache(*arguments, **options)

    def __call__(self, ids, cache=None, *arguments, **options):
        rows, T = ids.shape
        self.calls.append((rows, T, cache.length, options["last_only"]))
        first = [call[0] for call in self.calls].count(rows) <= 2
        self.clock.now += 1e6 if first else (rows if T == 1 else rows * T / 10)
        return super().__call__(ids, cache, *arguments, **options)


@pytest.fixture
def measured(monkeypatch):
    """Run the rounds of a plan on a scripted model; return both."""
    clock = Clock()
    monkeypatch.setattr(timing, "perf_counter", clock)

    def measure(plan, weights="float32"):
        backend = create_backend("numpy", SMALL.num_parameters)
        model = Scripted(clock, SMALL, random_weights(SMALL, weights), backend)
        return model, bench.measure(model, plan)

    return measure


def test_rounds_take_their_time_and_nothing_else(measured):
    """Prompt and steps apart, batch sizes in turn, without the round before them and what makes a cache."""
    model, found = measured(Plan(prompt_tokens=5, new_tokens=4, batch_sizes=(1, 3), rounds=2))
    assert [timing.batch_size for timing in found.timings] == [1, 3]
    assert [timing.prefill_seconds for timing in found.timings] == [pytest.approx([s, s]) for s in (0.5, 1.5)]
    assert [timing.decode_seconds for timing in found.timings] == [pytest.approx([s, s]) for s in (4, 12)]

    def calls(rows, steps):
        return [(rows, 5, 0, True), *((rows, 1, 5 + step, True) for step in range(steps))]

    one_round = calls(1, 4) + calls(3, 4)
    assert model.calls == calls(1, 2) + calls(3, 2) + 2 * one_round


def test_a_bar_counts_every_layer_of_every_call(measured, capsys):
    plan = Plan(prompt_tokens=5, new_tokens=4, batch_sizes=(1, 3), rounds=2)
    model = measured(plan)[0]
    bench.measure(model, plan, progress=True)
    layers = 3 * (2 * (1 + 2) + 2 * 2 * (1 + 4))
    assert f"{layers}/{layers}" in capsys.readouterr().err


def test_figures_follow_from_the_seconds(measured):
    """Every figure, from the seconds of a scripted model and from counts by hand."""
    model, measurement = measured(Plan(prompt_tokens=5, new_tokens=4, batch_sizes=(3, 1), rounds=3))
    timing = measurement.timings[0]
    timing.prefill_seconds[:], timing.decode_seconds[:] = [1e-6, 4e-6, 1.5e-6], [12e-6, 12e-6, 15e-6]
    memory = {"peak": 5, "anonymous": 4, "mapped": 3}
    facts = bench.report(model, replace(measurement, memory=memory), LIMITS)
    found = facts["runs"][0]

    # q, o: 64 x 64; k, v: 16 K x 64; gate, up, down: 96 x 64, in three layers; the head: 80 x 64
    streamed = 3 * (2 * 64 * 64 + 3 * 96 * 64) + 2 * 64 * 16 * (4 + 1 + 2) + 80 * 64
    cache = 2 * (4 + 1 + 2) * 16 * 4  # per token: keys and values, heads of three layers, D, float32
    assert facts["weight_bytes_per_step"] == 4 * streamed
    assert facts["kv_cache_bytes_per_token"] == cache
    per_pair = 4 * 16 * 4 * 3  # score and mix: 2 D each, in 4 heads of 3 layers
    head = 80 * 64  # of a prompt, the last position only
    prefill = 3 * (2 * (5 * streamed - 4 * head) + 15 * per_pair)
    decode = 3 * (4 * 2 * streamed + (6 + 7 + 8 + 9) * per_pair)
    for phase, seconds, spread, tokens, read_weights, read_cache, flops in (
        ("prefill", 1.5e-6, 3e-6, 3 * 5, 4 * streamed, 3 * 5 * cache, prefill),
        ("decode", 12e-6, 3e-6, 3 * 4, 4 * 4 * streamed, 3 * (6 + 7 + 8 + 9) * cache, decode),
    ):
        allowed = max((read_weights + read_cache) / 1e7, flops / 1e8)
        expected = {
            "tokens_per_second": tokens / seconds,
            "spread": spread / seconds,
            "weight_bytes_per_second": read_weights / seconds,
            "operations_per_second": flops / seconds,
            "predicted_tokens_per_second": tokens / allowed,
            "share_of_predicted": allowed / seconds,
            "share_of_read_bandwidth": read_weights / seconds / 1e7,
            "share_of_peak": flops / seconds / 1e8,
        }
        assert {name: found[phase][name] for name in expected} == pytest.approx(expected)
    assert (found["prefill"]["predicted_limit"], found["decode"]["predicted_limit"]) == ("memory", "memory")
    assert facts["prefill_tokens_per_second"] == pytest.approx(10e6)  # of the first batch size
    assert facts["decode_tokens_per_second"] == pytest.approx(1e6)
    assert facts["weight_bytes_per_second"] == found["decode"]["weight_bytes_per_second"]
    assert (facts["peak_memory_bytes"], facts["anonymous_memory_bytes"]) == (5, 4)
    assert (facts["mapped_memory_bytes"], facts["layers"]) == (3, 3)
    assert (facts["read_bandwidth_bytes_per_second"], facts["peak_operations_per_second"]) == (1e7, 1e8)

    head, row = (
        [cell.strip() for cell in line.split("  ") if cell.strip()]
        for line in report_text(facts, "tiny").splitlines()
        if "tokens/s" in line or (line.startswith("decode, 4 steps") and line.split()[3] == "3")
    )
    said = dict(zip(head, row[1:], strict=True))
    in_percent = {
        "of bandwidth": expected["share_of_read_bandwidth"],
        "of peak": expected["share_of_peak"],
        "reached": expected["share_of_predicted"],
        "spread": expected["spread"],
    }
    for name, share in in_percent.items():
        assert float(said.pop(name).removesuffix(" %")) == pytest.approx(100 * share, rel=0.02, abs=0.05), (
            name
        )
    in_numbers = {
        "batch": 3,
        "tokens/s": expected["tokens_per_second"],
        "predicted": expected["predicted_tokens_per_second"],
        "weights GB/s": expected["weight_bytes_per_second"] / 1e9,
        "GFLOP/s": expected["operations_per_second"] / 1e9,
    }
    found = {name: float(number.replace(",", "")) for name, number in said.items()}
    assert found == pytest.approx(in_numbers, rel=5e-3)


def test_the_head_does_not_say_how_a_model_is_stored():
    """An int4 model whose head, of int8, is larger than all its layers; and by bytes, not by matrices."""
    wide = replace(SMALL, vocab_size=8000)
    assert storage_of(bench.random_model(wide, Plan(), backend="numpy", weights="int4")) == "int4"
    weights = random_weights(SMALL, "float32")
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):  # more matrices, fewer bytes
        for layer in range(3):
            name_of = f"model.layers.{layer}.self_attn.{name}.weight"
            weights[name_of] = weights[name_of].astype(np.float16)
    model = DeciLM(SMALL, weights, create_backend("numpy", SMALL.num_parameters))
    assert storage_of(model) == "float32"


def test_threads_are_those_that_are_used(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 6)
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    assert bench.threads_of("numpy") == 6
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert bench.threads_of("numpy") == 4
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert bench.threads_of("numpy") == 2
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "64")  # more than there are cores
    assert bench.threads_of("numpy") == 6


def test_the_sentence_of_a_model_that_leaves_the_caches(monkeypatch):
    monkeypatch.setattr(machine, "last_level_cache_bytes", lambda: 1000)
    model = bench.random_model(SMALL, Plan(), backend="numpy")
    facts = bench.report(model, bench.measure(model, Plan(4, 2, (1,), 1)), LIMITS)
    assert facts["runs"][0]["decode"]["spread"] is None  # of a single round
    facts["runs"][0]["decode"] |= {"share_of_read_bandwidth": 0.5, "share_of_predicted": 0.25}
    facts["runs"][0]["prefill"] |= {"share_of_peak": 0.125}
    assert report_text(facts, "tiny").splitlines()[-1] == (
        "Decode at batch 1 reads weights at 50 % of this machine's read bandwidth and reaches 25 % of what "
        "its limits allow; prefill computes at 12 % of its peak in float32."
    )
    integers = Limits(read_bandwidth=2e9, peak=3e9, arithmetic="int8")
    facts = bench.report(model, bench.measure(model, Plan(4, 2, (1,), 1)), integers)
    lines = report_text(facts, "tiny").splitlines()
    assert "reads 2.00 GB/s, computes 3.00 GOP/s in int8" in lines[2]
    assert "  GOP/s  " in next(line for line in lines if "tokens/s" in line)


def test_without_a_probe_the_rest_is_measured(run_command, monkeypatch):
    monkeypatch.setitem(sys.modules, "minidecilm.backends.numba_backend", None)
    facts = json.loads(run_command("bench", *QUICK, "--backend", "numpy", "--json")[1])
    assert facts["decode_tokens_per_second"] > 0
    assert facts["read_bandwidth_bytes_per_second"] is None
    assert facts["runs"][0]["decode"]["share_of_read_bandwidth"] is None
    code, out, _ = run_command("bench", *QUICK, "--backend", "numpy")
    assert code == 0
    assert "Numba cannot compile here" in out.splitlines()[-1]


def test_an_impossible_number_of_threads_is_one_line(run_command, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "abc")
    code, out, err = run_command("bench", *QUICK)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "NUMBA_NUM_THREADS='abc'" in err


def test_without_compiling_there_is_no_probe(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert bench.probe(threads=1) == bench.Limits(None, None, "float32", "NUMBA_DISABLE_JIT is set")


@pytest.mark.parametrize("arithmetic", ["float32", "int8", "int4"])
def test_probe_gives_plausible_limits(monkeypatch, arithmetic):
    registers = pytest.importorskip("minidecilm.backends.numba_backend.registers")
    if arithmetic != "float32" and not registers.USABLE:
        pytest.skip("this CPU has no integer products for vectors")
    monkeypatch.setattr(machine, "last_level_cache_bytes", lambda: None)
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 20_000_000)
    monkeypatch.setattr("minidecilm.backends.numba_backend.probe._SECONDS", 0)
    limits = bench.probe(threads=1, arithmetic=arithmetic)
    assert limits.reason == ""
    assert 1e8 < limits.read_bandwidth < 1e13
    assert 1e8 < limits.peak < 1e15


@pytest.mark.parametrize(
    ("backend", "weights"),
    [*(("numpy", name) for name in WEIGHTS), ("numba", "bfloat16"), ("numba", "int8")],
)
def test_random_models_run(backend, weights):
    model = bench.random_model(SMALL, Plan(), backend=backend, weights=weights)
    logits = model([[1, 2, 3]])
    assert np.isfinite(logits).all()
    assert bench.report(model, bench.measure(model, Plan(3, 2, (1, 2), 1)), LIMITS)["backend"] == backend


@pytest.mark.parametrize("storage", ["float64", "float32", "bfloat16", "float16", "int8", "int4"])
def test_random_weights_are_fit_to_compute_with(storage):
    odd = replace(SMALL, vocab_size=83, layers=(LayerConfig(2, 101),))
    for config in (SMALL, odd):
        weights = random_weights(config, storage)
        assert {name: weight.shape for name, weight in weights.items()} == config.parameter_shapes()
        assert sum(weight.nbytes for weight in weights.values()) == costs.weight_bytes(config, storage)
        for name, weight in weights.items():
            values = weight.astype(np.float64)
            assert np.isfinite(values).all()
            assert not ((values != 0) & (np.abs(values) < 2.0**-14)).any()
            assert np.mean(values) == pytest.approx(float("norm" in name), abs=0.01)
            assert np.std(values) == pytest.approx(0.02, rel=0.5)
        assert str(weights["model.layers.0.mlp.up_proj.weight"].dtype) == storage
        gate, up = (
            weights[f"model.layers.0.mlp.{name}_proj.weight"].astype(np.float64) for name in ("gate", "up")
        )
        assert len(np.unique(gate, axis=0)) == len(gate)
        assert not np.array_equal(gate, up)


def test_padding_of_random_packed_weights_is_zero():
    config = replace(SMALL, vocab_size=83)
    head = random_weights(config, "int8")["lm_head.weight"]
    assert isinstance(head, PackedWeight)
    assert not head.codes[-1, :, 83 % 16 :].any()
    assert head.codes[-1, :, : 83 % 16].any()


def test_memory_is_checked_before_it_is_taken(run_command, config_file, monkeypatch):
    decilm, plan = minidecilm.preset("decilm-6b"), Plan()
    check_memory(decilm, "bfloat16", "float32", plan, None)
    check_memory(decilm, "bfloat16", "float32", plan, 12_500_000_000)
    check_memory(bench.first_layers(decilm, 26), "bfloat16", "float32", plan, 10_000_000_000)
    with pytest.raises(ValueError, match=r"--layers 26 would fit$"):
        check_memory(decilm, "bfloat16", "float32", plan, 10_000_000_000)
    with pytest.raises(ValueError, match=r"rows 313\.9 GB\), 20\.0 GB are free: --batch 264 would fit$"):
        check_memory(decilm, "bfloat16", "float32", Plan(batch_sizes=(1, 10_000)), 20_000_000_000)
    with pytest.raises(ValueError, match=r"needed \(cache and activations of 10000.*--batch 628 would fit$"):
        check_memory(decilm, None, "float32", Plan(batch_sizes=(1, 10_000)), 20_000_000_000)
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 1_000_000)
    code, out, err = run_command("bench", "--config", config_file, "--random", *QUICK)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "not even one layer" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "model: the name is empty"),
        (["no/such/folder"], "no/such/folder"),
        (["--config", "decilm-6b"], "--random"),
        (["--random"], "--config"),
        (["--layers", "2"], "--config"),
        (["demo", "--config", "decilm-6b", "--random"], "not both"),
        (["DeciLM-6b"], "--config DeciLM-6b --random"),
        (["demo", "--batch", "100000000"], "--batch"),
        (["--config", "nowhere", "--random"], "decilm-6b"),
        (["--config", "decilm-6b", "--random", "--layers", "33"], "1 to 32"),
        (["--config", "decilm-6b", "--random", "--layers", "0"], "1 to 32"),
        (["--config", "decilm-6b", "--random", "--weights", "int2"], "int2"),
        (["--config", "decilm-6b", "--random", "--backend", "abacus"], "abacus"),
        (["--config", "decilm-6b", "--random", "--rope", "none"], "none"),
        (["--config", "decilm-6b", "--random", "--kv-cache", "int3"], "int3"),
        (["--config", "decilm-6b", "--random", "--prompt-tokens", "20000"], "exceed 16384 tokens"),
        (["--prompt-tokens", "2000"], "exceed 1024 tokens"),
        (["--batch", "1,two"], "--batch"),
        (["--batch", ""], "--batch"),
        (["--batch", "0"], "at least 1"),
        (["--rounds", "0"], "at least 1"),
        (["--new-tokens", "-1"], "at least 1"),
        (["--prompt-tokens", "many"], "--prompt-tokens"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gives_one_line_and_exit_2(run_command, arguments, message):
    code, out, err = run_command("bench", *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


def test_ctrl_c_ends_with_130(run_command, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measure", interrupt)
    assert run_command("bench") == (130, "", "interrupted\n")


def test_help_shows_an_example(run_command):
    code, out, _ = run_command("bench", "--help")
    assert code == 0
    assert "example: minidecilm bench" in " ".join(out.split())


def test_memory_that_a_container_may_use(tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\nHugePages_Total: 0\n")
    monkeypatch.setattr(machine, "_MEMINFO", meminfo)
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    assert machine.available_memory_bytes() == 5_120_000
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert machine.available_memory_bytes() == 2_000_000
    (tmp_path / "memory.stat").write_text("anon 600000\ninactive_file 400000\n")
    assert machine.available_memory_bytes() == 2_400_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.available_memory_bytes() == 5_120_000
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "none")
    assert machine.available_memory_bytes() is None


def test_process_memory_is_counted():
    memory = machine.process_memory()
    assert memory["peak"] > 1e6
    if sys.platform == "linux":
        assert memory["peak"] >= memory["anonymous"] > 1e6
        block = np.ones(50_000_000, np.uint8)
        assert machine.process_memory()["anonymous"] - memory["anonymous"] > 0.9 * block.nbytes
