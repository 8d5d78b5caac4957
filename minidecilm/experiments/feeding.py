"""One text fed in two ways, token by token and in one call, and how far apart what the model says then is.

Beyond ``max_position_embeddings`` dynamic NTK changes the rotary base with every token, and cached keys may
have been turned with another one: see :mod:`minidecilm.rope`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from minidecilm.backends.host import on_host
from minidecilm.model import DeciLM
from minidecilm.ops import Array, log_softmax
from minidecilm.progress import progress_bar


def decode_logits(model: DeciLM, input_ids: npt.ArrayLike, progress: bool | None = None) -> Array:
    """Feed texts token by token through a cache, as generation does.

    Parameters
    ----------
    model : DeciLM
    input_ids : (B, T) array of int
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal if it takes over a second.

    Returns
    -------
    (B, T, V) array
        Logits after each token.

    Examples
    --------
    >>> import minidecilm
    >>> model = minidecilm.load("demo").model
    >>> bool(np.allclose(decode_logits(model, [[1, 5, 9]]), model([[1, 5, 9]]), atol=1e-4))
    True
    """
    ids = _texts(input_ids)
    B, T = ids.shape
    cache = model.new_cache(B, T)
    logits = np.empty((B, T, model.config.vocab_size), model.dtype)
    with progress_bar(T, f"decoding, rope={model.rope_policy}", "token", progress) as bar:
        for position in range(T):
            logits[:, position] = on_host(model(ids[:, position : position + 1], cache)[:, 0])
            bar.update(1)
    return logits


def prefix_logits(
    model: DeciLM, input_ids: npt.ArrayLike, lengths: Sequence[int], progress: bool | None = None
) -> Array:
    """Feed beginnings of texts in one call each, with nothing cached before it.

    Under ``rope="reference"`` all of a beginning then has one base, that of its own length; under ``"fixed"``
    that of T tokens, as in :func:`decode_logits`.

    Parameters
    ----------
    model, input_ids, progress
        As for :func:`decode_logits`.
    lengths : (N,) sequence of int
        Of the beginnings, in tokens.

    Returns
    -------
    (B, N, V) array
        Logits after the last token of each beginning.

    Examples
    --------
    >>> import minidecilm
    >>> prefix_logits(minidecilm.load("demo").model, [[1, 5, 9]], [1, 3]).shape
    (1, 2, 2048)
    """
    ids = _texts(input_ids)
    for length in lengths:
        if not 1 <= length <= ids.shape[1]:
            raise ValueError(f"lengths: expected 1 to {ids.shape[1]} tokens, found {length}")
    logits = np.empty((len(ids), len(lengths), model.config.vocab_size), model.dtype)
    with progress_bar(sum(lengths), "reading beginnings in one call", "token", progress) as bar:
        for index, length in enumerate(lengths):
            cache = model.new_cache(len(ids), length, planned_lengths=ids.shape[1])
            logits[:, index] = on_host(model(ids[:, :length], cache, last_only=True)[:, 0])
            bar.update(length)
    return logits


def _texts(input_ids: npt.ArrayLike) -> Array:
    ids = np.asarray(input_ids)
    if ids.ndim != 2 or ids.size == 0:
        raise ValueError(f"input_ids: expected (B, T) integers, found shape {ids.shape}")
    return ids


def divergence(logits: Array, others: Array) -> Array:
    """Kullback-Leibler divergence of what two runs predict: (..., V), (..., V) -> (...) float64, in nats.

    What it costs on average, per token, to believe `others` where `logits` are right.

    Examples
    --------
    >>> divergence(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])).round(4)
    array([0.1438])
    """
    log_p, log_q = log_softmax(logits), log_softmax(others)
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=-1))


def perplexity_by_position(losses: Array, step: int) -> Array:
    """Perplexity of every stretch of `step` tokens, all rows together: (B, N * step) -> (N,) float64.

    Examples
    --------
    >>> perplexity_by_position(np.log([[2.0, 2.0, 8.0, 8.0]]), step=2).round(4)
    array([2., 8.])
    """
    return np.asarray(np.exp(losses.reshape(len(losses), -1, step).mean(axis=(0, 2))))
