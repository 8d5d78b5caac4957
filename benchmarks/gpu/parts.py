"""The parts of the measurement: each returns what goes into the json, goals beside what was reached."""

import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from statistics import median
from typing import Any

import numpy as np

import minidecilm
from benchmarks.common import spread
from benchmarks.gpu.setup import KV_CACHE, OURS, THEIRS, Setup, batches, measured_device
from minidecilm import costs
from minidecilm.backends import create_backend
from minidecilm.backends.host import on_host
from minidecilm.model import DeciLM
from minidecilm.sampling import Options, sample

EXACT, ROUNDED = "float32", "bfloat16"

#: Differences from float64, as a part of the root mean square of all logits: the largest one in float32; in
#: bfloat16, which rounds every activation by up to 2^-9, their own root mean square. How far that grows
#: depends on the weights. On the CPU that stands in for a GPU the trained model, given random tokens, came to
#: 0.006 to 0.012 with any storage: its goal finds mistakes of kernels. For random weights it is only stated.
AGREEMENT = {(EXACT, "demo"): 1e-4, (EXACT, "deci_tiny"): 1e-4, (ROUNDED, "demo"): 2**-5}
DECODE_SHARE = {"bfloat16": 0.80, "int8": 0.70, "int4": 0.60}  # of the copy bandwidth
BATCH_SHARE = 0.70  # of the roofline
PREFILL_SHARE = 0.60  # of the rate of the large product
PREDICTION = 0.25  # how far from it a point of the sweep may be
TRANSFORMERS = 2.0  # times as fast
TOP_P = 0.95

Result = dict[str, Any]


def check(found: float, wanted: float | None, at_most: bool = False) -> Result:
    """Lay a figure beside its goal; NaN reaches none."""
    reached = None if wanted is None else bool(found <= wanted if at_most else found >= wanted)
    return {"found": found, "wanted": wanted, "reached": reached}


# ---------------------------------------------------------------- 1: agreement


def agreement(setup: Setup, results: Result) -> Result:
    """Logits of small models beside NumPy in float64 with the same weights: a prompt, and recorded steps."""
    rows = []
    for name, storages in setup.sizes.agreement:
        for weights in storages:
            lm = minidecilm.load(name, weights=weights, backend="numpy")
            reference = DeciLM(lm.config, lm.model.weights, create_backend("numpy"), "float64")
            prompt, steps = setup.sizes.tokens
            ids = np.random.default_rng(2).integers(lm.config.vocab_size, size=(2, prompt + steps))
            expected = reference(ids)
            scale = np.sqrt(np.mean(expected**2))
            for dtype in (EXACT, ROUNDED):
                model = DeciLM(lm.config, lm.model.weights, setup.backends[dtype], dtype)
                difference = np.abs(_logits(model, ids, prompt) - expected) / scale  # (B, T, V)
                short = name.rpartition("/")[2]
                wanted = AGREEMENT.get((dtype, short))
                for phase, part in (("prefill", slice(prompt)), ("decode", slice(prompt, None))):
                    largest = float(difference[:, part].max())
                    typical = float(np.sqrt(np.mean(difference[:, part] ** 2)))
                    rows.append(
                        {"model": short, "weights": weights, "dtype": dtype, "phase": phase}
                        | {"recorded": model.decodes_in_one_go and phase == "decode"}
                        | {"largest": largest, "rms": typical}
                        | check(largest if dtype == EXACT else typical, wanted, at_most=True)
                    )
    return {"of": "differences of logits, as parts of the root mean square of all", "rows": rows}


def _logits(model: DeciLM, ids: Any, prompt: int) -> Any:
    """Logits of a prompt in one call and of the rest token by token: (B, T, V)."""
    cache = model.new_cache(*ids.shape)
    logits = [on_host(model(ids[:, :prompt], cache))]
    logits += [on_host(model(ids[:, t : t + 1], cache)) for t in range(prompt, ids.shape[1])]
    return np.concatenate(logits, axis=1)


# ---------------------------------------------------------------- 2: limits


def limits(setup: Setup, results: Result) -> Result:
    """What the card does at most: copying within its memory, and a large product of bfloat16 by cuBLAS."""
    from minidecilm.backends.cupy_backend import products

    cupy, sizes = setup.cupy, setup.sizes
    source, target = (cupy.empty(sizes.copy_bytes // 2, np.uint16) for _ in range(2))
    setup.fill(source)
    copying = setup.seconds(lambda: cupy.copyto(target, source))
    x, weight = (cupy.empty((sizes.gemm, sizes.gemm), np.uint16) for _ in range(2))
    for matrix in (x, weight):
        setup.fill(matrix)
    y = cupy.empty((sizes.gemm, sizes.gemm), np.float32)
    multiplying = setup.seconds(lambda: products.gemm(x, weight, y))
    return {
        "copy_bytes": sizes.copy_bytes,
        "copy_seconds": spread(copying),
        "copy_bytes_per_second": 2 * sizes.copy_bytes / median(copying),  # read and written
        "gemm": sizes.gemm,
        "gemm_seconds": spread(multiplying),
        "gemm_flops_per_second": 2 * sizes.gemm**3 / median(multiplying),
    }


# ---------------------------------------------------------------- 3, 4, 6: decode


def decode(setup: Setup, results: Result) -> Result:
    """One text: every storage, both compute dtypes, short and long contexts, beside the copy bandwidth."""
    rows = []
    for storage, dtype, context in product(
        ("int4", "int8", "bfloat16"), (EXACT, ROUNDED), setup.sizes.contexts
    ):
        if setup.left() <= 0:
            return {"rows": rows, "cut": "time"}
        point = decode_point(setup, results, OURS, storage, dtype, 1, context)
        rows.append(point | check(point["share_of_copy_bandwidth"], DECODE_SHARE[storage]))
    return {"rows": rows}


def batch(setup: Setup, results: Result) -> Result:
    """Many texts, beside the roofline."""
    rows = []
    for dtype, rows_of_batch in product((ROUNDED, EXACT), setup.sizes.batches):
        if setup.left() <= 0:
            return {"rows": rows, "cut": "time"}
        point = decode_point(
            setup, results, OURS, "bfloat16", dtype, rows_of_batch, setup.sizes.batch_context
        )
        rows.append(point | check(point["share_of_roofline"], BATCH_SHARE))
    return {"rows": rows}


def sweep(setup: Setup, results: Result) -> Result:
    """Two networks in one engine, from batch 1 to the largest that fits, beside the roofline's prediction."""
    rows: list[Result] = []
    cut = {}
    for name, share in ((OURS, 1 / 2), (THEIRS, 0)):
        kept = share * setup.left()  # for the other
        for context, size in _points(setup, name):
            if setup.left() <= kept:
                cut = {"cut": "time"}
                break
            try:
                point = decode_point(setup, results, name, "bfloat16", ROUNDED, size, context)
            except MemoryError as problem:  # the plan was wrong
                failed = {"model": name, "batch": size, "context": context, "failed": str(problem)}
                rows.append(failed | {"reached": False})
                continue
            distance = abs(point["share_of_roofline"] - 1)
            rows.append(point | check(distance, PREDICTION, at_most=True))
    return {"rows": rows} | cut


def _points(setup: Setup, name: str) -> Iterator[tuple[int, int]]:
    """Yield contexts and batch sizes."""
    setup.model(name, "bfloat16", ROUNDED)  # so that what is free is free beside the weights
    for context in setup.sizes.sweep_contexts:
        largest = min(_largest_batch(setup, name, context), setup.sizes.largest_batch)
        yield from ((context, size) for size in batches(largest))


def _largest_batch(setup: Setup, name: str, context: int) -> int:
    """Find the most rows that the backend's plan accepts."""
    from minidecilm.backends.cupy_backend.device import free_bytes

    config, device = setup.sizes.configs[name], setup.backends[ROUNDED].device
    gc.collect()  # the last point's cache
    rows = costs.rows_that_fit(config, free_bytes()[0], context, KV_CACHE)
    while rows > 0:
        with suppress(ValueError):
            device.check_cache(config, rows, context, KV_CACHE)
            return rows
        rows -= max(1, rows // 256)
    return 0


def decode_point(
    setup: Setup, results: Result, name: str, storage: str, dtype: str, rows: int, context: int
) -> Result:
    """Time decode once, and say what the limits of the card allow."""
    config, device = setup.sizes.configs[name], measured_device(results["card"], results["parts"]["limits"])
    model = setup.model(name, storage, dtype)
    seconds = setup.decode_seconds(model, rows, context)
    nbytes = costs.forward_bytes(config, rows, context, storage, KV_CACHE)
    allowed = costs.decode_tokens_per_second(config, device, rows, context, storage, KV_CACHE)
    reached = rows / median(seconds)
    return {
        "model": name,
        "weights": storage,
        "dtype": dtype,
        "batch": rows,
        "context": context,
        "seconds": spread(seconds),
        "tokens_per_second": reached,
        "bytes_per_step": nbytes,
        "share_of_copy_bandwidth": nbytes / median(seconds) / device.bytes_per_second,
        "roofline_tokens_per_second": allowed,
        "share_of_roofline": reached / allowed,
        "memory_bytes": setup.used_bytes(),
    }


# ---------------------------------------------------------------- 5: prefill


def prefill(setup: Setup, results: Result) -> Result:
    """A long prompt, beside the rate of the large product."""
    T, rows = setup.sizes.prompt, []
    ids = np.random.default_rng(3).integers(setup.sizes.configs[OURS].vocab_size, size=(1, T))
    for dtype in (ROUNDED, EXACT):
        model = setup.model(OURS, "bfloat16", dtype)
        seconds = setup.seconds(lambda model=model: model(ids, model.new_cache(1, T), last_only=True))
        rate = costs.forward_flops(model.config, 1, T) / median(seconds)
        share = rate / results["parts"]["limits"]["gemm_flops_per_second"]
        rows.append(
            {"dtype": dtype, "tokens": T, "seconds": spread(seconds), "flops_per_second": rate}
            | {"tokens_per_second": T / median(seconds)}
            | check(share, PREFILL_SHARE if dtype == ROUNDED else None)
        )
    return {"rows": rows}


# ---------------------------------------------------------------- 7: the headline


def headline(setup: Setup, results: Result) -> Result:
    """Split what one engine gains from the smaller cache: at equal batch, and by the batch that now fits."""
    if not results["parts"].get("sweep", {}).get("rows"):
        return {"skipped": "the sweep was not measured"}
    rates: dict[tuple[str, int], dict[int, float]] = {}
    for point in results["parts"]["sweep"]["rows"]:
        if "failed" not in point:
            of_model = rates.setdefault((point["model"], point["context"]), {})
            of_model[point["batch"]] = point["tokens_per_second"]
    found = {"rows": list(_split(rates)), "published": list(_published())}
    rows = results["parts"].get("transformers", {}).get("rows")
    return found | ({"engine": median(row["found"] for row in rows)} if rows else {})


def _split(rates: dict[tuple[str, int], dict[int, float]]) -> Iterator[Result]:
    for (name, context), ours in rates.items():
        theirs = rates.get((THEIRS, context))
        if name != OURS or not theirs:
            continue
        equal = max(set(ours) & set(theirs), key=lambda size: theirs[size])
        best, best_theirs = max(ours, key=ours.__getitem__), max(theirs, key=theirs.__getitem__)
        yield {
            "context": context,
            "equal_batch": equal,
            "best_batch": best,
            "their_best_batch": best_theirs,
            "equal_batch_gain": ours[equal] / theirs[equal],
            # Theirs may gain from rows beyond the equal batch too: what is left is ours.
            "batch_gain": ours[best] / ours[equal] / (theirs[best_theirs] / theirs[equal]),
            "together": ours[best] / theirs[best_theirs],
        }


def _published() -> Iterator[Result]:
    """Give the model card's points, of another card, beside what that card allows at most."""
    for point in costs.MODEL_CARD:
        rate = point.tokens_per_second
        yield {
            "model": point.model,
            "engine": point.engine,
            "device": point.device,
            "batch": point.batch_size,
            "tokens_per_second": rate,
            "times_the_first": rate / costs.MODEL_CARD[0].tokens_per_second,
            "share_of_roofline": rate / point.bound(minidecilm.preset(point.model), context=1024),
        }


# ---------------------------------------------------------------- 9: sampling


def sampling(setup: Setup, results: Result) -> Result:
    """Choose tokens from the logits of a step: on the host, as generation does, or where the logits are."""
    rows: list[Result] = []
    steps = setup.sizes.steps
    for size in (1, max(setup.sizes.batches)):
        model = setup.model(OURS, "bfloat16", ROUNDED)
        cache = setup.filled_cache(model, size, setup.sizes.batch_context - steps, steps)
        step = setup.stepping(model, cache)
        logits = step()
        step_seconds = median(setup.seconds(step, steps - 3))
        for name, ways in _choices(setup.cupy, logits, size).items():
            tokens = {where: np.asarray(way()) for where, way in ways.items()}
            row = {"choice": name, "batch": size, "step_seconds": step_seconds}
            for where, way in ways.items():
                row[f"{where}_seconds"] = median(setup.seconds(way))
            rows.append(row | {"same_tokens": float(np.mean(tokens["host"] == tokens["device"]))})
    return {"top_p": TOP_P, "rows": rows}


def _choices(cupy: Any, logits: Any, size: int) -> dict[str, dict[str, Callable[[], Any]]]:
    """Ways to choose a token per row from logits (B, 1, V)."""
    draws = np.stack([np.random.default_rng(row).random(1) for row in range(size)])  # (B, 1)

    def on_the_host(options: Options) -> Callable[[], Any]:
        def choose() -> list[int]:
            generators = [np.random.default_rng(row) for row in range(size)]
            return [
                sample(row, [], options, rng)
                for row, rng in zip(on_host(logits)[:, 0], generators, strict=True)
            ]

        return choose

    return {
        "greedy": {
            "host": on_the_host(Options(temperature=0)),
            "device": lambda: cupy.argmax(logits[:, 0], axis=-1).get(),
        },
        "top-p": {
            "host": on_the_host(Options(top_p=TOP_P)),
            "device": lambda: device_top_p(cupy, logits[:, 0], TOP_P, draws).get(),
        },
    }


def device_top_p(cupy: Any, logits: Any, top_p: float, draws: Any) -> Any:
    """Do what :func:`minidecilm.sampling.sample` does, on the device: (B, V), (B, 1) draws -> (B,) tokens."""
    likely = cupy.exp(logits.astype(np.float64) - logits.max(axis=-1)[:, None])
    ascending = cupy.sort(likely, axis=-1)
    below = cupy.cumsum(ascending, axis=-1)
    removed = (below <= (1 - top_p) * below[:, -1:]).sum(axis=-1)
    least = cupy.take_along_axis(ascending, cupy.minimum(removed, logits.shape[1] - 1)[:, None], axis=-1)
    cumulative = cupy.cumsum(cupy.where(likely < least, 0, likely), axis=-1)
    return (cumulative <= cupy.asarray(draws) * cumulative[:, -1:]).sum(axis=-1)
