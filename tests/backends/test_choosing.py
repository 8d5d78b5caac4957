"""How weights are read is measured once on a CPU, kept, and measured again where what was kept is no use."""

import json

import numpy as np
import pytest

from tests.backends import kernels

KIND = "bfloat16"


@pytest.fixture
def choosing(tmp_path, monkeypatch):
    """The module as in a new process, with a folder for what it keeps."""
    kernels.make("numba-explicit")
    from minidecilm.backends.numba_backend import choosing

    monkeypatch.setattr(choosing, "CACHE_FOLDER", tmp_path)
    monkeypatch.setattr(choosing, "_choices", {})
    choosing._kept.cache_clear()
    yield choosing
    choosing._kept.cache_clear()


def weights(choosing, nbytes=None):
    """Matrices, of which no byte is read."""
    size = (nbytes or choosing._LEAST) // 4
    return [np.broadcast_to(np.float32(0), (1, size)), np.broadcast_to(np.float32(0), (1, size))]


class Timed:
    """Multiplies with a clock on which one choice is the fastest."""

    def __init__(self, choosing, monkeypatch, best, seconds=0.5):
        self.best, self.seconds, self.now, self.calls = best, seconds, 0.0, 0
        monkeypatch.setattr(choosing, "perf_counter", lambda: self.now)

    def __call__(self, weight, choice):
        self.calls += 1
        self.now += self.seconds if choice == self.best else 1.0


def test_the_fastest_is_taken_and_kept(choosing, monkeypatch):
    best = choosing.CANDIDATES[3]
    multiply = Timed(choosing, monkeypatch, best)
    assert choosing.chosen(KIND) == choosing.CANDIDATES[0]
    choosing.choose(KIND, weights(choosing), multiply)
    assert choosing.chosen(KIND) == best
    assert choosing.chosen("int8") == choosing.CANDIDATES[0]
    first = multiply.calls
    choosing.choose(KIND, weights(choosing), multiply)
    monkeypatch.setattr(choosing, "_choices", {})  # another process
    choosing._kept.cache_clear()
    choosing.choose(KIND, weights(choosing), multiply)
    assert multiply.calls == first
    assert choosing.chosen(KIND) == best


def test_a_gain_that_noise_could_bring_changes_nothing(choosing, monkeypatch):
    choosing.choose(KIND, weights(choosing), Timed(choosing, monkeypatch, choosing.CANDIDATES[3], 0.98))
    assert choosing.chosen(KIND) == choosing.CANDIDATES[0]


def test_few_weights_say_nothing(choosing, monkeypatch):
    multiply = Timed(choosing, monkeypatch, choosing.CANDIDATES[3])
    choosing.choose(KIND, weights(choosing, choosing._LEAST // 4), multiply)
    assert (multiply.calls, choosing.known()) == (0, {})


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"bfloat16": 5}',
        b'{"bfloat16": [true, 12345]}',
        b'{"bfloat16": [[], {}]}',
        json.dumps({"bfloat16": [True, 2048, 3]}).encode(),
    ],
)
def test_a_file_of_no_use_is_measured_anew(choosing, monkeypatch, kept):
    choosing._file().write_bytes(kept)
    assert choosing.chosen(KIND) == choosing.CANDIDATES[0]
    best = choosing.CANDIDATES[2]
    choosing.choose(KIND, weights(choosing), Timed(choosing, monkeypatch, best))
    choosing._kept.cache_clear()
    assert choosing.known() == {KIND: best}


def test_without_a_place_to_keep_it(choosing, monkeypatch):
    monkeypatch.setattr(choosing, "CACHE_FOLDER", None)
    best = choosing.CANDIDATES[1]
    choosing.choose(KIND, weights(choosing), Timed(choosing, monkeypatch, best))
    assert choosing.chosen(KIND) == best
