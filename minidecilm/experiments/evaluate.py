"""How well a model predicts text it is given: the loss of every token, their mean, perplexity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minidecilm.api import LanguageModel
from minidecilm.backends.host import on_host
from minidecilm.config import Config
from minidecilm.model import DeciLM
from minidecilm.ops import Array, log_softmax
from minidecilm.progress import progress_bar

_BLOCK = 1 << 22  # logits that are widened to float64 at a time


@dataclass(frozen=True)
class TokenLosses:
    """Loss of every token of some rows but the first, which nothing comes before. From :func:`token_losses`.

    Attributes
    ----------
    rows : tuple of (T,) float64 arrays
        In nats, one array per row: entry t is -log p of token t + 1, given tokens 0 to t.

    Examples
    --------
    >>> losses = TokenLosses((np.array([1.0, 2.0]), np.array([3.0])))
    >>> losses.tokens, losses.mean, round(losses.perplexity, 4)
    (3, 2.0, 7.3891)
    >>> losses.by_position()
    (array([2., 2.]), array([2, 1]))
    """

    rows: tuple[Array, ...]

    @property
    def tokens(self) -> int:
        """Number of predicted tokens."""
        return sum(map(len, self.rows))

    @property
    def mean(self) -> float:
        """Mean loss in nats per token; every token counts the same, whichever row it is in."""
        return float(np.concatenate(self.rows).mean())

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss: choosing among so many equally likely tokens is as hard."""
        return float(np.exp(self.mean))

    def by_position(self) -> tuple[Array, Array]:
        """Mean loss at every position, and of how many rows.

        Returns
        -------
        means : (T,) float64 array
            In nats; entry t is of token t + 1 of the rows that are that long. T is that of the longest row.
        counts : (T,) int array
        """
        positions = np.concatenate([np.arange(len(row)) for row in self.rows])
        counts = np.bincount(positions)  # (T,)
        return np.bincount(positions, weights=np.concatenate(self.rows)) / counts, counts


def token_losses(
    model: DeciLM,
    rows: Sequence[npt.ArrayLike],
    *,
    batch_size: int = 16,
    progress: bool | None = None,
) -> TokenLosses:
    """Measure the loss of every token of some texts, each on its own from its first token on.

    Every row is fed whole, in one call. Rows of about the same length share a batch, padded on the left, and
    each gets the losses it would get alone, beyond ``max_position_embeddings`` too.

    Parameters
    ----------
    model : DeciLM
    rows : sequence of (T,) int arrays
        Token ids, the id that begins a text included; see :func:`text_rows`. Lengths may differ.
    batch_size : int
        Rows fed together. Their logits, B * T * V of the compute dtype, are in memory at once.
    progress : bool, optional
        Whether to show a bar on stderr; None shows it on a terminal if it takes over a second.

    Returns
    -------
    TokenLosses
        One array for each row, in the order of `rows`.

    Raises
    ------
    ValueError
        For no rows, a row that is not at least two ids of the vocabulary, or an impossible batch size.

    Examples
    --------
    >>> import minidecilm
    >>> lm = minidecilm.load("demo")
    >>> losses = token_losses(lm.model, [[1, 300, 301, 302], [1, 300]])
    >>> [len(row) for row in losses.rows]
    [3, 1]
    """
    checked = check_rows(rows, model.config)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size: expected an integer of at least 1, found {batch_size!r}")
    found: list[Array] = [np.empty(0)] * len(checked)
    by_length = sorted(range(len(checked)), key=lambda row: len(checked[row]))
    with progress_bar(len(checked), "reading", "row", progress) as bar:
        for start in range(0, len(checked), batch_size):
            batch = by_length[start : start + batch_size]
            T = max(len(checked[row]) for row in batch) - 1
            ids = np.zeros((len(batch), T), np.int64)  # (B, T)
            real = np.zeros((len(batch), T), np.int64)  # (B, T)
            for slot, row in enumerate(batch):
                new = len(checked[row]) - 1  # the last token is predicted only
                ids[slot, T - new :], real[slot, T - new :] = checked[row][:-1], 1
            logits = on_host(model(ids, attention_mask=real))  # (B, T, V)
            for slot, row in enumerate(batch):
                targets = checked[row][1:]
                found[row] = cross_entropy(logits[slot, T - len(targets) :], targets)
            bar.update(len(batch))
    return TokenLosses(tuple(found))


def cross_entropy(logits: Array, targets: npt.ArrayLike) -> Array:
    """Loss in nats of each target under the logits in its place: (..., V), (...) -> (...) float64.

    Examples
    --------
    >>> cross_entropy(np.zeros((2, 4)), [0, 3]).round(4)
    array([1.3863, 1.3863])
    """
    rows, wanted = logits.reshape(-1, logits.shape[-1]), np.ravel(targets)  # (N, V), (N,)
    losses = np.empty(len(rows))
    step = max(1, _BLOCK // rows.shape[1])
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        log_p = log_softmax(rows[block])  # (n, V) float64
        losses[block] = -log_p[np.arange(len(log_p)), wanted[block]]
    return losses.reshape(np.shape(targets))


def text_rows(lm: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    """Encode texts as the rows that :func:`token_losses` takes: begin, text, end.

    Parameters
    ----------
    lm : LanguageModel
    texts : sequence of str

    Returns
    -------
    list of list of int
        Cut off after ``max_position_embeddings + 1`` ids, of which the last is predicted only.

    Raises
    ------
    CheckpointError
        If the model has no tokenizer.

    Examples
    --------
    >>> import minidecilm
    >>> [row] = text_rows(minidecilm.load("demo"), ["Once upon a time"])
    >>> row[0], row[-1]
    (1, 2)
    """
    if isinstance(texts, str):
        raise ValueError("texts: expected a list of texts, found a single one")
    tokenizer = lm.require_tokenizer()
    end = lm.config.eos_token_ids[:1]
    longest = lm.config.max_position_embeddings + 1
    return [[*tokenizer.encode(text), *end][:longest] for text in texts]


def check_rows(rows: Sequence[npt.ArrayLike], config: Config) -> list[Array]:
    """Return rows of token ids as int64 arrays, or refuse them as :func:`token_losses` says."""
    arrays = [np.asarray(row) for row in rows]
    if not arrays:
        raise ValueError("rows: expected at least one row of token ids, found none")
    for number, row in enumerate(arrays):
        if row.ndim != 1 or len(row) < 2 or row.dtype.kind not in "iu":
            raise ValueError(
                f"rows[{number}]: expected at least two token ids, found shape {row.shape} of {row.dtype}"
            )
        wrong = row[(row < 0) | (row >= config.vocab_size)]
        if wrong.size:
            raise ValueError(f"rows[{number}]: {wrong[0]} is not in the vocabulary of {config.vocab_size}")
    return [row.astype(np.int64) for row in arrays]
