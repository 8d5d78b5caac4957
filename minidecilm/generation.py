"""Prompt ids in, new ids out: prefill, decode, batch, stop rules, trace. Knows tokens, never sees text."""

import sys
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from minidecilm.backends.host import on_host
from minidecilm.cache import KVCache
from minidecilm.config import Config
from minidecilm.errors import Interrupted
from minidecilm.model import DeciLM
from minidecilm.observe import LayerClock, check_numbers
from minidecilm.ops import Array, log_softmax
from minidecilm.progress import progress_bar
from minidecilm.sampling import Keywords, Options, sample
from minidecilm.trace import Step, Totals

#: Dynamic NTK has no length at which it ends: more than this is opt-in, so that it is meant.
DYNAMIC_LENGTH_FACTOR = 4


def generate_tokens(
    model: DeciLM,
    input_ids: npt.ArrayLike | Sequence[Sequence[int]],
    *,
    stop: Sequence[Sequence[int]] | None = None,
    **options: Unpack[Keywords],
) -> Any:
    """Continue sequences of token ids.

    Parameters
    ----------
    model : DeciLM
    input_ids : (T,) or (B, T) array of int, or list of B lists of int
        One prompt, or a batch of prompts of any lengths.
    stop : sequence of sequences of int, optional
        A row ends when its new tokens end with one of these, which is kept out of the result.
    **options
        See :class:`minidecilm.sampling.Options`.

    Returns
    -------
    (N,) array of int, or list of B such arrays
        The new tokens, with the end-of-text id if a row ended by itself.

    Raises
    ------
    Interrupted
        After Ctrl-C, a KeyboardInterrupt; its ``generated`` is what there is.
    ValueError
        For an impossible argument, or a length beyond `max_length`.

    Examples
    --------
    >>> import minidecilm
    >>> lm = minidecilm.load("demo")
    >>> new = generate_tokens(lm.model, [1, 300, 301], max_new_tokens=4, temperature=0)
    >>> len(new)
    4
    """
    rows = _as_rows(input_ids, "input_ids")
    single = np.ndim(input_ids[0]) == 0  # type: ignore[index]
    endings = [] if stop is None else [tuple(row) for row in _as_rows(stop, "stop")]
    new: list[list[int]] = [[] for _ in rows]

    def keep(row: int, token: int, ends: bool) -> bool:
        new[row].append(token)
        for ending in endings:
            if tuple(new[row][-len(ending) :]) == ending:
                del new[row][-len(ending) :]
                return True
        return False

    def result() -> Any:
        arrays = [np.asarray(row, np.int64) for row in new]
        return arrays[0] if single else arrays

    try:
        for _ in generation_steps(model, rows, keep, Options(**options)):
            pass
    except KeyboardInterrupt:
        raise Interrupted(result()) from None
    return result()


def generation_steps(
    model: DeciLM,
    prompts: Sequence[Sequence[int]],
    on_token: Callable[[int, int, bool], bool],
    options: Options,
    shown: bool = False,
) -> Iterator[None]:
    """Generate one token per row and step, until every row has ended; yield after every step.

    `on_token` is told each new token as (row, token, whether it is an end-of-text id), and returns whether
    the row is to end there. `shown` says that tokens are shown as they come: a bar would run into them.
    """
    max_new_tokens, progress = options.max_new_tokens, options.progress
    eos = _end_tokens(model.config.eos_token_ids if options.eos_token_ids is None else options.eos_token_ids)
    width = max(map(len, prompts))
    past = [0] * len(prompts)
    if options.cache is not None:
        options.cache.open_window(np.ones((len(prompts), width + max_new_tokens), np.bool_))  # is there room?
        past = options.cache.row_lengths.tolist()
    lengths = [before + len(prompt) for before, prompt in zip(past, prompts, strict=True)]
    check_length(model.config, max(lengths), max_new_tokens, options.max_length)
    generators = [np.random.default_rng(s) for s in _seeds(options.seed, len(prompts))]
    seen = [list(prompt) for prompt in prompts]
    finished: list[str | None] = [None] * len(prompts)
    totals = options.totals or Totals()
    totals.rows += len(prompts)
    totals.read_tokens += sum(map(len, prompts))

    ids = np.array([[0] * (width - len(p)) + list(p) for p in prompts])  # (B, T)
    mask = np.array([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    planned = [len(prompt) + max_new_tokens for prompt in prompts]
    cache = options.cache or model.new_cache(len(prompts), width + max_new_tokens - 1, planned)
    model.check_files()
    model.backend.prepare(model.weights, model.kv_cache, progress)  # before the first clock starts

    def next_logits(on_layer: Callable[[int], Any] | None = None) -> tuple[Array, LayerClock]:
        clock = LayerClock(on_layer)
        observer = None if on_layer is None and model.decodes_in_one_go else clock
        with np.errstate(over="ignore", invalid="ignore"):  # check_numbers says more than a warning
            logits = on_host(model(ids, cache, mask, last_only=True, observer=observer)[:, -1])  # (B, V)
            check_numbers(model, seen, logits, clock.hidden_states)
        return logits, clock

    layers = len(model.config.layers)
    with progress_bar(layers, f"reading {width} tokens", "layer", progress, leave=False) as bar:
        logits, clock = next_logits(bar.update)
    if progress is None and shown and sys.stdout is not None and sys.stdout.isatty():
        progress = False
    with progress_bar(max_new_tokens, "writing", "token", progress) as bar:
        for number in range(1, max_new_tokens + 1):
            if number > 1:
                logits, clock = next_logits()
            tokens: list[int | None] = [None] * len(prompts)
            for row, ended in enumerate(finished):
                if ended is None:
                    token = sample(logits[row], seen[row], options, generators[row])
                    tokens[row] = token
                    seen[row].append(token)
                    stopped = on_token(row, token, token in eos)
                    if token in eos:
                        finished[row] = "eos"
                    elif stopped:
                        finished[row] = "stop"
                    elif number == max_new_tokens:
                        finished[row] = "length"
                    totals.written_tokens += 1
            seconds = perf_counter() - clock.started
            totals.add_step(seconds, cache.used_nbytes, reading=number == 1)
            if options.trace is not None:
                options.trace.append(_record_step(logits, tokens, finished, cache, clock, seconds))
            yield
            bar.update(1)
            if all(finished) and options.cache is None:
                return
            # A row that has ended goes on as padding: it is computed with the others, and counts nowhere.
            # A cache that outlives the run is given its last token before.
            ids = np.array([[0 if token is None else token] for token in tokens])  # (B, 1)
            padding = finished if options.cache is None else [token is None for token in tokens]
            mask = np.array([[0 if ended else 1] for ended in padding])
            if all(finished):
                next_logits()
                return


def length_limit(config: Config) -> tuple[int, str]:
    """Most tokens of a run unless `max_length` says otherwise, and where that comes from."""
    if config.rope_factor is None:
        return config.max_position_embeddings, "max_position_embeddings; the model has no rotary scaling"
    limit = DYNAMIC_LENGTH_FACTOR * config.max_position_embeddings
    return limit, f"{DYNAMIC_LENGTH_FACTOR} x max_position_embeddings"


def check_length(config: Config, prompt_length: int, max_new_tokens: int, max_length: int | None) -> None:
    """Raise a ValueError for a run longer than the model is meant for, which says what would fit."""
    limit, reason = length_limit(config) if max_length is None else (max_length, "max_length")
    if prompt_length + max_new_tokens <= limit:
        return
    room = limit - prompt_length
    remedy = f"ask for at most {room} new tokens" if room > 0 else "shorten the prompt"
    raise ValueError(
        f"a prompt of {prompt_length} + {max_new_tokens} new tokens exceeds {limit} tokens ({reason}): "
        f"{remedy}, or set max_length"
    )


def _record_step(
    logits: Array,
    tokens: list[int | None],
    finished: list[str | None],
    cache: KVCache,
    clock: LayerClock,
    seconds: float,
) -> Step:
    """Describe a step that computed logits (B, V) and chose `tokens`."""
    log_p = log_softmax(logits)  # (B, V)
    return Step(
        tokens=tokens,
        log_probabilities=[None if t is None else float(log_p[b, t]) for b, t in enumerate(tokens)],
        alternatives=[_likeliest(row) for row in log_p],
        finished=list(finished),
        rope_base=cache.rope_base.tolist(),
        cache_nbytes=cache.used_nbytes,
        layer_seconds=clock.layer_seconds,
        seconds=seconds,
    )


def _likeliest(log_p: Array) -> list[tuple[int, float]]:
    """Return the five likeliest tokens of a (V,) distribution, best first."""
    best = np.argsort(-log_p, kind="stable")[:5]
    return [(int(token), float(log_p[token])) for token in best]


def _as_rows(ids: Any, name: str) -> list[list[int]]:
    """One list of ids per sequence, from one sequence or a batch of any lengths."""
    if not hasattr(ids, "__len__") or len(ids) == 0:
        raise ValueError(f"{name}: expected token ids, found {ids!r}")
    rows = [np.asarray(row) for row in ([ids] if np.ndim(ids[0]) == 0 else ids)]
    for index, row in enumerate(rows):
        if row.ndim != 1 or row.size == 0 or row.dtype.kind not in "iu":
            raise ValueError(
                f"{name}[{index}]: expected (T,) integers, found shape {row.shape} of {row.dtype}"
            )
    return [row.tolist() for row in rows]


def _seeds(seed: Any, rows: int) -> list[int]:
    seeds = [seed] * rows if np.ndim(seed) == 0 else list(seed)
    fit = [isinstance(s, int | np.integer) and not isinstance(s, bool) and s >= 0 for s in seeds]
    if len(seeds) != rows or not all(fit):
        raise ValueError(
            f"seed: expected an integer of at least 0, or one for each of {rows} rows, found {seed!r}"
        )
    return [int(s) for s in seeds]


def _end_tokens(ids: Any) -> Array:
    tokens = np.ravel(list(ids) if isinstance(ids, set | frozenset) else ids)
    if tokens.size and tokens.dtype.kind not in "iu":
        raise ValueError(f"eos_token_ids: expected an integer or integers, found {ids!r}")
    return tokens
