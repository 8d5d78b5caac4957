"""Looking inside a forward pass: every stage has a name, and an observer is shown the stages it asks for."""

from collections.abc import Callable, Collection, Sequence
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from minidecilm.backends.host import on_host
from minidecilm.ops import Array

#: Every stage of a forward pass, in the order they are computed. The first and the last two happen once, the
#: others in each layer. ``q``, ``k`` and ``v`` are split into heads and not rotated; ``q_rotated`` and
#: ``k_rotated`` exist where keys are cached rotated (rotary policies ``reference`` and ``fixed``).
STAGES = (
    "embed_tokens",  # (B, T, E)
    "input_layernorm",  # (B, T, E)
    "q",  # (B, H, T, D)
    "k",  # (B, K, T, D)
    "v",  # (B, K, T, D)
    "q_rotated",  # (B, H, T, D)
    "k_rotated",  # (B, K, T, D)
    "attention_weights",  # (B, H, T, S)
    "attention",  # (B, H, T, D)
    "o_proj",  # (B, T, E)
    "post_attention_layernorm",  # (B, T, E)
    "gate_proj",  # (B, T, F)
    "up_proj",  # (B, T, F)
    "down_proj",  # (B, T, E)
    "hidden_states",  # (B, T, E), what the layer passes on
    "norm",  # (B, T, E)
    "lm_head",  # (B, T, V)
)


class Observer(Protocol):
    """Is shown the stages it names while a forward pass runs."""

    stages: Collection[str]

    def __call__(self, layer: int | None, stage: str, value: Array) -> None:
        """Look at one stage; `layer` is None outside the layers. The array is live: copy what you keep."""


class Recorder:
    """An observer that keeps what it sees.

    Parameters
    ----------
    stages : collection of str
        Names from :data:`STAGES`; any other is a ValueError.

    Attributes
    ----------
    values : dict of (layer or None, stage) to array

    Examples
    --------
    >>> import minidecilm
    >>> lm = minidecilm.load("demo")
    >>> seen = Recorder(["attention_weights"])
    >>> logits = lm.model([[1, 5, 9]], observer=seen)
    >>> seen.values[0, "attention_weights"].shape
    (1, 8, 3, 3)
    """

    def __init__(self, stages: Collection[str] = STAGES) -> None:
        self.stages: Collection[str] = tuple(stages)
        for stage in self.stages:
            if stage not in STAGES:
                raise ValueError(f"no stage {stage!r}: choose from {', '.join(STAGES)}")
        self.values: dict[tuple[int | None, str], Array] = {}

    def __call__(self, layer: int | None, stage: str, value: Array) -> None:
        """Keep a copy."""
        self.values[layer, stage] = on_host(value).copy()


class LayerClock:
    """An observer that times every layer, and calls `on_layer`, if there is one, with 1 after each.

    Attributes
    ----------
    started : float
        When it was made.
    layer_seconds : list of float
    hidden_states : (B, T, E) array or None
        What the last layer passed on.
    """

    def __init__(self, on_layer: Callable[[int], Any] | None) -> None:
        self.stages: Collection[str] = ("hidden_states",)
        self.started = self._last = perf_counter()
        self.layer_seconds: list[float] = []
        self.hidden_states: Array | None = None
        self._on_layer = on_layer

    def __call__(self, layer: int | None, stage: str, value: Array) -> None:
        """Note the time a layer took."""
        self.hidden_states = value
        now = perf_counter()
        self.layer_seconds.append(now - self._last)
        self._last = now
        if self._on_layer is not None:
            self._on_layer(1)


_NORMS = ("input_layernorm", "post_attention_layernorm", "norm")


class FaultFinder:
    """An observer that notes the first stage that is not finite, or the first norm of a token that vanishes.

    RMSNorm divides by the root of the mean square. Where that overflows, it divides by infinity, and the rest
    of the network computes with zeros, all of them finite.

    Attributes
    ----------
    fault : str or None
        What is wrong: "down_proj of layer 3 is not finite in float32", and what may help.
    """

    def __init__(self) -> None:
        self.stages: Collection[str] = tuple(stage for stage in STAGES if stage != "attention_weights")
        self.fault: str | None = None
        self._tokens = np.zeros((1, 1), np.bool_)  # (B, T), whether there is anything in what is normalised

    def __call__(self, layer: int | None, stage: str, value: Array) -> None:
        """Look at one stage."""
        found = on_host(value)
        what = None
        if not np.isfinite(found).all():
            what = "is not finite"
        elif stage in ("embed_tokens", "hidden_states"):
            self._tokens = np.any(found != 0, axis=-1)
        elif stage in _NORMS and np.any(self._tokens[:, -found.shape[1] :] & ~np.any(found != 0, axis=-1)):
            what = "vanishes, because the mean square of its input overflows"
        if what and self.fault is None:
            where = stage if layer is None else f"{stage} of layer {layer}"
            self.fault = (
                f"{where} {what} in {found.dtype}: the weights are damaged, or too large for that dtype; "
                "download them again, or try dtype='float64' of the numpy backend"
            )

    def check(self) -> None:
        """Raise a ValueError if there is a fault."""
        if self.fault is not None:
            raise ValueError(self.fault)


def check_numbers(
    model: Callable[..., Array], rows: Sequence[Sequence[int]], logits: Array, hidden_states: Array | None
) -> None:
    """Refuse what a model computed if a number is not finite, or is so large that its square overflows.

    `rows` are what it has read, `logits` (B, V) and its last layer's `hidden_states` (B, T, E) what came of
    it. To find out where, it reads each row again by itself: see :func:`find_fault`.
    """
    sound = np.isfinite(logits.max(axis=-1)).all()
    if hidden_states is not None:
        limit = np.sqrt(np.finfo(hidden_states.dtype).max / hidden_states.shape[-1])
        sound &= bool(abs(hidden_states).max() < limit)  # NaN is not
    if sound:
        return
    for row in rows:
        find_fault(model, row)


def find_fault(model: Callable[..., Array], row: Sequence[int]) -> None:
    """Let a model read one row, watched by a :class:`FaultFinder`; a fault is a ValueError that names it."""
    finder = FaultFinder()
    model([row], observer=finder)
    finder.check()


class Showing:
    """An observer that passes stages on to others, each of which is shown those it asks for."""

    def __init__(self, *observers: Observer | None) -> None:
        self._observers = [observer for observer in observers if observer is not None]
        self.stages: Collection[str] = {stage for observer in self._observers for stage in observer.stages}

    def __call__(self, layer: int | None, stage: str, value: Array) -> None:
        """Show one stage."""
        for observer in self._observers:
            if stage in observer.stages:
                observer(layer, stage, value)


def attention_entropy(weights: Array) -> Array:
    """Entropy of attention in bits: a head that looks at n tokens alike has log2(n).

    Parameters
    ----------
    weights : (..., S) array
        As in the stage ``attention_weights``: along the last axis they sum to 1.

    Returns
    -------
    (...) float64 array

    Examples
    --------
    >>> attention_entropy(np.array([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    array([0., 2.])
    """
    p = np.asarray(weights, np.float64)
    bits = -np.log2(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray((p * bits).sum(axis=-1))


def first_token_share(weights: Array) -> Array:
    """Mean share of attention that the first token gets from the queries after it.

    Parameters
    ----------
    weights : (..., T, T) array
        As in the stage ``attention_weights`` of a text read in one call, of at least two tokens.

    Returns
    -------
    (...) float64 array

    Examples
    --------
    >>> first_token_share(np.array([[1.0, 0.0], [0.75, 0.25]]))
    array(0.75)
    """
    return np.asarray(weights[..., 1:, 0].mean(axis=-1, dtype=np.float64))


def root_mean_square(values: Array) -> float:
    """Typical size of the elements of an array.

    Examples
    --------
    >>> root_mean_square(np.array([3.0, -3.0]))
    3.0
    """
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
