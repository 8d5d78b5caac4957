"""What a run did, as data: one record per step of generation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What one step of generation did; lists have one entry per row of the batch.

    Attributes
    ----------
    tokens : list of int or None
        The token each row chose; None for a row that had ended before.
    log_probabilities : list of float or None
        Of that token, in nats, under the model's own distribution before temperature and filters.
    alternatives : list of list of (int, float)
        The most likely tokens with their log-probabilities, best first.
    finished : list of str or None
        Why a row has ended: "eos", "stop" or "length"; None while it goes on.
    rope_base : list of float
        Rotary base in force.
    cache_nbytes : int
        Bytes of keys and values in the slots in use.
    layer_seconds : list of float
        Time of each layer; the first also holds the work before it.
    seconds : float
        Time of the whole step.
    """

    tokens: list[int | None]
    log_probabilities: list[float | None]
    alternatives: list[list[tuple[int, float]]]
    finished: list[str | None]
    rope_base: list[float]
    cache_nbytes: int
    layer_seconds: list[float]
    seconds: float


@dataclass
class Totals:
    """What runs took, all rows together: made empty, filled while a run goes on, added up over several.

    Attributes
    ----------
    rows : int
        Rows of the batch.
    read_tokens, written_tokens : int
        Of the prompts, and new ones.
    read_seconds, write_seconds : float
        Of the first step, which reads the prompts and gives every row a token; and of the steps after it.
    cache_nbytes : int
        Bytes of keys and values in the slots in use, at the end of the last run.

    Examples
    --------
    >>> import minidecilm
    >>> totals = minidecilm.Totals()
    >>> text = minidecilm.generate("Once upon a time", max_new_tokens=8, temperature=0, totals=totals)
    >>> totals.read_tokens, totals.written_tokens
    (5, 8)
    """

    rows: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    read_seconds: float = 0.0
    write_seconds: float = 0.0
    cache_nbytes: int = 0

    def add_step(self, seconds: float, cache_nbytes: int, reading: bool) -> None:
        """Count the time of one step, and note the size of the cache after it."""
        self.cache_nbytes = cache_nbytes
        if reading:
            self.read_seconds += seconds
        else:
            self.write_seconds += seconds

    def __str__(self) -> str:
        read = f"read {self.read_tokens:,} tokens{_rate(self.read_tokens, self.read_seconds)}"
        written = f"wrote {self.written_tokens:,}{_rate(self.written_tokens - self.rows, self.write_seconds)}"
        return f"{read}, {written}, cache {self.cache_nbytes:,} bytes"


def _rate(tokens: int, seconds: float) -> str:
    return f" ({tokens / seconds:.3g} a second)" if tokens > 0 and seconds else ""
