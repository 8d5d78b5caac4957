"""The launches of one decoding step, embedding to head.

The network is :meth:`minidecilm.model.DeciLM.__call__`'s; what differs is how it is cut into kernels:

======================  ==========================================================================
kernel                  computes
======================  ==========================================================================
``begin_step``          embedding
``linear`` (q, k, v)    input_layernorm, three projections
``append``              rotation of q and k; k and v into the cache
``attention``           grouped attention over the whole cache
``linear`` (o)          o_proj, added to the residual stream
``gated``               post_attention_layernorm, gate_proj, up_proj, SwiGLU
``linear`` (down)       down_proj, added to the residual stream
``linear`` (head)       norm, lm_head
``round_rows``          before each product of more than 8 rows, where dtype is bfloat16: its input
======================  ==========================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cupy
import numpy as np

from minidecilm.backends.cupy_backend import products
from minidecilm.backends.cupy_backend.device import padded, storage_of
from minidecilm.backends.cupy_backend.kernels import launch
from minidecilm.backends.cupy_backend.operations import Operations, Room, attention_room, run_attention
from minidecilm.config import Config


@dataclass(eq=False)
class Inputs:
    """What changes from step to step: one stretch of memory, so that one copy brings it all.

    Attributes
    ----------
    host : (words,) int32 array
        In pinned memory.
    device : (words,) int32 device array
    length, ids, real, cos, sin : device arrays
        Parts of `device`: (1,), (B,) and (B,) int32, (B, D/2) float32 twice.
    """

    host: Any
    device: Any
    length: Any
    ids: Any
    real: Any
    cos: Any
    sin: Any

    @classmethod
    def of(cls, B: int, half: int) -> "Inputs":
        """Make room for B rows and D/2 angles."""
        sizes = np.cumsum([1, B, B, B * half, B * half])
        host = np.frombuffer(cupy.cuda.alloc_pinned_memory(4 * int(sizes[-1])), np.int32, int(sizes[-1]))
        device = cupy.zeros(int(sizes[-1]), np.int32)
        length, ids, real, cos, sin = (device[a:b] for a, b in pairwise([0, *map(int, sizes)]))
        angles = [part.view(np.float32).reshape(B, half) for part in (cos, sin)]
        return cls(host, device, length, ids, real, *angles)

    def set(self, stream: Any, length: int, ids: Any, real: Any, cos: Any, sin: Any) -> None:
        """Send the values of one step."""
        angles = np.concatenate([np.ravel(cos), np.ravel(sin)]).astype(np.float32).view(np.int32)
        self.host[:] = np.concatenate([[length], np.ravel(ids), np.ravel(real), angles])
        self.device.set(self.host, stream=stream)


@dataclass(eq=False)
class Launches:
    """The launches of one step, and the memory they write."""

    config: Config
    weights: Mapping[str, Any]
    ops: Operations
    cache: Any
    inputs: Inputs
    mask: Any
    x: Any  # (B, E), the residual stream
    q: Any  # room for (B, H * D) of any layer
    k: Any
    v: Any
    gated: Any  # room for (B, F) of any layer
    rounded: Any  # room for the widest input of a product in bfloat16, or None
    mixed: list[tuple[Any, Room]]  # (B, 1, H, D) of each layer, and what its blocks need
    logits: Any  # (B, V)

    @classmethod
    def plan(
        cls,
        config: Config,
        weights: Mapping[str, Any],
        ops: Operations,
        cache: Any,
        inputs: Inputs,
        mask: Any,
    ) -> "Launches":
        """Allocate everything that the launches write."""
        B, D = cache.batch_size, config.head_dim
        heads = config.num_attention_heads_per_layer
        # Layers with as many heads take turns with what their attention writes.
        kinds = [(H, keys.shape[1]) for H, keys in zip(heads, cache.keys, strict=True)]
        fast = ops.fast(cache.keys[0])
        rooms = {(H, K): attention_room((B, H, 1, D), K, cache.max_length, fast) for H, K in set(kinds)}

        kv_heads = max(config.num_key_value_heads_per_layer)
        F = max(layer.intermediate_size for layer in config.layers)
        widest = max(config.hidden_size, max(heads) * D, F)
        rounds = products.takes_rounded(B, ops.parts)

        def room(columns: int) -> Any:
            return cupy.empty(B * columns, np.float32)

        return cls(
            config, weights, ops, cache, inputs, mask,
            x=room(config.hidden_size).reshape(B, -1),
            q=room(max(heads) * D),
            k=room(kv_heads * D),
            v=room(kv_heads * D),
            gated=room(F),
            rounded=cupy.empty(B * padded(widest), np.uint16) if rounds else None,
            mixed=[rooms[kind] for kind in kinds],
            logits=room(config.vocab_size).reshape(B, -1),
        )  # fmt: skip

    @property
    def arrays(self) -> list[Any]:
        """What must live as long as a recording does, but for weights and cache."""
        return [self.x, self.q, self.k, self.v, self.gated, self.rounded, self.mixed, self.logits]

    def run(self) -> None:
        """Launch every kernel of a step."""
        w, config, inputs, cache = self.weights, self.config, self.inputs, self.cache
        embedding = w["model.embed_tokens.weight"]
        launch(
            "layer", f"begin_step_{embedding.storage}", (cache.batch_size,), 256,
            embedding.data, inputs.ids, inputs.real, inputs.length, self.mask, self.x,
            config.hidden_size, embedding.stride, cache.max_length, head_dim=config.head_dim,
        )  # fmt: skip
        for layer in range(len(config.layers)):
            self._attention(layer)
            self._mlp(layer)
        head = embedding if config.tie_word_embeddings else w["lm_head.weight"]
        norm = w["model.norm.weight"]
        products.few(
            self.x, [head], [self.logits], self.ops.parts, norm, config.rms_norm_eps, rounded=self.rounded
        )

    def _attention(self, layer: int) -> None:
        """Do x += o_proj(attention(q_proj, k_proj, v_proj of input_layernorm(x)))."""
        w, ops, inputs, cache = self.weights, self.ops, self.inputs, self.cache
        name = f"model.layers.{layer}."
        keys, values = cache.keys[layer], cache.values[layer]  # (B, K, max_length, D)
        mixed, room = self.mixed[layer]
        B, _, H, D = mixed.shape
        K = keys.shape[1]
        q = self.q[: B * H * D].reshape(B, H * D)
        k = self.k[: B * K * D].reshape(B, K * D)
        v = self.v[: B * K * D].reshape(B, K * D)
        projections = [w[f"{name}self_attn.{p}_proj.weight"] for p in "qkv"]
        norm, eps = w[name + "input_layernorm.weight"], self.config.rms_norm_eps
        products.few(self.x, projections, [q, k, v], ops.parts, norm, eps, rounded=self.rounded)
        launch(
            "layer", f"append_{storage_of(keys)}", (B, H + 2 * K), 64,
            q, k, v, keys, values, inputs.cos, inputs.sin, inputs.length, H, K, cache.max_length, head_dim=D,
        )  # fmt: skip
        heads = q.reshape(B, H, 1, D)
        run_attention(heads, keys, values, self.mask, True, inputs.length, 0, mixed, room, ops.fast(keys))
        out = w[name + "self_attn.o_proj.weight"]
        products.few(
            mixed.reshape(B, H * D), [out], [self.x], ops.parts, residual=self.x, rounded=self.rounded
        )

    def _mlp(self, layer: int) -> None:
        """Do x += down_proj(swiglu(gate_proj, up_proj of post_attention_layernorm(x)))."""
        w, parts = self.weights, self.ops.parts
        name = f"model.layers.{layer}."
        gate, up = w[name + "mlp.gate_proj.weight"], w[name + "mlp.up_proj.weight"]
        norm, eps = w[name + "post_attention_layernorm.weight"], self.config.rms_norm_eps
        B, F = len(self.x), len(gate)
        gated = self.gated[: B * F].reshape(B, F)
        products.gated(self.x, gate, up, gated, parts, norm, eps, self.rounded)
        down = w[name + "mlp.down_proj.weight"]
        products.few(gated, [down], [self.x], parts, residual=self.x, rounded=self.rounded)
