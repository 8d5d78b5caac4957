"""Rotary position embedding: frequencies, dynamic NTK scaling, and the three policies for keys in a cache.

Up to M = max_position_embeddings tokens the base is constant and the policies agree. Beyond M, dynamic NTK
grows the base with the length L, and it matters when a key was rotated:

``reference``
    As Deci's and Hugging Face's code does. Keys are cached rotated with the base that was in force in their
    own step, and are never turned again. Feeding a text in one call or in pieces gives different results.
``fixed``
    One base for the whole run, that of the length planned at the start.
``exact``
    Keys are cached unrotated. A query at position p sees every key rotated with the base of length p + 1, so
    one call, chunks and single tokens give the same result, at the price of rotating keys on every read.

L counts a row's own real tokens: padding never counts.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from minidecilm.config import Config
from minidecilm.ops import Array

POLICIES = ("reference", "fixed", "exact")
Rotate = Callable[[Array, Array, Array], Array]


def dynamic_ntk_base(length: npt.ArrayLike, config: Config) -> Array:
    """Rotary base in force at a length.

    ``base(L) = theta * (s * L / M - (s - 1)) ** (D / (D - 2))`` for L > M, else theta.

    Parameters
    ----------
    length : int or array of int
        L, in tokens.
    config : Config
        Gives theta, the factor s (none: the base never changes), M and D.

    Returns
    -------
    float64 array
        Of the shape of `length`.

    References
    ----------
    bloc97 and emozilla, "Dynamically Scaled RoPE further increases performance of long context LLaMA", 2023;
    as in ``LlamaDynamicNTKScalingRotaryEmbedding`` of Hugging Face transformers 4.31.

    Examples
    --------
    >>> from minidecilm import preset
    >>> dynamic_ntk_base([4096, 8192], preset("decilm-6b")).round(3)
    array([10000.   , 30527.737])
    """
    L = np.asarray(length, np.float64)
    if config.rope_factor is None:
        return np.full(L.shape, config.rope_theta)
    s, D = config.rope_factor, config.head_dim
    stretch = np.maximum(s * L / config.max_position_embeddings - (s - 1), 1.0)  # 1 up to M
    return np.asarray(config.rope_theta * stretch ** (D / (D - 2)))


def inverse_frequencies(base: npt.ArrayLike, head_dim: int) -> Array:
    """Radians per token of each pair: ``base ** (-2i / D)`` for i in 0 .. D/2 - 1; (...,) -> (..., D/2)."""
    exponents = np.arange(0, head_dim, 2) / head_dim
    return np.asarray(np.asarray(base, np.float64)[..., None] ** -exponents)


def wavelengths(base: npt.ArrayLike, head_dim: int) -> Array:
    """Tokens in which each pair turns once: ``2 pi / inverse_frequencies``; (...,) -> (..., D/2) float64.

    Examples
    --------
    Of the 64 pairs of DeciLM, 46 turn at least once in the 4,096 tokens it was trained with:

    >>> int((wavelengths(10000.0, 128) <= 4096).sum())
    46
    """
    return np.asarray(2 * np.pi / inverse_frequencies(base, head_dim))


def unseen_angles(positions: npt.ArrayLike, base: float, config: Config) -> Array:
    """Whether a position turns a pair to an angle that the M tokens of training never showed.

    That can only be where a pair turns less than once in M tokens with the base it was trained with; the
    others have shown every angle.

    Parameters
    ----------
    positions : (N,) array of int
    base : float
        Rotary base in force.
    config : Config
        Gives theta, D and M.

    Returns
    -------
    (N, D/2) bool array

    Examples
    --------
    With the base of training, the last of 8,192 tokens turns all 18 slow pairs of DeciLM to new angles; with
    that of dynamic NTK, none:

    >>> from minidecilm import preset
    >>> config = preset("decilm-6b")
    >>> scaled = dynamic_ntk_base(8192, config)
    >>> [int(unseen_angles([8191], base, config).sum()) for base in (10000.0, scaled)]
    [18, 0]
    """
    D, last = config.head_dim, config.max_position_embeddings - 1
    trained = last * inverse_frequencies(config.rope_theta, D)  # (D/2,): the largest angle of each pair
    angles = np.asarray(positions)[:, None] * inverse_frequencies(base, D)  # (N, D/2)
    return np.asarray((trained < 2 * np.pi) & (angles > trained))


def score_by_distance(distances: npt.ArrayLike, base: npt.ArrayLike, head_dim: int) -> Array:
    """Score of a query with an equal key so many tokens before it, as a share of that at distance 0.

    Where all pairs of a vector are of one length, the dot product after rotation is the mean over pairs of
    ``cos(distance * inverse_frequency)``: what rotary embedding alone does to attention, before any training.

    Parameters
    ----------
    distances : (N,) array
        In tokens.
    base : (...,) array
        Rotary base.
    head_dim : int
        D.

    Returns
    -------
    (..., N) float64 array
        1 at distance 0, then falling in waves.

    References
    ----------
    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, who bound it from above
    for any vectors ("long-term decay"). https://arxiv.org/abs/2104.09864

    Examples
    --------
    >>> score_by_distance([0, 10, 1000], 10000.0, 128).round(2)
    array([1.  , 0.67, 0.16])
    """
    frequencies = inverse_frequencies(base, head_dim)[..., None, :]  # (..., 1, D/2)
    angles = np.asarray(distances, np.float64)[:, None] * frequencies  # (..., N, D/2)
    return np.asarray(np.cos(angles).mean(axis=-1))


def rotary_table(positions: Array, base: Array, head_dim: int, dtype: npt.DTypeLike) -> tuple[Array, Array]:
    """Cosine and sine of every angle: (B, T) int, a base for each row (B,) -> two (B, 1, T, D/2).

    They are computed in float64, then cast to `dtype`, ready for :func:`minidecilm.ops.rotate`.
    """
    angles = positions[:, None, :, None] * inverse_frequencies(base, head_dim)[:, None, None]
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


class CachedRotation:
    """Keys are cached rotated (``reference`` and ``fixed``): one table turns the new tokens of a call.

    `rotate` is as :func:`minidecilm.ops.rotate`; `cos` and `sin` are (B, 1, T, D/2), of the new tokens.
    """

    def __init__(self, rotate: Rotate, cos: Array, sin: Array) -> None:
        self._rotate, self._table = rotate, (cos, sin)

    def on_write(self, q: Array, k: Array, show: Callable[[str, Array], None]) -> tuple[Array, Array]:
        """Return queries (B, H, T, D) to attend with, and keys (B, K, T, D) to cache: both turned."""
        q, k = self._rotate(q, *self._table), self._rotate(k, *self._table)
        show("q_rotated", q)
        show("k_rotated", k)
        return q, k

    def on_read(self, q: Array, keys: Array, visible: Array) -> Iterator[tuple[Array, Array, Array]]:
        """Yield queries, cached keys (B, K, S, D) as these see them, and which of them are visible."""
        yield q, keys, visible


class ExactRotation:
    """Keys are cached unrotated (``exact``): every stretch of queries that share a base has them turned anew.

    `slots` (B, S) has the position of every cached and new token; the queries are the last T of them.
    """

    def __init__(self, rotate: Rotate, slots: Array, T: int, config: Config, dtype: npt.DTypeLike) -> None:
        bases = dynamic_ntk_base(slots[:, -T:] + 1, config)  # (B, T)
        changes = np.flatnonzero(np.any(bases[:, 1:] != bases[:, :-1], axis=0)) + 1
        self._stretches = list(pairwise([0, *changes.tolist(), T]))
        self._rotate = rotate

        # Up to M, and when decoding, there is one stretch: its table then serves every layer. Beyond M each
        # query has its own, too large to keep together.
        D = config.head_dim
        self._table = lru_cache(maxsize=1)(lambda start: rotary_table(slots, bases[:, start], D, dtype))

    def on_write(self, q: Array, k: Array, show: Callable[[str, Array], None]) -> tuple[Array, Array]:
        """Return queries and keys as they are."""
        return q, k

    def on_read(self, q: Array, keys: Array, visible: Array) -> Iterator[tuple[Array, Array, Array]]:
        """Yield each stretch of queries and all cached keys, turned, and which of them are visible."""
        past = keys.shape[2] - q.shape[2]
        for start, end in self._stretches:
            cos, sin = self._table(start)  # (B, 1, S, D/2)
            own = slice(past + start, past + end)
            turned = self._rotate(q[:, :, start:end], cos[:, :, own], sin[:, :, own])
            yield turned, self._rotate(keys, cos, sin), visible[:, start:end]


Rotation = CachedRotation | ExactRotation
