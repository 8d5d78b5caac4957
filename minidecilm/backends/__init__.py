"""A backend is a value: it replaces some operations, the rest are :mod:`minidecilm.ops`'s."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from minidecilm import ops
from minidecilm.backends.host import HOST, Host

BACKENDS = ("auto", "numpy", "numba", "cupy")

#: Below this many parameters "auto" takes NumPy: the largest such model writes some 20 tokens a second with
#: it, and many of them before Numba has loaded its compiled code, let alone compiled it.
AUTO_PARAMETERS = 100_000_000

#: More threads are refused, unless the machine has more cores: tens of thousands end the process.
MAX_THREADS = 1024


@dataclass(frozen=True)
class Backend:
    """The operations of the network; each has the signature and meaning of its namesake in ``ops``.

    Attributes
    ----------
    name : str
    dtypes : tuple of str
        Compute dtypes the backend supports.
    kernels : str
        Which of its sets of kernels the backend uses, where it has several.
    linear_together : callable, optional
        Products of the same activations with several weights, where they take less time in one go.
    device : Host
        Where its arrays live.
    decoder : callable
        Takes config and placed weights, and returns what computes one new token per row in one go, or None
        where the operations are to be called one by one. What it returns takes (cache, ids, real, cos, sin),
        writes keys and values behind the used slots of the cache, and returns logits (B, 1, V).
    prepare : callable
        Takes placed weights, the dtype of cached keys and values, and whether to show a bar; does what the
        first call would wait for, such as compiling.
    """

    name: str
    dtypes: tuple[str, ...] = ("float32", "float64")
    kernels: str = ""
    embedding: Callable[..., ops.Array] = ops.embedding
    linear: Callable[..., ops.Array] = ops.linear
    linear_together: Callable[..., tuple[ops.Array, ...]] | None = None
    rms_norm: Callable[..., ops.Array] = ops.rms_norm
    rotate: Callable[..., ops.Array] = ops.rotate
    attention: Callable[..., ops.Array] = ops.attention
    attention_weights: Callable[..., ops.Array] = ops.attention_weights
    swiglu: Callable[..., ops.Array] = ops.swiglu
    device: Host = HOST
    decoder: Callable[..., Callable[..., ops.Array] | None] = lambda config, weights: None
    prepare: Callable[[Mapping[str, Any], str, bool | None], None] = lambda weights, kv_cache, progress: None

    def linears(self, x: ops.Array, *weights: Any) -> tuple[ops.Array, ...]:
        """Multiply the same activations with several weights: a product for each, as ``linear`` gives it."""
        if self.linear_together:
            return self.linear_together(x, *weights)
        return tuple(self.linear(x, weight) for weight in weights)


#: The definitions themselves.
NUMPY = Backend("numpy")


def check_threads() -> None:
    """Refuse in one line a number of threads at which Numba itself warns, or fails, at length.

    Raises
    ------
    ValueError
        If NUMBA_NUM_THREADS is set to anything but an integer from 1 to a thousand or so.
    """
    threads = os.environ.get("NUMBA_NUM_THREADS", "1")
    most = max(MAX_THREADS, os.cpu_count() or 1)
    if not threads.isdecimal() or len(threads) > 9 or not 1 <= int(threads) <= most:
        raise ValueError(f"NUMBA_NUM_THREADS={threads[:20]!r}: expected an integer from 1 to {most}")


def create_backend(name: str = "auto", parameters: int = 0, dtype: str = "float32") -> Backend:
    """Make the backend of that name.

    Parameters
    ----------
    name : {"auto", "numpy", "numba", "cupy"}
        "auto" takes Numba for a model large enough that compiling pays, and NumPy else; never a GPU.
    parameters : int
        Size of the model.
    dtype : {"float32", "float64", "bfloat16"}
        Compute dtype.

    Raises
    ------
    ValueError
        If there is no such backend, or it cannot run here; the message says what to do.

    Examples
    --------
    >>> create_backend("numpy").name, create_backend("auto", parameters=1_000_000).name
    ('numpy', 'numpy')
    """
    if name not in BACKENDS:
        raise ValueError(f"no backend {name!r}: choose from {', '.join(BACKENDS)}")
    if name == "auto":
        name = "numba" if parameters >= AUTO_PARAMETERS and dtype == "float32" else "numpy"
    if name == "numba":
        check_threads()
        from minidecilm.backends import numba_backend

        return numba_backend.create(dtype)
    if name == "cupy":
        from minidecilm.backends import cupy_backend

        return cupy_backend.create(dtype)
    return NUMPY
