"""What the machine can do at most, by the arithmetic in which minidecilm multiplies."""

from functools import partial

from benchmarks.peers.scenarios import THREADS
from minidecilm.backends.numba_backend import probe
from minidecilm.backends.numba_backend.registers import BFLOAT16_DOTS

PEAKS = {
    "float32": probe.peak_flops,
    # Where the CPU has no instruction for it, what is rounded to bfloat16 is multiplied as float32.
    "bfloat16": partial(probe.peak_flops, arithmetic="bfloat16" if BFLOAT16_DOTS else "float32"),
    "int8": partial(probe.peak_integer_ops, 8),
    "int4": partial(probe.peak_integer_ops, 4),
}


def bytes_per_second() -> float:
    """Measure how fast all threads together read from memory."""
    return probe.read_bandwidth(threads=THREADS)


def operations_per_second(arithmetic: str) -> float:
    """Measure how many operations all threads together do in an arithmetic."""
    return PEAKS[arithmetic](threads=THREADS)
