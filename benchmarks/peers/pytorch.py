"""PyTorch as a contestant: transformers' Llama with the KV heads of each layer, and torch's attention."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

import minidecilm
from benchmarks.peers import scenarios
from benchmarks.peers.scenarios import THREADS, Array
from minidecilm import costs

torch.set_num_threads(THREADS)
torch.set_grad_enabled(False)


def empty_llama(config: minidecilm.Config) -> LlamaForCausalLM:
    """Build the network without weights; Llama's layers differ only in their KV heads."""
    common = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.layers[0].intermediate_size,
        num_hidden_layers=len(config.layers),
        num_attention_heads=config.num_attention_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_position_embeddings,
        rms_norm_eps=config.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        attn_implementation="sdpa",
    )
    with torch.device("meta"):
        network = LlamaForCausalLM(common)
        for index, heads in enumerate(config.num_key_value_heads_per_layer):
            own = copy.deepcopy(common)
            own.num_key_value_heads = heads
            network.model.layers[index].self_attn = LlamaAttention(own, index)
    network.model.rotary_emb = LlamaRotaryEmbedding(common)
    return network.eval()


class Model(scenarios.Model):
    """The checkpoint in `dtype`; keys and values too."""

    def __init__(self, models: Path, dtype: str) -> None:
        folder = models / "checkpoint"
        config = minidecilm.Config.from_file(folder / "config.json")
        tensors = {
            name: tensor.to(getattr(torch, dtype), copy=True)  # not a memory-mapped file
            for file in folder.glob("*.safetensors")
            for name, tensor in load_file(file).items()
        }
        self.kernels = torch.backends.cpu.get_cpu_capability()
        self.network = empty_llama(config)
        self.network.load_state_dict(tensors, assign=True)
        self.vocab_size = config.vocab_size
        self.streamed_bytes = sum(tensors[name].nbytes for name in costs.streamed_weights(config))

    def start(self, batch: int, room: int) -> None:
        """Make a new cache, which grows as it is fed."""
        self.cache = DynamicCache(config=self.network.config)

    def feed(self, ids: Array) -> Array:
        """Run the network."""
        output = self.network(torch.from_numpy(ids), past_key_values=self.cache, logits_to_keep=1)
        return output.logits[:, -1].float().numpy()


class Attention(scenarios.Attention):
    """One of the ways to call SDPA when several query heads share a KV head.

    ``gqa`` leaves that to it, ``repeat`` repeats keys and values, ``fold`` takes the query heads that share a
    KV head as so many queries of one head, which then needs a mask in place of ``is_causal``.
    """

    def __init__(self, dtype: str, call: str) -> None:
        self.kernels = torch.backends.cpu.get_cpu_capability()
        self.dtype = getattr(torch, dtype)
        self.way = {"gqa": gqa, "repeat": repeat, "fold": fold}[call]

    def prepare(self, q: Array, k: Array, v: Array) -> Callable[[], torch.Tensor]:
        """Convert to tensors."""
        return self.way(*(torch.from_numpy(array).to(self.dtype) for array in (q, k, v)))

    def to_numpy(self, result: torch.Tensor) -> Array:
        """Convert from a tensor."""
        return result.float().numpy()


def gqa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Callable[[], torch.Tensor]:
    return partial(scaled_dot_product_attention, q, k, v, is_causal=q.shape[2] > 1, enable_gqa=True)


def repeat(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Callable[[], torch.Tensor]:
    def call() -> torch.Tensor:
        wide = [tensor.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for tensor in (k, v)]
        return scaled_dot_product_attention(q, *wide, is_causal=q.shape[2] > 1)

    return call


def fold(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Callable[[], torch.Tensor]:
    T, S, groups = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    mask = torch.ones(T, S, dtype=torch.bool).tril(S - T).repeat(groups, 1) if T > 1 else None
    folded = q.reshape(1, k.shape[1], groups * T, -1)

    def call() -> torch.Tensor:
        return scaled_dot_product_attention(folded, k, v, attn_mask=mask).reshape(q.shape)

    return call
