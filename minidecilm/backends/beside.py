"""Adapters beside a model's weights, which stay as they are: two small products for each that has one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from minidecilm.backends import Backend
from minidecilm.backends.host import HOST
from minidecilm.ops import Array
from minidecilm.weights.adapted import AdaptedWeight


def beside(backend: Backend) -> Backend:
    """Make a backend multiply with :class:`minidecilm.weights.adapted.AdaptedWeight` too.

    A product is x @ W.T + (x @ A.T) @ (scale * B).T, and with DoRA each output times a factor of its own.
    All but the first is NumPy's, in the compute dtype.

    Raises
    ------
    ValueError
        For one that does not compute in main memory.
    """
    if backend.device is not HOST:
        raise ValueError(
            f"adapter: the {backend.name} backend needs it merged: convert the weights, which merges it "
            "(weights='bfloat16'), or write a merged model (minidecilm merge MODEL ADAPTER FOLDER)"
        )

    def together(x: Array, *weights: Any) -> tuple[Array, ...]:
        ys = backend.linears(x, *map(_base, weights))
        return tuple(_changed(x, weight, y) for weight, y in zip(weights, ys, strict=True))

    def prepare(weights: Mapping[str, Any], kv_cache: str, progress: bool | None) -> None:
        backend.prepare({name: _base(weight) for name, weight in weights.items()}, kv_cache, progress)

    return replace(
        backend, linear=lambda x, weight: together(x, weight)[0], linear_together=together, prepare=prepare
    )


def _base(weight: Any) -> Any:
    return weight.base if isinstance(weight, AdaptedWeight) else weight


def _changed(x: Array, weight: Any, y: Array) -> Array:
    """Add the change of a weight to the product without: (..., in), (..., out) -> (..., out)."""
    if not isinstance(weight, AdaptedWeight):
        return y
    A, B, factors = weight.parts(x.dtype)
    y = y + (x @ A.T) @ B.T
    return y if factors is None else y * factors
