"""What the machine can do at most, by the arithmetic in which minidecilm multiplies."""

from functools import partial

from benchmarks.peers.scenarios import THREADS
from minidecilm.backends.numba_backend import probe

PEAKS = {
    "float32": probe.peak_flops,
    "bfloat16": probe.peak_flops,  # rounded to bfloat16, then multiplied as float32
    "int8": partial(probe.peak_integer_ops, 8),
    "int4": partial(probe.peak_integer_ops, 4),
}


def bytes_per_second() -> float:
    """Measure how fast all threads together read from memory."""
    return probe.read_bandwidth(threads=THREADS)


def operations_per_second(arithmetic: str) -> float:
    """Measure how many operations all threads together do in an arithmetic."""
    return PEAKS[arithmetic](threads=THREADS)
