"""What fits into a memory: rows or tokens of cache beside the weights.

Only weights and cache are counted. What else a run takes (activations, libraries, gaps between allocations)
depends on the program: give it as `reserved_bytes`.
"""

from minidecilm.config import Config
from minidecilm.costs.memory import Storage, check_counts, kv_cache_bytes, weight_bytes


def largest_batch(
    config: Config,
    memory_bytes: int,
    context: int,
    weights: Storage = None,
    kv_cache: str = "bfloat16",
    reserved_bytes: int = 0,
) -> int:
    """Most rows of `context` tokens whose cache fits beside the weights: 0 if not even one does.

    Its arguments are described in :mod:`minidecilm.costs`.

    Examples
    --------
    >>> from minidecilm import preset
    >>> [largest_batch(preset(name), 24 * 10**9, 4096) for name in ("decilm-6b", "llama-2-7b")]
    [119, 4]
    """
    return rows_that_fit(
        config, memory_bytes - weight_bytes(config, weights) - reserved_bytes, context, kv_cache
    )


def rows_that_fit(config: Config, free_bytes: int, context: int, kv_cache: str = "bfloat16") -> int:
    """Most rows of `context` tokens whose cache fits into what the weights leave free.

    Examples
    --------
    >>> from minidecilm import preset
    >>> rows_that_fit(preset("decilm-6b"), 10 * 25_600 * 4096, context=4096)
    10
    """
    check_counts(1, context=context)
    return max(0, free_bytes // kv_cache_bytes(config, 1, context, kv_cache))


def largest_context(
    config: Config,
    memory_bytes: int,
    batch_size: int = 1,
    weights: Storage = None,
    kv_cache: str = "bfloat16",
    reserved_bytes: int = 0,
) -> int:
    """Most tokens in each of `batch_size` rows whose cache fits beside the weights: 0 if not even one does.

    What memory allows; whether the model is any good at that length is another question. Its arguments are
    described in :mod:`minidecilm.costs`.

    Examples
    --------
    >>> from minidecilm import preset
    >>> [largest_context(preset(name), 24 * 10**9, 8) for name in ("decilm-6b", "llama-2-7b")]
    [61356, 2508]
    """
    check_counts(1, batch_size=batch_size)
    free = memory_bytes - weight_bytes(config, weights) - reserved_bytes
    return max(0, free // kv_cache_bytes(config, batch_size, 1, kv_cache))
