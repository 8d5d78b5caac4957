"""What packed weights and a narrow cache may cost on held-out text, on every backend; the script itself."""

import math

import numba
import numpy as np
import pytest

import minidecilm
from benchmarks import accuracy
from benchmarks.accuracy import BOUNDS, KERNELS, Setting, Tally
from minidecilm.weights import quantize
from tests.backends.kernels import make

STORIES = 4


@pytest.fixture(scope="module")
def reference():
    return minidecilm.load("demo", backend="numpy", dtype="float64")


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    """Put back the setting that choosing kernels changes; one thread, since test processes share the CPU."""
    monkeypatch.setenv("MINIDECILM_KERNELS", "")
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(threads)


def changes(settings, reference, folder):
    """Relative change of perplexity of every setting, and its whole report."""
    models = {setting: accuracy.load(setting, folder) for setting in settings}
    reports, perplexity, _ = accuracy.measure(models, reference, STORIES)
    return {s: (report["perplexity"] / perplexity - 1, report) for s, report in reports.items()}


@pytest.mark.slow
@pytest.mark.timeout(400)  # Numba compiles what is not in its cache
@pytest.mark.parametrize("backend", KERNELS)
def test_accuracy_of_every_storage(backend, reference, tmp_path):
    if KERNELS[backend]:
        make(f"numba-{KERNELS[backend]}")  # skips where this CPU cannot run it
    settings = accuracy.settings([backend])
    if KERNELS[backend] == "portable":  # ten times slower on packed weights than the others
        settings = (setting for setting in settings if setting.group in (0, 64))
    for setting, (change, report) in changes(settings, reference, tmp_path).items():
        if setting.group:
            assert abs(change) < BOUNDS[setting.weights], setting
        elif "bfloat16" in (setting.kv_cache, setting.dtype):
            assert abs(change) < 1e-3, setting
            assert 1e-3 < report["max_error"] < 2, setting
        else:
            assert abs(change) < 1e-6, setting
            assert report["max_error"] < 5e-4, setting
            assert report["top1_agreement"] > 0.999, setting


@pytest.mark.slow
def test_a_mistake_in_the_codes_passes_no_bound(reference, tmp_path, monkeypatch):
    honest = quantize.pack_codes
    monkeypatch.setattr(quantize, "pack_codes", lambda codes, bits: honest(np.roll(codes, 1, axis=1), bits))
    for weights in BOUNDS:
        setting = Setting("numpy", weights, 64)
        change, _ = changes([setting], reference, tmp_path)[setting]
        assert change > BOUNDS[weights]


def test_sums_are_what_they_say():
    tally = Tally()
    reference = np.array([[0.0, math.log(3), 0.0], [2.0, 0.0, 0.0]])
    error = np.array([[0.5, 0, 0], [0, 2.5, 0]])
    tally.add(reference + error, reference, np.array([1, 0]))
    first, second = 3 / (math.exp(0.5) + 4), math.exp(2) / (math.exp(2) + math.exp(2.5) + 1)
    assert tally.report() == pytest.approx(
        {
            "max_error": 2.5,
            "mean_error": 0.5,
            "top1_agreement": 0.5,
            "perplexity": 1 / math.sqrt(first * second),
        }
    )


def test_stories_are_scored_to_their_end_and_no_further(reference):
    [(ids, real)] = accuracy.batches(reference, 3)
    assert ids.shape[1] == real.shape[1] + 1 <= reference.config.max_position_embeddings + 1
    for row, kept in zip(ids, real, strict=True):
        length = kept.sum() + 1
        assert kept[: length - 1].all()
        assert row[0] == reference.config.bos_token_id
        assert length == ids.shape[1] or row[length - 1] in reference.config.eos_token_ids
        assert not row[length:].any()
