"""The network: weights + config + backend -> logits. Reads from embedding to head in one go.

Shape letters as in :mod:`minidecilm.ops`. An observer can look at every stage: see :mod:`minidecilm.observe`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minidecilm import ops, rope
from minidecilm.backends import Backend
from minidecilm.cache import KV_CACHES, KVCache, Window
from minidecilm.config import Config
from minidecilm.observe import Observer, Showing
from minidecilm.ops import Array
from minidecilm.weights.cache_file import read_cache
from minidecilm.weights.packed import Weight


def check_choices(backend: Backend, dtype: str, rope_policy: str, kv_cache: str) -> None:
    """Refuse what :class:`DeciLM` cannot compute, as it does itself, before there are weights."""
    if dtype not in backend.dtypes:
        raise ValueError(
            f"dtype {dtype!r}: the {backend.name} backend computes in {' or '.join(backend.dtypes)}"
        )
    for name, chosen, known in (("rope", rope_policy, rope.POLICIES), ("kv_cache", kv_cache, KV_CACHES)):
        if chosen not in known:
            raise ValueError(f"{name} {chosen!r}: choose from {', '.join(known)}")


class DeciLM:
    """A decoder whose layers each have their own number of KV heads.

    Parameters
    ----------
    config : Config
    weights : mapping of str to array or PackedWeight
        Named and shaped as :meth:`Config.parameter_shapes` says; any storage dtype.
    backend : Backend
        Computes the operations.
    dtype : {"float32", "float64", "bfloat16"}
        Compute and accumulate dtype; "bfloat16" multiplies in it and accumulates in float32.
    rope_policy : {"reference", "fixed", "exact"}
        See :mod:`minidecilm.rope`.
    kv_cache : {"compute", "float32", "bfloat16"}
        Storage dtype of cached keys and values; "compute" is the compute dtype.

    Raises
    ------
    ValueError
        For a dtype the backend lacks, an unknown policy or cache storage.
    """

    def __init__(
        self,
        config: Config,
        weights: Mapping[str, Weight],
        backend: Backend,
        dtype: str = "float32",
        rope_policy: str = "reference",
        kv_cache: str = "compute",
    ) -> None:
        check_choices(backend, dtype, rope_policy, kv_cache)
        self.config = config
        self.backend = backend
        self.weights = backend.device.place(config, weights)
        self._decode = None if rope_policy == "exact" else backend.decoder(config, self.weights)
        self.multiplies_in = dtype
        self.dtype = np.dtype("float32" if dtype == "bfloat16" else dtype)  # of sums and results
        self.rope_policy = rope_policy
        self.kv_cache = dtype if kv_cache == "compute" else kv_cache

    #: Is called before tokens are generated: refuses to read on from files that were written to.
    check_files: Callable[[], None] = staticmethod(lambda: None)

    def new_cache(
        self, batch_size: int, max_length: int, planned_lengths: npt.ArrayLike | None = None
    ) -> KVCache:
        """Make an empty cache for `batch_size` rows of up to `max_length` slots; see :class:`KVCache`."""
        where = self.backend.device, self.rope_policy
        return KVCache(self.config, batch_size, max_length, self.kv_cache, planned_lengths, *where)

    def load_cache(self, path: str | Path, max_length: int) -> KVCache:
        """Read what :meth:`KVCache.save` wrote, with room for `max_length` slots; it goes on bit for bit.

        A damaged file, or one of another config, rotary policy or storage of keys, is a CheckpointError. That
        the weights are those it was computed with is not checked.
        """
        stored = read_cache(path, self.config, self.rope_policy, self.kv_cache)
        cache = self.new_cache(len(stored.real), max_length, stored.planned_lengths)
        cache.fill(stored.real, stored.arrays, stored.unscaled)
        return cache

    @property
    def decodes_in_one_go(self) -> bool:
        """Whether one new token per row is computed in one go, in which no observer can look."""
        return self._decode is not None

    def __call__(
        self,
        input_ids: npt.ArrayLike,
        cache: KVCache | None = None,
        attention_mask: npt.ArrayLike | None = None,
        *,
        last_only: bool = False,
        observer: Observer | None = None,
    ) -> Array:
        """Run the network on new tokens: a whole prompt, a chunk of it, or one token per row.

        Parameters
        ----------
        input_ids : (B, T) array of int
            Ids on padding are not looked at.
        cache : KVCache, optional
            Holds the tokens before these; the new ones are added. Without one, nothing came before.
        attention_mask : (B, T) or (B, S) array of 0 and 1, optional
            0 on padding, which belongs on the left; for the new tokens, or for the cached ones as well.
        last_only : bool
            Compute the logits of the last position only.
        observer : Observer, optional
            Is shown the stages it names.

        Returns
        -------
        (B, T, V) array, or (B, 1, V) with `last_only`
            Logits, in the compute dtype.

        Raises
        ------
        ValueError
            For ids or masks of a wrong shape or range, or a full cache.

        Examples
        --------
        >>> import minidecilm
        >>> model = minidecilm.load("demo").model
        >>> model([[1, 5, 9]]).shape
        (1, 3, 2048)
        """
        ids, real = self._check_input(input_ids, cache, attention_mask)
        if cache is None:
            cache = self.new_cache(len(ids), ids.shape[1], planned_lengths=real.sum(axis=1))
        elif cache.rope_policy != self.rope_policy:
            found, own = cache.rope_policy, self.rope_policy
            raise ValueError(f"the cache holds keys of rope={found!r}, this model has {own!r}: make another")
        window = cache.open_window(real)
        rope_base = self._rope_base(cache, window)
        if self._decode and observer is None and ids.shape[1] == 1:
            logits = self._decode(cache, ids, real, *self._tables(window, rope_base))  # (B, 1, V)
            cache.commit(window, rope_base)
            return logits
        device, op = self.backend.device, self.backend
        turned = window.slot_positions.size if self.rope_policy == "exact" else 0
        device.check_call(self.config, ids.size, len(ids) if last_only else ids.size, turned)
        rotation = self._rotation(window, rope_base)
        visible = device.mask(window.visible)
        see = Showing(observer)

        x = op.embedding(self.weights["model.embed_tokens.weight"], ids, self.dtype)  # (B, T, E)
        see(None, "embed_tokens", x)
        for layer in range(len(self.config.layers)):
            x = self._layer(layer, x, cache, visible, rotation, see)
        cache.commit(window, rope_base)

        x = x[:, -1:] if last_only else x
        x = op.rms_norm(x, self.weights["model.norm.weight"], self.config.rms_norm_eps)  # (B, T or 1, E)
        see(None, "norm", x)
        head = "model.embed_tokens.weight" if self.config.tie_word_embeddings else "lm_head.weight"
        logits = op.linear(x, self.weights[head])  # (B, T or 1, V)
        see(None, "lm_head", logits)
        return logits

    def _layer(
        self, layer: int, x: Array, cache: KVCache, visible: Array, rotation: rope.Rotation, see: Showing
    ) -> Array:
        """One decoder layer: (B, T, E) -> (B, T, E)."""
        w, op, eps = self.weights, self.backend, self.config.rms_norm_eps
        name = f"model.layers.{layer}."

        h = op.rms_norm(x, w[name + "input_layernorm.weight"], eps)
        see(layer, "input_layernorm", h)
        x = x + self._attention(layer, h, cache, visible, rotation, see)

        h = op.rms_norm(x, w[name + "post_attention_layernorm.weight"], eps)
        see(layer, "post_attention_layernorm", h)
        projections = (w[f"{name}mlp.{which}_proj.weight"] for which in ("gate", "up"))
        gate, up = op.linears(h, *projections)  # (B, T, F) each
        see(layer, "gate_proj", gate)
        see(layer, "up_proj", up)
        down = op.linear(op.swiglu(gate, up), w[name + "mlp.down_proj.weight"])
        see(layer, "down_proj", down)
        x = x + down
        see(layer, "hidden_states", x)
        return x

    def _attention(
        self, layer: int, h: Array, cache: KVCache, visible: Array, rotation: rope.Rotation, see: Showing
    ) -> Array:
        """Grouped-query attention of one layer, the cache included: (B, T, E) -> (B, T, E)."""
        w, op, D = self.weights, self.backend, self.config.head_dim
        name = f"model.layers.{layer}.self_attn."

        projections = (w[f"{name}{which}_proj.weight"] for which in "qkv")
        q, k, v = (ops.split_heads(y, D) for y in op.linears(h, *projections))  # (B, H, T, D), (B, K, T, D)
        see(layer, "q", q)
        see(layer, "k", k)
        see(layer, "v", v)

        q, k = rotation.on_write(q, k, partial(see, layer))
        keys, values = cache.write(layer, k, v)  # (B, K, S, D)
        mixed, weights = [], []
        for queries, turned, mask in rotation.on_read(q, keys, visible):
            if "attention_weights" in see.stages:
                weights.append(op.attention_weights(queries, turned, mask))  # (B, H, t, S)
            mixed.append(op.attention(queries, turned, values, mask))  # (B, H, t, D)
        if weights:
            see(layer, "attention_weights", np.concatenate(weights, axis=2))
        heads = mixed[0] if len(mixed) == 1 else np.concatenate(mixed, axis=2)  # (B, H, T, D)
        see(layer, "attention", heads)
        out = op.linear(ops.merge_heads(heads), w[name + "o_proj.weight"])
        see(layer, "o_proj", out)
        return out

    def _rope_base(self, cache: KVCache, window: Window) -> Array:
        """Rotary base of every row, by the policy: (B,)."""
        if self.rope_policy == "fixed" and np.any(window.row_lengths > cache.planned_lengths):
            raise ValueError(
                f"rope='fixed' was planned for {cache.planned_lengths.tolist()} tokens a row, this call "
                f"reaches {window.row_lengths.tolist()}: make the cache with larger planned_lengths"
            )
        return cache.base_at(window.row_lengths)

    def _tables(self, window: Window, base: Array) -> tuple[Array, Array]:
        """Make the tables that turn the new tokens."""
        return rope.rotary_table(window.positions, base, self.config.head_dim, self.dtype)

    def _rotation(self, window: Window, base: Array) -> rope.Rotation:
        """Prepare what turns queries and keys in every layer of this call."""
        rotate, T = self.backend.rotate, window.positions.shape[1]
        if self.rope_policy == "exact":
            return rope.ExactRotation(rotate, window.slot_positions, T, self.config, self.dtype)
        return rope.CachedRotation(rotate, *map(self.backend.device.array, self._tables(window, base)))

    def _check_input(
        self, input_ids: npt.ArrayLike, cache: KVCache | None, attention_mask: npt.ArrayLike | None
    ) -> tuple[Array, Array]:
        """Return ids (B, T), 0 on padding, and which are real (B, T) bool; refuse everything else."""
        ids = np.asarray(input_ids)
        if ids.ndim != 2 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise ValueError(f"input_ids: expected (B, T) integers, found shape {ids.shape} of {ids.dtype}")
        real = np.ones(ids.shape, np.bool_)
        if attention_mask is not None:
            mask = np.asarray(attention_mask)
            B, T = ids.shape
            past = cache.past_mask() if cache is not None else np.ones((B, 0), np.bool_)
            if mask.shape not in ((B, T), (B, past.shape[1] + T)):
                raise ValueError(
                    f"attention_mask: expected shape {(B, T)} or, with the cached tokens, "
                    f"{(B, past.shape[1] + T)}, found {mask.shape}"
                )
            if not np.isin(mask, (0, 1)).all():
                raise ValueError("attention_mask: expected nothing but 0 and 1")
            if not np.array_equal(mask[:, :-T].astype(np.bool_), past[:, : mask.shape[1] - T]):
                raise ValueError("attention_mask contradicts the mask of the tokens in the cache")
            real = mask[:, -T:].astype(np.bool_)
        ids = np.where(real, ids, 0)
        if ids.min() < 0 or ids.max() >= self.config.vocab_size:
            wrong = ids[(ids < 0) | (ids >= self.config.vocab_size)][0]
            raise ValueError(f"input_ids: {wrong} is not in the vocabulary of {self.config.vocab_size}")
        return ids, real
