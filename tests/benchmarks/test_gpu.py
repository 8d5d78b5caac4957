"""The measurement on a GPU, on a CPU that stands in for one: that it works, not how fast anything is."""

import json
import subprocess
import sys

import numpy as np
import pytest

import minidecilm
from benchmarks.common import RESULTS
from benchmarks.gpu import parts
from benchmarks.gpu.__main__ import PARTS, measure, missed
from benchmarks.gpu.page import page
from benchmarks.gpu.setup import GOLDEN, OURS, THEIRS, Setup, Sizes, batches
from minidecilm import costs
from minidecilm.backends.host import on_host
from minidecilm.config import Config, LayerConfig
from minidecilm.sampling import Options, sample
from tests.backends import kernels, test_cupy

forget = test_cupy.forget  # a fixture
pytestmark = pytest.mark.xdist_group("measured once")


def network(heads):
    return Config(128, 64, 4, 16, tuple(LayerConfig(k, 96) for k in heads), 512)


TINY = Sizes(
    configs={OURS: network((2, 1, 1)), THEIRS: network((4, 4, 4))},
    agreement=((str(GOLDEN), ("bfloat16",)),),
    tokens=(5, 2),
    copy_bytes=1 << 16,
    gemm=64,
    contexts=(24,),
    batches=(2, 3),
    batch_context=16,
    prompt=70,
    sweep_contexts=(16,),
    largest_batch=2,
    steps=4,
    point_seconds=0.2,
)


@pytest.fixture(scope="module")
def on_cpu():
    kernels.make(kernels.ON_CPU)


@pytest.fixture(scope="module")
def results(on_cpu, tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu") / "results" / "gpu.json"
    found = measure(TINY, out)
    assert json.loads(out.read_text()) == found
    assert [path.name for path in out.parent.iterdir()] == ["gpu.json"]
    return found


@pytest.mark.slow
def test_everything_is_measured(results):
    assert list(results["parts"]) == list(PARTS)
    assert results["card"]["card"] == "CUDA on CPU"
    assert {"date", "versions"} <= results.keys()
    for name, found in results["parts"].items():
        assert "failed" not in found, (name, found)
        assert found["took_seconds"] > 0
    rows = {name: found.get("rows", []) for name, found in results["parts"].items()}
    assert {name: len(found) for name, found in rows.items()} == {
        "agreement": 4,  # compute dtypes, phases
        "limits": 0,
        "decode": 6,
        "batch": 4,
        "prefill": 2,
        "sampling": 4,
        "transformers": 0,
        "sweep": 4,
        "headline": 1,
    }
    assert all(row["reached"] for row in rows["agreement"] if row["wanted"])
    assert [row["recorded"] for row in rows["agreement"]] == [False, True] * 2
    assert all(row["same_tokens"] == 1 for row in rows["sampling"])
    assert {row["batch"] for row in rows["sweep"]} == {1, 2}
    assert not missed(results)


@pytest.mark.slow
def test_figures_follow_from_each_other(results):
    limits = results["parts"]["limits"]
    assert limits["copy_bytes_per_second"] == 2 * TINY.copy_bytes / limits["copy_seconds"]["median"]
    for row in results["parts"]["decode"]["rows"]:
        nbytes = costs.forward_bytes(TINY.configs[OURS], 1, row["context"], row["weights"])
        seconds = row["seconds"]["median"]
        assert row["found"] == pytest.approx(nbytes / seconds / limits["copy_bytes_per_second"])
        assert row["wanted"] == {"bfloat16": 0.8, "int8": 0.7, "int4": 0.6}[row["weights"]]
    [split] = results["parts"]["headline"]["rows"]
    assert split["together"] == pytest.approx(split["equal_batch_gain"] * split["batch_gain"])
    published = results["parts"]["headline"]["published"]
    assert published[-1]["times_the_first"] == pytest.approx(14.92, abs=0.005)


@pytest.mark.slow
def test_the_page_shows_all_of_it(results):
    text = page(results)
    assert "CUDA on CPU" in text
    assert text.count("\n## ") == len(PARTS)
    assert "Not yet run" not in text
    assert "Skipped: " in text  # transformers
    assert text.count("| decilm-6b | 16 |") == text.count("| llama-2-7b | 16 |") == 2
    failed = results | {"parts": {"batch": {"failed": "CUDARuntimeError: illegal address"}}}
    assert "Failed: CUDARuntimeError: illegal address" in page(failed)


@pytest.mark.slow
def test_a_wrong_kernel_is_flagged(on_cpu, tmp_path, monkeypatch, forget):
    assert all(row["reached"] for row in parts.agreement(Setup(TINY, 60), {})["rows"] if row["wanted"])
    test_cupy.mutate(monkeypatch, *test_cupy.MISTAKES["mean forgotten"])
    wrong = measure(TINY, tmp_path / "gpu.json", ["agreement"])
    assert list(wrong["parts"]) == ["agreement"]
    assert {row["reached"] for row in wrong["parts"]["agreement"]["rows"] if row["recorded"]} == {False, None}
    assert missed(wrong)
    assert "**no**" in page(wrong)


def test_no_number_reaches_no_goal():
    for at_most in (False, True):
        assert parts.check(float("nan"), 0.5, at_most)["reached"] is False
    assert parts.check(float("nan"), None)["reached"] is None


@pytest.mark.slow
def test_a_part_that_fails_costs_no_other(on_cpu, tmp_path, monkeypatch):
    def fails(setup, results):
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setitem(PARTS, "limits", fails)
    found = measure(TINY, tmp_path / "gpu.json", ["agreement", "limits"])
    assert found["parts"]["limits"]["failed"] == "RuntimeError: an illegal memory access was encountered"
    assert found["parts"]["agreement"]["rows"]
    assert missed(found)


@pytest.mark.slow
def test_a_point_that_does_not_fit_is_a_miss(on_cpu, tmp_path, monkeypatch):
    """The plan promised that it would."""
    right = parts.decode_point

    def point(setup, results, name, storage, dtype, rows, context):
        if rows == 2:
            raise MemoryError("Out of memory allocating 8 bytes")
        return right(setup, results, name, storage, dtype, rows, context)

    monkeypatch.setattr(parts, "decode_point", point)
    found = measure(TINY, tmp_path / "gpu.json", ["sweep", "headline"])
    failed = [row for row in found["parts"]["sweep"]["rows"] if "failed" in row]
    assert [(row["model"], row["batch"], row["reached"]) for row in failed] == [
        (OURS, 2, False),
        (THEIRS, 2, False),
    ]
    assert [row["best_batch"] for row in found["parts"]["headline"]["rows"]] == [1]
    assert "Out of memory allocating 8 bytes" in page(found)


@pytest.mark.slow
def test_out_of_time_is_said(on_cpu, tmp_path):
    found = measure(TINY, tmp_path / "gpu.json", ["batch"], minutes=0)
    assert found["parts"]["batch"] == {"rows": [], "cut": "time"} | {
        "took_seconds": found["parts"]["batch"]["took_seconds"]
    }
    assert list(found["parts"]) == ["limits", "batch"]
    assert "out of time" in page(found)


@pytest.mark.slow
def test_weights_and_caches_are_of_their_own(on_cpu):
    """Every layer reads memory of its own, or it would be read from the processor's caches."""
    setup = Setup(TINY, 60)
    for storage in ("bfloat16", "int4"):
        model = setup.model(OURS, storage, "bfloat16")
        data = [getattr(weight, "data", weight) for weight in model.weights.values()]
        pointers = {array.ptr if hasattr(array, "ptr") else array.data.ptr for array in data}
        assert len(pointers) == len(data)
        stored = sum(weight.nbytes for weight in model.weights.values())
        norms = sum(weight.nbytes // 2 for weight in model.weights.values() if not hasattr(weight, "storage"))
        assert stored - norms == costs.weight_bytes(model.config, storage)
    cache = setup.filled_cache(model, 2, 9, 3)
    assert (cache.length, cache.max_length) == (9, 12)
    assert cache.past_mask().all()
    assert np.isfinite(on_host(setup.stepping(model, cache)())).all()


@pytest.mark.slow
def test_tokens_chosen_on_the_device_are_those_of_the_host(on_cpu):
    import cupy

    rng = np.random.default_rng(0)
    logits = (3 * rng.standard_normal((64, 50))).astype(np.float32)
    logits[:, 7] = logits.max(axis=1) + 4  # some nuclei are one token
    draws = np.stack([np.random.default_rng(row).random(1) for row in range(len(logits))])
    for top_p in (0.3, 0.95):
        found = parts.device_top_p(cupy, cupy.asarray(logits), top_p, draws).get()
        expected = [
            sample(row, [], Options(top_p=top_p), np.random.default_rng(seed))
            for seed, row in enumerate(logits)
        ]
        np.testing.assert_array_equal(found, expected)


def test_batches_end_with_the_largest():
    assert [list(batches(n)) for n in (0, 1, 4, 6)] == [[], [1], [1, 2, 4], [1, 2, 4, 6]]


def test_the_committed_page_is_made_by_the_code():
    file = RESULTS / "gpu.json"
    text = page(json.loads(file.read_text()) if file.exists() else None)
    assert (RESULTS / "gpu.md").read_text() == text
    assert file.exists() or "**Not yet run on a GPU.**" in text


def test_without_a_gpu_one_line_says_so():
    code = "import sys; sys.modules['cupy'] = None; from benchmarks.gpu.__main__ import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=RESULTS.parents[1], check=False
    )
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.startswith("benchmarks.gpu: backend 'cupy': CuPy cannot be imported")
    assert found.stderr.count("\n") == 1


def test_presets_are_the_models_that_are_named():
    assert Sizes().configs == {name: minidecilm.preset(name) for name in ("decilm-6b", "llama-2-7b")}
