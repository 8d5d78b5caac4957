"""What the network must do, as functions: tests call them, and tests of the tests break the network first."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minidecilm
from minidecilm.backends.host import on_host
from minidecilm.cache import KVCache
from minidecilm.model import DeciLM
from minidecilm.observe import Recorder

Array = NDArray[Any]
Data = dict[str, Array]

GOLDEN = Path(__file__).parent / "golden" / "deci_tiny"

# Largest absolute difference to Deci's own code in float64. Never widened: a miss is a mistake to be found.
TOLERANCE = {"float64": 1e-10, "float32": 2e-4}


def golden_data() -> Data:
    with np.load(GOLDEN / "golden.npz") as file:
        return dict(file)


def golden_model(dtype: str = "float64", rope: str = "reference", backend: str = "numpy") -> DeciLM:
    return minidecilm.load(GOLDEN, backend=backend, dtype=dtype, rope=rope).model


def assert_close(found: Array, expected: Array, model: DeciLM) -> None:
    """Equal within the tolerance of the model's compute dtype."""
    np.testing.assert_allclose(on_host(found), expected, rtol=0, atol=TOLERANCE[str(model.dtype)])


def feed(model: DeciLM, ids: Array, chunks: Sequence[int], attention_mask: Array | None = None) -> Array:
    """Logits of all tokens when they are fed in chunks of these sizes: (B, T, V)."""
    assert sum(chunks) == ids.shape[1]
    cache = model.new_cache(*ids.shape)
    logits, start = [], 0
    for size in chunks:
        part = slice(start, start + size)
        mask = None if attention_mask is None else attention_mask[:, part]
        logits.append(on_host(model(ids[:, part], cache, mask)))
        start += size
    return np.concatenate(logits, axis=1)


def short(model: DeciLM, data: Data) -> None:
    assert_close(model(data["short.input_ids"]), data["short.logits.f64"], model)


def hidden_states(model: DeciLM, data: Data) -> None:
    seen = Recorder(["embed_tokens", "hidden_states", "norm"])
    model(data["short.input_ids"], observer=seen)
    inner = [seen.values[layer, "hidden_states"] for layer in range(5)]
    states = [seen.values[None, "embed_tokens"], *inner, seen.values[None, "norm"]]
    assert_close(np.stack(states), data["short.hidden_states.f64"], model)


def long_one_call(model: DeciLM, data: Data) -> None:
    assert_close(model(data["long.input_ids"]), data["long.one_call.logits.f64"], model)


def long_stepwise(model: DeciLM, data: Data) -> None:
    ids, prefix = data["long.input_ids"], int(data["long.stepwise.first_prefix"])
    logits = feed(model, ids, [prefix] + [1] * (ids.shape[1] - prefix))
    assert_close(logits[:, prefix - 1 :], data["long.stepwise.logits.f64"], model)


def cached_keys(model: DeciLM, data: Data) -> None:
    ids, prefix = data["long.input_ids"], int(data["long.stepwise.first_prefix"])
    cache = model.new_cache(*ids.shape)
    model(ids[:, :prefix], cache)
    for t in range(prefix, ids.shape[1]):
        model(ids[:, t : t + 1], cache)
    assert_close(cache.keys[0], data["long.stepwise.final_cache_key_layer0.f64"], model)


def padded(model: DeciLM, data: Data) -> None:
    logits = model(data["padded.input_ids"], attention_mask=data["padded.attention_mask"])
    assert_close(logits[:, -1], data["padded.last_logits.f64"], model)


def greedy(model: DeciLM, data: Data) -> None:
    prompt, expected = data["greedy.prompt_ids"], data["greedy.output_ids.f64"]
    count = expected.shape[1] - prompt.shape[1]
    # The golden run went on past the end-of-text id, as a loop over the model does.
    [new] = minidecilm.generate_tokens(model, prompt, max_new_tokens=count, temperature=0, eos_token_ids=())
    np.testing.assert_array_equal(new, expected[0, prompt.shape[1] :])


def row_alone_equals_row_in_batch(model: DeciLM, data: Data) -> None:
    """A short row padded beside a long one that crosses M; fed whole, then one token a call."""
    ids = data["long.input_ids"]
    M = model.config.max_position_embeddings
    long, short = ids[0], ids[0, : M + 8]
    pad = len(long) - len(short)
    batch = np.stack([long, np.concatenate([np.zeros(pad, np.int64), short])])
    mask = np.stack([np.ones(len(long)), np.arange(len(long)) >= pad]).astype(np.int64)
    chunks = [len(long) - 6, *[1] * 6]
    together = feed(model, batch, chunks, mask)
    alone = feed(model, short[None], [len(short) - 6, *[1] * 6])
    assert_close(together[1, pad:], alone[0], model)
    assert_close(together[0], feed(model, long[None], chunks)[0], model)


def _begun(model: DeciLM, data: Data, rows: Sequence[int]) -> tuple[KVCache, Array]:
    """Return a cache that has read padded rows but for their last 4 tokens, and those."""
    ids, mask = (data[f"padded.{name}"][list(rows)] for name in ("input_ids", "attention_mask"))
    cache = model.new_cache(*ids.shape)
    model(ids[:, :-4], cache, mask[:, :-4])
    return cache, ids[:, -4:]


def _steps(model: DeciLM, cache: KVCache, ids: Array) -> Array:
    """Logits of a call of two tokens, then of single ones."""
    parts = (slice(0, 2), *(slice(t, t + 1) for t in range(2, ids.shape[1])))
    return np.concatenate([on_host(model(ids[:, part], cache)).copy() for part in parts], axis=1)


def same_state(found: KVCache, expected: KVCache) -> None:
    """Assert that two caches hold the same, bit for bit."""
    assert found.length == expected.length
    np.testing.assert_array_equal(found.past_mask(), expected.past_mask())
    for name in ("row_lengths", "rope_base", "planned_lengths"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    ours, theirs = ((*cache.keys, *cache.values) for cache in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        used = np.s_[:, :, : found.length]
        assert on_host(one[used]).tobytes() == on_host(other[used]).tobytes()


def forks_go_on_by_themselves(model: DeciLM, data: Data) -> None:
    """Bit for bit as caches that were fed alone; with other rows, within the tolerance."""
    every = range(len(data["padded.input_ids"]))
    cache, ending = _begun(model, data, every)
    other = ending[:, ::-1]
    expected, expected_other = (_steps(model, _begun(model, data, every)[0], end) for end in (ending, other))
    copy, rows = cache.fork(max_length=cache.max_length + 3), [1, 0, 1, 2]
    many = cache.fork(rows)
    same_state(copy, cache)
    same_state(many.fork([1, 0, 3]), cache)
    np.testing.assert_array_equal(_steps(model, copy, other), expected_other)
    np.testing.assert_array_equal(_steps(model, cache, ending), expected)
    alone, endings = _begun(model, data, rows)
    assert_close(_steps(model, many, endings), _steps(model, alone, endings), model)


def trimmed_is_as_never_fed(model: DeciLM, data: Data) -> None:
    """Bit for bit as the same calls without those that were forgotten; then other tokens follow."""
    every = range(len(data["padded.input_ids"]))
    (cache, ending), (expected, _) = (_begun(model, data, every) for _ in range(2))
    _steps(model, cache, ending)
    cache.trim(expected.length)
    same_state(cache, expected)
    other = ending[:, ::-1]
    np.testing.assert_array_equal(_steps(model, cache, other), _steps(model, expected, other))
    same_state(cache, expected)


#: Every check takes a model under rope policy ``reference`` and the golden data.
REFERENCE: list[Callable[[DeciLM, Data], None]] = [
    short,
    hidden_states,
    long_one_call,
    long_stepwise,
    cached_keys,
    padded,
    greedy,
    row_alone_equals_row_in_batch,
    forks_go_on_by_themselves,
    trimmed_is_as_never_fed,
]
