"""What the parts of the measurement share: sizes, weights and caches made on the device, clocks, the card."""

import gc
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from minidecilm import Config, costs, preset
from minidecilm.backends import Backend, create_backend
from minidecilm.cache import KVCache
from minidecilm.model import DeciLM
from minidecilm.weights.packed import BFLOAT16
from minidecilm.weights.random_weights import random_weights

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "deci_tiny"
KV_CACHE = "bfloat16"
OURS, THEIRS = "decilm-6b", "llama-2-7b"

_BLOCK_VALUES = 8_388_593  # a prime, so that no array repeats in step with it
_WARM_UP = 2


def _presets() -> dict[str, Config]:
    return {name: preset(name) for name in (OURS, THEIRS)}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes
    ----------
    configs : dict of str to Config
        OURS and THEIRS.
    agreement : tuple of (str, tuple of str)
        Models that are laid beside NumPy: "demo" or a folder, and the storages of their weights.
    tokens : (int, int)
        Of a prompt, and recorded steps after it, in that comparison.
    copy_bytes, gemm : int
        Bytes of one copy; rows and columns of the square matrices.
    contexts : tuple of int
        Of decode at batch 1.
    batches, batch_context : tuple of int, int
        Of decode with more rows.
    prompt : int
        Tokens of prefill.
    sweep_contexts : tuple of int
    largest_batch : int
        Where the sweep ends at the latest.
    steps : int
        Timed calls of a point, at most.
    point_seconds : float
        No more calls are timed once these took so long together.
    """

    configs: dict[str, Config] = field(default_factory=_presets)
    agreement: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("demo", ("stored", "int8", "int4")),
        (str(GOLDEN), ("stored", "bfloat16", "int8", "int4")),
    )
    tokens: tuple[int, int] = (80, 16)  # more than 64 tokens are multiplied by cuBLAS
    copy_bytes: int = 1 << 30
    gemm: int = 8192
    contexts: tuple[int, ...] = (512, 4096)
    batches: tuple[int, ...] = (64, 128)
    batch_context: int = 1024
    prompt: int = 2048
    sweep_contexts: tuple[int, ...] = (512, 1024, 2048, 4096)
    largest_batch: int = 1 << 20
    steps: int = 20
    point_seconds: float = 1.0


class Setup:
    """A usable GPU, and what was last put on it.

    Parameters
    ----------
    sizes : Sizes
    seconds : float
        Points that would begin later than this are left out.

    Raises
    ------
    ValueError
        If there is no usable GPU, saying what is missing.
    """

    def __init__(self, sizes: Sizes, seconds: float) -> None:
        self.backends = {dtype: create_backend("cupy", dtype=dtype) for dtype in ("float32", "bfloat16")}
        import cupy

        self.cupy, self.sizes = cupy, sizes
        self._end = time.perf_counter() + seconds
        self._weights: dict[tuple[str, str], dict[str, Any]] = {}
        self._block: Any = None

    def left(self) -> float:
        """Seconds in which another point may begin."""
        return self._end - time.perf_counter()

    # ---- the card

    def card(self) -> dict[str, Any]:
        """Say what the figures are of."""
        runtime = self.cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self.cupy.cuda.Device().id)
        return {
            "card": properties["name"].decode(),
            "compute_capability": f"{properties['major']}.{properties['minor']}",
            "processors": properties["multiProcessorCount"],
            "memory_bytes": int(properties["totalGlobalMem"]),
            "driver": _driver(),
            "cuda_driver": _version(runtime.driverGetVersion()),
            "cuda_runtime": _version(runtime.runtimeGetVersion()),
        }

    def used_bytes(self) -> int:
        """Bytes of the card in use, by whatever."""
        from minidecilm.backends.cupy_backend.device import free_bytes

        free, total = free_bytes()
        return total - free

    def wait(self) -> None:
        """Return when the GPU has done everything."""
        self.cupy.cuda.runtime.deviceSynchronize()

    def release(self) -> None:
        """Give the memory of what is no longer used back to the card."""
        self._weights.clear()
        gc.collect()
        self.cupy.get_default_memory_pool().free_all_blocks()

    # ---- what is measured

    def model(self, name: str, storage: str, dtype: str) -> DeciLM:
        """Return a network of random weights; those of the last call are kept until others are wanted."""
        config = self.sizes.configs[name]
        if (name, storage) not in self._weights:
            self.release()
            self._weights[name, storage] = device_weights(config, storage, self.backends[dtype])
        return DeciLM(config, self._weights[name, storage], self.backends[dtype], dtype, kv_cache=KV_CACHE)

    def random_bits(self) -> Any:
        """Return normally distributed bfloat16 numbers, as their bits, on the device."""
        if self._block is None:
            values = np.random.default_rng(0).standard_normal(_BLOCK_VALUES, np.float32)
            self._block = self.cupy.asarray(values.astype(BFLOAT16).view(np.uint16))
        return self._block

    def fill(self, array: Any) -> None:
        """Write random bits over a device array of uint16."""
        flat, block = array.reshape(-1), self.random_bits()
        for start in range(0, flat.size, block.size):
            part = flat[start : start + block.size]
            part[...] = block[: part.size]

    def filled_cache(self, model: DeciLM, batch: int, context: int, room: int) -> KVCache:
        """Make a cache as if rows of `context` tokens had been read, with room for more.

        Keys and values are random; the slots are counted as every call counts them, so that the next token
        attends to all of them. No prefill: it would take longer than what is measured.
        """
        gc.collect()  # the cache before it
        cache = model.new_cache(batch, context + room)
        for array in (*cache.keys, *cache.values):
            self.fill(array)
        if context:
            window = cache.open_window(np.ones((batch, context), np.bool_))
            cache.commit(window, cache.base_at(window.row_lengths))
        return cache

    # ---- clocks

    def seconds(self, call: Callable[[], Any], at_most: int | None = None) -> list[float]:
        """Time calls, each to its end on the device, after some that do not count."""
        for _ in range(_WARM_UP):
            call()
        found: list[float] = []
        while len(found) < (at_most or self.sizes.steps) and sum(found) < self.sizes.point_seconds:
            self.wait()
            start = time.perf_counter()
            call()
            self.wait()
            found.append(time.perf_counter() - start)
        return found

    def decode_seconds(self, model: DeciLM, batch: int, context: int) -> list[float]:
        """Time steps of one new token per row; with the last of them, `context` tokens are cached."""
        calls = self.sizes.steps + _WARM_UP
        cache = self.filled_cache(model, batch, context - calls, calls)
        step = self.stepping(model, cache)
        return self.seconds(step)

    def stepping(self, model: DeciLM, cache: KVCache) -> Callable[[], Any]:
        """Return what feeds one random token per row to the cache and returns the logits."""
        ids = np.random.default_rng(1).integers(model.config.vocab_size, size=(cache.batch_size, 1))
        return lambda: model(ids, cache, last_only=True)


def device_weights(config: Config, storage: str, backend: Backend) -> dict[str, Any]:
    """Make random weights on the device.

    Layers that are alike begin as one, which is made on the host and copied on the device, once for each of
    them: every layer has memory of its own.
    """
    kinds = tuple(dict.fromkeys(config.layers))
    small = replace(config, layers=kinds)
    made = backend.device.place(small, random_weights(small, storage, progress=False))
    weights = {name: weight for name, weight in made.items() if not name.startswith("model.layers.")}
    for layer, kind in enumerate(config.layers):
        prefix = f"model.layers.{kinds.index(kind)}."
        for name, weight in made.items():
            if name.startswith(prefix):
                weights[f"model.layers.{layer}.{name.removeprefix(prefix)}"] = _copy(weight)
    return weights


def _copy(weight: Any) -> Any:
    if not hasattr(weight, "scales"):  # a norm
        return weight.copy()
    scales = None if weight.scales is None else weight.scales.copy()
    return replace(weight, data=weight.data.copy(), scales=scales)


def measured_device(card: dict[str, Any], limits: dict[str, Any]) -> costs.Device:
    """Make a device of what this card was measured to do, for :mod:`minidecilm.costs` to predict with."""
    return costs.Device(
        name="measured",
        title=card["card"],
        memory_bytes=card["memory_bytes"],
        bytes_per_second=limits["copy_bytes_per_second"],
        flops_per_second={"bfloat16": limits["gemm_flops_per_second"]},
        sources={},
    )


def batches(largest: int) -> Iterator[int]:
    """Yield 1, 2, 4 ... and the largest."""
    batch = 1
    while batch < largest:
        yield batch
        batch *= 2
    if largest > 0:
        yield largest


def _driver() -> str:
    """Name the version of the driver, which only its own tool tells; where that is missing nothing does."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    return "unknown"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
