"""Held-out loss of many variants of one model: in this process, on all its cores, or on other machines.

Every function takes an ``executor``, anything with the interface of :class:`concurrent.futures.Executor`:

- None: one variant after another, here.
- ``ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))``: processes of this machine.
- ``distributed.Client(...).get_executor()``: a Dask cluster (extra ``distributed``).

A worker gets the path of the model, not its weights, and maps the files into its own memory, so the path must
lead to the same model wherever a worker runs. Losses are the same in each case, and in the same order; where
workers have another number of threads, or other processors, up to rounding.

Every worker's NumPy starts as many threads as there are cores. With several workers on one machine, set
``OPENBLAS_NUM_THREADS`` (or ``MKL_NUM_THREADS``, by what NumPy was built with) to their share before they
start. Dask's own processes set both to 1.
"""

from collections.abc import Sequence
from concurrent.futures import Executor, as_completed
from pathlib import Path

import numpy.typing as npt

from minidecilm.api import load
from minidecilm.catalog import DEMO_FOLDER, find_folder
from minidecilm.experiments.allocate import Sensitivity
from minidecilm.experiments.evaluate import check_rows, token_losses
from minidecilm.experiments.pooling import check_kv_heads, divisors, pool_kv_heads
from minidecilm.model import DeciLM
from minidecilm.ops import Array
from minidecilm.progress import progress_bar
from minidecilm.weights.checkpoint import open_checkpoint


def sensitivity(
    model: str | Path,
    rows: Sequence[npt.ArrayLike],
    *,
    backend: str = "auto",
    batch_size: int = 16,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Sensitivity:
    """Measure how much each layer suffers when its KV heads alone are pooled.

    For every layer of K heads and every smaller divisor of K: the held-out loss when this layer is pooled to
    so many heads (:func:`minidecilm.experiments.pooling.pool_kv_heads`) and all others are as they were,
    less the loss of the model as it is. Nothing is trained afterwards.

    Parameters
    ----------
    model, rows, backend, batch_size, executor, progress
        As for :func:`measure_allocations`.

    Returns
    -------
    Sensitivity

    Examples
    --------
    >>> found = sensitivity("demo", [[1, 300, 301, 302]])
    >>> [sorted(options) for options in found.extra_losses][:4]
    [[1, 2, 4], [1, 2], [1, 2], [1]]
    """
    config = open_checkpoint(find_folder(model)).config
    present = config.num_key_value_heads_per_layer
    singles = [(layer, heads) for layer, old in enumerate(present) for heads in divisors(old)[:-1]]
    allocations = [(*present[:layer], heads, *present[layer + 1 :]) for layer, heads in singles]
    base, *losses = measure_allocations(
        model,
        [present, *allocations],
        rows,
        backend=backend,
        batch_size=batch_size,
        executor=executor,
        progress=progress,
    )
    extra_losses = [{old: 0.0} for old in present]
    for (layer, heads), loss in zip(singles, losses, strict=True):
        extra_losses[layer][heads] = loss - base
    return Sensitivity(config, base, tuple(extra_losses))


def measure_allocations(
    model: str | Path,
    allocations: Sequence[Sequence[int]],
    rows: Sequence[npt.ArrayLike],
    *,
    backend: str = "auto",
    batch_size: int = 16,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> list[float]:
    """Measure the held-out loss of a model whose KV heads are pooled to each of some allocations.

    Parameters
    ----------
    model : str or Path
        "demo", a checkpoint folder, or a hub id.
    allocations : sequence of sequences of int
        KV heads for every layer, each a divisor of those the layer has.
    rows, batch_size, progress
        As for :func:`minidecilm.experiments.evaluate.token_losses`.
    backend : {"auto", "numpy", "numba"}
        Computes the operations.
    executor : concurrent.futures.Executor, optional
        Where the work is done; see the top of this module. None for here.

    Returns
    -------
    list of float
        Mean loss in nats per token of each allocation, in their order.

    Raises
    ------
    ValueError
        If an allocation cannot be reached by pooling, if rows are not token ids, or if the model is not one.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> whole, pooled = measure_allocations("demo", [[4, 2, 2, 1, 1, 1, 4, 4], [1] * 8], [[1, 300, 301, 302]])
    """
    folder = find_folder(model)
    config = open_checkpoint(folder).config
    checked = check_rows(rows, config)
    for allocation in allocations:
        check_kv_heads(config, allocation)
    # A worker may run in another folder or on another machine, where the demo lies elsewhere.
    source = "demo" if folder == DEMO_FOLDER else str(folder.resolve())
    tasks = [
        (source, tuple(map(int, allocation)), checked, backend, batch_size) for allocation in allocations
    ]
    with progress_bar(len(tasks), "measuring", "model", progress) as bar:
        if executor is None:
            losses = []
            for task in tasks:
                losses.append(_held_out_loss(*task))
                bar.update(1)
            return losses
        futures = [executor.submit(_held_out_loss, *task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()  # raises what the worker raised
                bar.update(1)
        finally:
            for future in futures:
                future.cancel()  # those not begun yet, if one failed
        return [future.result() for future in futures]


def _held_out_loss(
    model: str, kv_heads: tuple[int, ...], rows: list[Array], backend: str, batch_size: int
) -> float:
    """Open a model, pool its heads, measure it. Stands at module level, so that workers find it by name."""
    lm = load(model, backend=backend)
    config, weights = pool_kv_heads(lm.config, lm.model.weights, kv_heads)
    pooled = DeciLM(config, weights, lm.backend)
    return token_losses(pooled, rows, batch_size=batch_size, progress=False).mean
