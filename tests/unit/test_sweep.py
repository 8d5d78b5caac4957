"""Sweeps over pooled models: the same numbers in this process, in a pool and on a cluster; losses by hand."""

import multiprocessing
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from minidecilm.api import load
from minidecilm.experiments.evaluate import text_rows, token_losses
from minidecilm.experiments.pooling import pool_kv_heads
from minidecilm.experiments.sweep import measure_allocations, sensitivity
from minidecilm.model import DeciLM
from tests import checks

GENERATOR = np.random.default_rng(3)
ROWS = [GENERATOR.integers(0, 512, length) for length in (12, 7, 20)]
HEADS = load(checks.GOLDEN).config.num_key_value_heads_per_layer
ALLOCATIONS = [HEADS, (1,) * len(HEADS), tuple(min(heads, 2) for heads in HEADS)]


@contextmanager
def process_pool():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


@contextmanager
def dask():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        yield executor


class Here(Executor):
    """Runs what is submitted at once, and keeps the arguments."""

    def __init__(self):
        self.submitted = []

    def submit(self, function, /, *arguments):
        self.submitted.append(arguments)
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as problem:
            future.set_exception(problem)
        return future


def test_losses_are_those_of_the_pooled_models():
    lm = load(checks.GOLDEN, backend="numpy")
    found = measure_allocations(checks.GOLDEN, ALLOCATIONS, ROWS)
    for heads, loss in zip(ALLOCATIONS, found, strict=True):
        pooled = DeciLM(*pool_kv_heads(lm.config, lm.model.weights, heads), lm.backend)
        assert loss == token_losses(pooled, ROWS).mean
    assert len(set(found)) == 3


def test_sensitivity_is_of_one_layer_at_a_time():
    found = sensitivity(checks.GOLDEN, ROWS)
    assert found.config == load(checks.GOLDEN).config
    [base] = measure_allocations(checks.GOLDEN, [HEADS], ROWS)
    assert found.base_loss == base
    for layer, options in enumerate(found.extra_losses):
        assert set(options) == {k for k in (1, 2, 4) if k <= HEADS[layer]}
        assert options[HEADS[layer]] == 0.0
        for heads, extra in options.items():
            alone = (*HEADS[:layer], heads, *HEADS[layer + 1 :])
            [loss] = measure_allocations(checks.GOLDEN, [alone], ROWS)
            assert extra == loss - base


def test_the_demo_model_needs_the_heads_it_was_trained_with():
    """Pooling the most sensitive layer costs clearly, pooling all of them more."""
    lm = load("demo")
    story = "Once upon a time, there was a little girl named Lily. She lived with her mom in a small house."
    rows = text_rows(lm, [story])
    found = sensitivity("demo", rows)
    pooled = [extra for options in found.extra_losses for extra in options.values() if extra]
    [all_ones] = measure_allocations("demo", [(1,) * len(lm.config.layers)], rows)
    assert all_ones - found.base_loss > max(pooled) > 0.05


@pytest.mark.parametrize("make_executor", [process_pool, dask])
def test_other_processes_give_the_same_results(make_executor, capsys):
    """For a model given by path and for the demo; with a progress bar that counts to the end."""
    here = sensitivity(checks.GOLDEN, ROWS)
    demo_rows, ones = [np.arange(1, 30)], [(1,) * 8]
    demo_here = measure_allocations("demo", ones, demo_rows)
    capsys.readouterr()
    with make_executor() as executor:
        there = sensitivity(checks.GOLDEN, ROWS, executor=executor, progress=True)
        assert measure_allocations("demo", ones, demo_rows, executor=executor) == demo_here
        with pytest.raises(ValueError, match="abacus"):
            sensitivity(checks.GOLDEN, ROWS, executor=executor, backend="abacus")
    assert there == here
    count = 1 + sum(len(options) - 1 for options in here.extra_losses)
    assert f"{count}/{count}" in capsys.readouterr().err


def test_workers_get_a_path_and_no_weights(monkeypatch):
    monkeypatch.chdir(checks.GOLDEN.parent)
    executor = Here()
    measure_allocations(checks.GOLDEN.name, ALLOCATIONS, ROWS, executor=executor)
    measure_allocations("demo", [(1,) * 8], ROWS, executor=executor)
    paths = [path for path, *_ in executor.submitted]
    assert paths == [str(checks.GOLDEN)] * 3 + ["demo"]
    for _, heads, rows, *rest in executor.submitted:
        assert all(type(k) is int for k in heads)
        assert [row.tolist() for row in rows] == [row.tolist() for row in ROWS]
        assert rest == ["auto", 16]


def test_serial_progress_counts_models(capsys):
    measure_allocations(checks.GOLDEN, ALLOCATIONS, ROWS, progress=True)
    assert "3/3" in capsys.readouterr().err


def test_what_has_not_begun_is_cancelled_when_one_fails():
    class Failing(Executor):
        """The first future fails, the others never begin."""

        def __init__(self):
            self.futures = []

        def submit(self, function, /, *arguments):
            self.futures.append(Future())
            if len(self.futures) == 1:
                self.futures[0].set_exception(OSError("disk gone"))
            return self.futures[-1]

    executor = Failing()
    with pytest.raises(OSError, match="disk gone"):
        measure_allocations(checks.GOLDEN, ALLOCATIONS, ROWS, executor=executor)
    assert [future.cancelled() for future in executor.futures] == [False, True, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"allocations": [HEADS, (3,) * len(HEADS)]}, r"kv_heads\[0\]"),
        ({"allocations": [HEADS[:-1]]}, "one per layer"),
        ({"rows": [[1, 9999]]}, "9999 is not in the vocabulary"),
        ({"rows": []}, "at least one row"),
        ({"model": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(change, message):
    executor = Here()
    arguments = {"model": checks.GOLDEN, "allocations": ALLOCATIONS, "rows": ROWS} | change
    with pytest.raises(ValueError, match=message):
        measure_allocations(**arguments, executor=executor)
    assert executor.submitted == []
