"""What a test may set: `SETTINGS` is in force wherever the stand-in for CuPy is."""

from dataclasses import dataclass
from pathlib import Path

# Shared memory that one block may ask for, in KiB, by compute capability (CUDA C++ Programming Guide).
SHARED_LIMIT = {(7, 5): 64, (8, 0): 163, (8, 6): 99, (8, 9): 99, (9, 0): 227, (10, 0): 227, (12, 0): 99}


@dataclass
class Settings:
    """The device and how it runs.

    Attributes
    ----------
    folder
        Where compiled kernels are kept.
    order
        "forward", "backward", or the seed of a random order of threads.
    launch_blocking
        Run work at once, which puts errors where they are made; else it waits until somebody synchronises.
    total_memory
        In bytes.
    capability
        A key of SHARED_LIMIT.
    multiprocessors
        How many the device says it has.
    """

    folder: Path | None = None
    order: str | int = "forward"
    launch_blocking: bool = False
    total_memory: int = 16 << 30
    capability: tuple[int, int] = (8, 0)
    multiprocessors: int = 4


SETTINGS = Settings()
