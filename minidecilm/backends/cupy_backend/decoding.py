"""One new token per row, in launches that are recorded once and then repeated as one CUDA graph.

The network is :meth:`minidecilm.model.DeciLM.__call__`'s; how it is cut into kernels: :mod:`.launches`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import cupy
import numpy as np

from minidecilm.backends.cupy_backend.device import Matrix
from minidecilm.backends.cupy_backend.launches import Inputs, Launches
from minidecilm.backends.cupy_backend.operations import Operations
from minidecilm.config import Config

#: Matrices of a layer that one launch multiplies.
_TOGETHER = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("mlp.gate_proj", "mlp.up_proj"),
)


class Decoder:
    """Computes one new token per row; keeps what each cache needs for it."""

    def __init__(self, config: Config, weights: Mapping[str, Any], ops: Operations) -> None:
        self._config, self._weights, self._ops = config, weights, ops
        self._steps: WeakKeyDictionary[Any, Recording] = WeakKeyDictionary()

    @classmethod
    def of(cls, config: Config, weights: Mapping[str, Any], ops: Operations) -> "Decoder | None":
        """Make one for weights that the kernels for few tokens read; None for any others."""
        head = weights["model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"]
        matrices = [w for name, w in weights.items() if isinstance(w, Matrix) and "embed_tokens" not in name]
        if any(matrix.storage == "float32" for matrix in (*matrices, head)):
            return None
        for layer in range(len(config.layers)):  # one launch reads matrices of one storage
            for names in _TOGETHER:
                together = [weights[f"model.layers.{layer}.{name}.weight"] for name in names]
                if len({(matrix.storage, matrix.group) for matrix in together}) > 1:
                    return None
        return cls(config, weights, ops)

    def __call__(self, cache: Any, ids: Any, real: Any, cos: Any, sin: Any) -> Any:
        """Compute one step: ids (B, 1), real (B, 1) bool, cos and sin (B, 1, 1, D/2) -> logits (B, 1, V)."""
        step = self._steps.get(cache)
        if step is None:
            step = self._steps[cache] = Recording.record(self._config, self._weights, self._ops, cache)
        return step.run(cache, ids, real, cos, sin)


@dataclass(eq=False)
class Recording:
    """A recorded step over one cache.

    Attributes
    ----------
    graph : cupy.cuda.Graph
        Launches every kernel.
    stream : cupy.cuda.Stream
    inputs : Inputs
    mask : (B, max_length) uint8 device array
        Which slots hold a token.
    known : tuple of int
        Length and trims of the cache that the mask is right about.
    logits : (B, V) float32 device array
        What the graph leaves behind.
    arrays : list
        What the graph writes: must live as long as it does.
    """

    graph: Any
    stream: Any
    inputs: Inputs
    mask: Any
    known: tuple[int, int]
    logits: Any
    arrays: list[Any]

    @classmethod
    def record(cls, config: Config, weights: Mapping[str, Any], ops: Operations, cache: Any) -> "Recording":
        """Record the launches of one step. The GPU's memory is taken before, and kept."""
        B = cache.batch_size
        inputs = Inputs.of(B, config.head_dim // 2)
        mask = cupy.zeros((B, cache.max_length), np.uint8)
        launches = Launches.plan(config, weights, ops, cache, inputs, mask)
        stream = cupy.cuda.Stream(non_blocking=True)
        inputs.device.fill(0)
        inputs.length.fill(cache.length)
        cupy.cuda.get_current_stream().synchronize()
        with stream:
            # Once without recording, so that every kernel is compiled and loaded. It writes to the slot that
            # the step itself will write again.
            launches.run()
            stream.synchronize()
            stream.begin_capture()
            launches.run()
            graph = stream.end_capture()
        return cls(graph, stream, inputs, mask, (-1, 0), launches.logits, launches.arrays)

    def run(self, cache: Any, ids: Any, real: Any, cos: Any, sin: Any) -> Any:
        """Launch the graph for these tokens; return logits (B, 1, V), which the next step does not touch."""
        if self.known != (cache.length, cache.trims):  # something else has changed the cache
            self.mask[:, : cache.length] = cupy.asarray(cache.past_mask().astype(np.uint8))
        cupy.cuda.get_current_stream().synchronize()  # the mask, and what wrote to the cache
        self.inputs.set(self.stream, cache.length, ids, real, cos, sin)
        try:
            self.graph.launch(self.stream)
        finally:  # whatever interrupts: nothing that the graph reads may be freed while it runs
            self.stream.synchronize()
        self.known = (cache.length + 1, cache.trims)
        return self.logits[:, None].copy()
