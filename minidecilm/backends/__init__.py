"""A backend is a value: it replaces some operations, the rest are :mod:`minidecilm.ops`'s."""

from collections.abc import Callable
from dataclasses import dataclass

from minidecilm import ops

BACKENDS = ("auto", "numpy")


@dataclass(frozen=True)
class Backend:
    """The operations of the network; each has the signature and meaning of its namesake in ``ops``.

    Attributes
    ----------
    name : str
    dtypes : tuple of str
        Compute dtypes the backend supports.
    """

    name: str
    dtypes: tuple[str, ...] = ("float32", "float64")
    embedding: Callable[..., ops.Array] = ops.embedding
    linear: Callable[..., ops.Array] = ops.linear
    rms_norm: Callable[..., ops.Array] = ops.rms_norm
    rotate: Callable[..., ops.Array] = ops.rotate
    attention: Callable[..., ops.Array] = ops.attention
    swiglu: Callable[..., ops.Array] = ops.swiglu


def create_backend(name: str = "auto") -> Backend:
    """Make the backend of that name; "auto" takes the fastest that runs here.

    Raises
    ------
    ValueError
        If there is no such backend; the message lists those there are.

    Examples
    --------
    >>> create_backend("numpy").name
    'numpy'
    """
    if name in ("auto", "numpy"):
        from minidecilm.backends.numpy_backend import NUMPY

        return NUMPY
    raise ValueError(f"backend {name!r} is not in this version: choose from {', '.join(BACKENDS)}")
