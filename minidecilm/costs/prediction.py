"""The least time a device needs for each operation of a pass, and the tokens per second that follow.

Operations run one after the other; within one, reading and computing overlap at best, so the slower of the
two counts. Nothing else is counted: no norms, no softmax, no launches, no gaps. So what is predicted is an
upper bound of tokens per second, for programs that read every weight once a pass and each row's cache once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from minidecilm.config import Config
from minidecilm.costs.devices import Device
from minidecilm.costs.forward import attention_flops, roofline_seconds, streamed_weights
from minidecilm.costs.memory import Storage, check_counts, kv_cache_bytes, stored_tensors
from minidecilm.costs.parts import PARTS, part_of


@dataclass(frozen=True)
class OperationTime:
    """One kind of operation in all layers of one pass, on one device.

    Attributes
    ----------
    operation : str
        "attention q, o", "attention k, v" (their projections), "attention" (scores and mixes of values),
        "feed-forward" or "head".
    nbytes : int
        Weights, or cached keys and values, that it reads.
    flops : int
        Additions and multiplications.
    seconds : float
        The least that the device allows.
    limit : {"memory", "arithmetic"}
        What sets it.
    """

    operation: str
    nbytes: int
    flops: int
    seconds: float
    limit: str


def operation_times(
    config: Config,
    device: Device,
    batch_size: int = 1,
    new_tokens: int = 1,
    past_tokens: int = 0,
    weights: Storage = None,
    kv_cache: str = "bfloat16",
) -> tuple[OperationTime, ...]:
    """Least time of each operation in one pass; the head is applied to each row's last position only.

    Its arguments are described in :mod:`minidecilm.costs`.

    Raises
    ------
    ValueError
        If the device has no arithmetic for what is stored so.

    Examples
    --------
    >>> from minidecilm import preset
    >>> from minidecilm.costs import device
    >>> for time in operation_times(preset("decilm-6b"), device("a10"), batch_size=64, past_tokens=1023):
    ...     print(f"{time.operation:14}  {1e3 * time.seconds:5.2f} ms  {time.limit}")
    attention q, o   3.58 ms  memory
    attention k, v   0.17 ms  memory
    attention        2.80 ms  memory
    feed-forward    14.43 ms  memory
    head             0.44 ms  memory
    """
    work = list(_products(config, batch_size, new_tokens, weights))
    cached = kv_cache_bytes(config, batch_size, past_tokens + new_tokens, kv_cache)
    pairs = sum(attention_flops(config, batch_size, new_tokens, past_tokens))
    work.insert(2, ("attention", kv_cache, cached, pairs))  # in the order of a layer
    times = []
    for operation, dtype, nbytes, flops in work:
        rate = device.fastest_flops_per_second(dtype)
        seconds, limit = roofline_seconds(nbytes, flops, device.bytes_per_second, rate)
        times.append(OperationTime(operation, nbytes, flops, seconds, limit))
    return tuple(times)


def _products(
    config: Config, batch_size: int, new_tokens: int, weights: Storage
) -> Iterator[tuple[str, str, int, int]]:
    """Yield operation, dtype, bytes and additions and multiplications of the products with weights."""
    shapes, stored = config.parameter_shapes(), stored_tensors(config, weights)
    operations: dict[str, list[str]] = {part: [] for part in PARTS[1:] if part != "norms"}
    for name in streamed_weights(config):
        part = part_of(name)
        operations["head" if part == "embedding" else part].append(name)  # a streamed embedding is the head
    for operation, names in operations.items():
        positions = batch_size * (1 if operation == "head" else new_tokens)
        flops = 2 * positions * sum(prod(shapes[name]) for name in names)
        yield operation, stored[names[0]].dtype, sum(stored[name].nbytes for name in names), flops


def decode_tokens_per_second(
    config: Config,
    device: Device,
    batch_size: int = 1,
    context: int = 1,
    weights: Storage = None,
    kv_cache: str = "bfloat16",
) -> float:
    """Most tokens per second in decode, of all rows together.

    Its arguments are described in :mod:`minidecilm.costs`; it raises what :func:`operation_times` does.

    Examples
    --------
    >>> from minidecilm import preset
    >>> from minidecilm.costs import device
    >>> a10 = device("a10")
    >>> round(decode_tokens_per_second(preset("decilm-6b"), a10, batch_size=64, context=1024))
    2989
    >>> round(decode_tokens_per_second(preset("llama-2-7b"), a10, batch_size=8, context=1024))
    274
    """
    check_counts(1, batch_size=batch_size, context=context)
    times = operation_times(config, device, batch_size, 1, context - 1, weights, kv_cache)
    return batch_size / sum(time.seconds for time in times)


def prefill_tokens_per_second(
    config: Config,
    device: Device,
    batch_size: int = 1,
    new_tokens: int = 512,
    weights: Storage = None,
    kv_cache: str = "bfloat16",
) -> float:
    """Most tokens of a prompt per second, of all rows together, when each is read in one pass.

    Its arguments are described in :mod:`minidecilm.costs`; it raises what :func:`operation_times` does.

    Examples
    --------
    >>> from minidecilm import preset
    >>> from minidecilm.costs import device
    >>> round(prefill_tokens_per_second(preset("decilm-6b"), device("a10")))
    11210
    """
    check_counts(1, batch_size=batch_size, new_tokens=new_tokens)
    times = operation_times(config, device, batch_size, new_tokens, 0, weights, kv_cache)
    return batch_size * new_tokens / sum(time.seconds for time in times)
