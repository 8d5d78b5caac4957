"""What the explorer must say, from the library: for its formulas, and for what a browser shows of them."""

import random
from functools import cache as remembered
from itertools import product

import pytest

from docs.explorer import build
from minidecilm import costs

MODELS = {name: config for name, (_, _, config) in build.models().items()}


@remembered
def expected(name, device, weights, cache, context, batch, memory):
    """What the page must say of a model, from the library."""
    config, device, storage = MODELS[name], costs.device(device), build.WEIGHTS[weights]
    weight_bytes = costs.weight_bytes(config, storage)
    cache_bytes = costs.kv_cache_bytes(config, batch, context, cache)
    largest = costs.largest_batch(config, memory, context, storage, cache)
    times = costs.operation_times(config, device, batch, 1, context - 1, storage, cache)

    def rate(rows):
        return costs.decode_tokens_per_second(config, device, rows, context, storage, cache)

    reading = sum(time.seconds for time in times if time.limit == "memory") / sum(t.seconds for t in times)
    return {
        "weight_bytes": weight_bytes,
        "kv_cache_bytes": cache_bytes,
        "total_bytes": weight_bytes + cache_bytes,
        "fits": largest >= batch,
        "kv_cache_bytes_per_token": costs.kv_cache_bytes(config, dtype=cache),
        "largest_batch": largest,
        "largest_context": costs.largest_context(config, memory, batch, storage, cache),
        "decode_tokens_per_second": rate(batch),
        "limit": "memory" if reading >= 0.5 else "arithmetic",
        "limited_share": max(reading, 1 - reading),
        "tokens_per_second_at_largest_batch": rate(largest) if largest else 0,
    }, [(time.operation, time.limit, time.seconds) for time in times]


def check(found, times, *choice):
    """Integers and words are equal, rates agree but for the order of additions."""
    quantities, seconds = expected(*choice)
    for name in quantities.keys() & found.keys():
        value = quantities[name]
        if isinstance(value, float):
            value = pytest.approx(value, rel=1e-12)
        assert found[name] == value, (name, choice)
    assert [time[:2] for time in times] == [time[:2] for time in seconds], choice
    assert [time[2] for time in times] == [time[2] for time in seconds], choice


def grid():
    """Every model in every storage on every device, with works and memories that reach the edges."""
    draw = random.Random(6)
    for name, weights, device in product(MODELS, build.WEIGHTS, costs.DEVICE_NAMES):
        cache = draw.choice(build.CACHES)
        context, batch = (
            draw.choice((1, 2, 1000, 4096, 4097, 1 << top, draw.randint(1, 1 << top))) for top in (20, 12)
        )
        row = costs.kv_cache_bytes(MODELS[name], batch, context, cache)
        exact = costs.weight_bytes(MODELS[name], build.WEIGHTS[weights]) + row
        memory = draw.choice((0, exact, exact - 1, exact + 1, costs.device(device).memory_bytes, 10**14))
        yield name, device, weights, cache, context, batch, memory
