"""DeciLM in PyTorch, for training only: the same mathematics as the package, written to be differentiated."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The demo model's sizes: DeciLM-6B's own pattern of KV heads, shortened to eight layers."""

    vocabulary: int = 2048
    hidden: int = 128
    intermediate: int = 256
    heads: int = 8
    kv_heads: tuple[int, ...] = (4, 2, 2, 1, 1, 1, 4, 4)
    context: int = 256
    rope_theta: float = 10000.0
    rope_factor: float = 2.0
    rms_eps: float = 1e-5
    initializer_range: float = 0.02

    @property
    def head_dim(self) -> int:
        """Return the size of one head."""
        return self.hidden // self.heads


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis and scale it by the weight."""
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


def rotary_tables(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, each (length, head_dim), for positions from 0 on."""
    d = shape.head_dim
    inverse = shape.rope_theta ** -(torch.arange(0, d, 2).float() / d)
    angles = torch.outer(torch.arange(length).float(), inverse)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of each head by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Causal attention with this layer's own number of KV heads: query head h reads KV head h // group."""

    def __init__(self, shape: Shape, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = shape.heads, kv_heads, shape.head_dim
        self.q_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attend from every position of x, (batch, length, hidden), to itself and those before it."""
        batch, length, hidden = x.shape

        def split(projected: Tensor, heads: int) -> Tensor:
            return projected.view(batch, length, heads, self.head_dim).transpose(1, 2)

        group = self.heads // self.kv_heads
        q = rotate(split(self.q_proj(x), self.heads), cos, sin)
        k = rotate(split(self.k_proj(x), self.kv_heads), cos, sin).repeat_interleave(group, dim=1)
        v = split(self.v_proj(x), self.kv_heads).repeat_interleave(group, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, hidden))


class MLP(nn.Module):
    """Feed-forward block with a SiLU gate."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to each position."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self, shape: Shape, kv_heads: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden, shape.rms_eps)
        self.self_attn = Attention(shape, kv_heads)
        self.post_attention_layernorm = RMSNorm(shape.hidden, shape.rms_eps)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Add attention, then the feed-forward block."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class DeciLM(nn.Module):
    """The whole network; ``state_dict`` with "model." before all but the head has the published names."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape, kv_heads) for kv_heads in shape.kv_heads)
        self.norm = RMSNorm(shape.hidden, shape.rms_eps)
        self.lm_head = nn.Linear(shape.hidden, shape.vocabulary, bias=False)
        cos, sin = rotary_tables(shape, shape.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialize()

    @torch.no_grad()
    def _initialize(self) -> None:
        """Draw the weights so that copying from earlier in the text needs little learning.

        Names are alike in all but their embedding, so that is large enough to stay what tells them apart. The
        head begins as a small copy of it, and the output of each attention head as the transpose of its
        values: what attention brings along becomes likely to be written again.
        """
        size = self.shape.initializer_range
        for weight in self.layers.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=size)
        for layer in self.layers:
            attention = layer.self_attn
            group = attention.heads // attention.kv_heads
            nn.init.orthogonal_(attention.v_proj.weight)
            values = attention.v_proj.weight.view(attention.kv_heads, attention.head_dim, -1)
            outputs = values.repeat_interleave(group, dim=0).flatten(0, 1)
            attention.o_proj.weight.copy_(0.5 / math.sqrt(group) * outputs.T)
        nn.init.normal_(self.embed_tokens.weight)
        self.lm_head.weight.copy_(0.05 * self.embed_tokens.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (batch, length, vocabulary) for tokens (batch, length), length up to the context."""
        length = tokens.shape[1]
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length])
        return self.lm_head(self.norm(x))


def published_names(model: DeciLM) -> dict[str, Tensor]:
    """Return the weights under their names in the published checkpoint, in its order."""
    return {
        name if name.startswith("lm_head") else f"model.{name}": weight.detach()
        for name, weight in model.state_dict().items()
    }


def load_published(model: DeciLM, weights: dict[str, Tensor]) -> None:
    """Load weights given under their published names."""
    model.load_state_dict({name.removeprefix("model."): weight.float() for name, weight in weights.items()})
