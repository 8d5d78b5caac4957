"""THE definition of every operation of the network, in NumPy.

Shape letters: B batch, T new tokens, S cached + new tokens, H query heads, K this layer's KV heads,
G = H / K queries per KV head, D head_dim, E hidden size, F feed-forward size, V vocabulary.
Backends may compute the same faster; none may compute anything else.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Weights stored narrower than the compute dtype are widened this many at a time, so that a model of any size
# runs in the memory of its file. 2.8 MB of float32 are still in a CPU's cache when they are multiplied:
# measured, four times as many take nearly twice as long for one token.
_TILE = 172 * 4096

# Attention scores are computed for so many (query, key) pairs of one call at a time.
_SCORES = 1 << 24


def embedding(weight: Array, ids: Array, dtype: npt.DTypeLike) -> Array:
    """Look up one row per token: (V, E), (B, T) -> (B, T, E)."""
    return np.asarray(weight[ids], dtype)


def linear(x: Array, weight: Array) -> Array:
    """Apply ``y = x @ weight.T``; a layer of this network has no bias.

    Parameters
    ----------
    x : (..., in) array
        Its dtype is the compute dtype.
    weight : (out, in) array
        In storage dtype; widened a tile at a time where that differs.

    Returns
    -------
    (..., out) array

    Examples
    --------
    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]))
    array([[11., 17., 23.]])
    """
    rows = x.reshape(-1, x.shape[-1])  # (N, in): one matrix product, whatever the batch
    if weight.dtype == x.dtype:
        y = rows @ weight.T  # (N, out)
    else:
        y = np.empty((len(rows), len(weight)), x.dtype)
        step = max(1, _TILE // weight.shape[1])
        for start in range(0, len(weight), step):
            y[:, start : start + step] = rows @ weight[start : start + step].astype(x.dtype).T
    return y.reshape(*x.shape[:-1], len(weight))


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """Divide by the root mean square, cast back, then scale.

    The square is taken in at least float32. The order matters in narrow dtypes: the normalised value is cast
    to the dtype of `x` BEFORE it meets the weight.

    Parameters
    ----------
    x : (..., E) array
    weight : (E,) array
    eps : float
        Added to the mean square.

    Returns
    -------
    (..., E) array
        In the dtype of `x`.

    References
    ----------
    Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019. https://arxiv.org/abs/1910.07467

    Examples
    --------
    >>> rms_norm(np.array([3.0, 4.0]), np.array([1.0, 2.0]), eps=0.0).round(4)
    array([0.8485, 2.2627])
    """
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    normalised = wide / np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True) + eps)
    return np.asarray(weight.astype(x.dtype) * normalised.astype(x.dtype))


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turn each pair (x[i], x[i + D/2]) by its angle: the half-split ("rotate_half") layout.

    DeciLM is trained for this pairing; the interleaved one, (x[2i], x[2i + 1]), needs other weights.

    Parameters
    ----------
    x : (B, heads, T, D) array
    cos, sin : (B, 1, T, D/2) arrays
        One angle per pair and position, the same for every head.

    Returns
    -------
    (B, heads, T, D) array

    References
    ----------
    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
    https://arxiv.org/abs/2104.09864
    """
    first, second = np.split(x, 2, axis=-1)  # each (B, heads, T, D/2)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def split_heads(x: Array, head_dim: int) -> Array:
    """Lay heads before tokens: (B, T, heads * D) -> (B, heads, T, D)."""
    B, T, width = x.shape
    return x.reshape(B, T, width // head_dim, head_dim).swapaxes(1, 2)


def merge_heads(x: Array) -> Array:
    """Lay heads side by side again: (B, heads, T, D) -> (B, T, heads * D)."""
    B, heads, T, D = x.shape
    return x.swapaxes(1, 2).reshape(B, T, heads * D)


@dataclass(frozen=True)
class Visible:
    """Which slots each new token may attend to: real tokens, not later than itself.

    ``np.asarray`` makes it a (B, T, S) bool array. A backend that can do without one reads `real`.

    Attributes
    ----------
    real : (B, S) bool array
        Slots that hold a token.
    new : int
        T; the new tokens are in the last slots.
    """

    real: Array
    new: int

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        slots = np.arange(self.real.shape[1])
        not_later = slots <= slots[-self.new :, None]  # (T, S)
        return self.real[:, None] & not_later


def softmax(scores: Array, visible: Array) -> Array:
    """Normalise over the visible entries of the last axis; a row with none becomes zeros."""
    hidden = np.where(visible, scores, -np.inf)
    peak = np.max(hidden, axis=-1, keepdims=True)
    weights = np.exp(hidden - np.where(np.isfinite(peak), peak, 0))
    total = np.sum(weights, axis=-1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1))


def log_softmax(logits: Array) -> Array:
    """Normalise logits to log-probabilities in float64: (..., V) -> (..., V).

    Examples
    --------
    >>> np.exp(log_softmax(np.array([0.0, np.log(3.0), -np.inf])))
    array([0.25, 0.75, 0.  ])
    """
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True)))


def attention_weights(q: Array, k: Array, visible: Array) -> Array:
    """Compute how much each query attends to each key, in groups of G query heads per KV head.

    Query head h reads KV head h // G. K is taken from the shape of `k`: every layer has its own.

    Parameters
    ----------
    q : (B, H, T, D) array
    k : (B, K, S, D) array
        H must be a multiple of K. Widened to the dtype of `q` where it is stored narrower.
    visible : (B, T, S) bool array
        Whether query t may see key s.

    Returns
    -------
    (B, H, T, S) array
        Rows sum to 1, or to 0 where nothing is visible.

    References
    ----------
    Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints",
    2023. https://arxiv.org/abs/2305.13245
    """
    B, H, T, D = q.shape
    K, S = k.shape[1:3]
    G = H // K
    # Heads of one group are neighbours, so folding G into T lets them share K without repeating it.
    folded = q.reshape(B, K, G * T, D)
    scores = folded @ np.asarray(k, q.dtype).swapaxes(2, 3) / np.sqrt(D, dtype=q.dtype)  # (B, K, G*T, S)
    weights = softmax(scores.reshape(B, K, G, T, S), visible[:, None, None])
    return weights.reshape(B, H, T, S)


def attention(q: Array, k: Array, v: Array, visible: Array) -> Array:
    """Mix values by :func:`~minidecilm.ops.attention_weights`: -> (B, H, T, D); `v` has the shape of `k`.

    Queries are taken in blocks, so that memory does not grow with T * S.
    """
    B, H, T, D = q.shape
    K, S = k.shape[1:3]
    k, v = np.asarray(k, q.dtype), np.asarray(v, q.dtype)
    mixed = np.empty_like(q)
    step = max(1, _SCORES // (B * H * S))
    for start in range(0, T, step):
        block = slice(start, start + step)
        weights = attention_weights(q[:, :, block], k, visible[:, block])  # (B, H, t, S)
        folded = weights.reshape(B, K, -1, S)  # (B, K, G*t, S)
        mixed[:, :, block] = (folded @ v).reshape(B, H, -1, D)
    return mixed


def swiglu(gate: Array, up: Array) -> Array:
    """Gate `up` by silu(gate) = gate * sigmoid(gate), element by element: (..., F), (..., F) -> (..., F).

    References
    ----------
    Shazeer, "GLU Variants Improve Transformer", 2020. https://arxiv.org/abs/2002.05202
    """
    decay = np.exp(-np.abs(gate))  # never overflows
    sigmoid = np.where(gate >= 0, 1, decay) / (1 + decay)
    return np.asarray(gate * sigmoid * up)
