"""Whole figures: size, panels and titles. `minidecilm plot` and the scripts of ``analysis/`` draw these.

They share their arguments. `configs` are by title; a figure of one model refuses several. `seen` is what a
:class:`minidecilm.Recorder` kept of a model that read one text, and `kv_heads` has those of every layer. A
`title` says what these data show; without one the title says what is drawn. Call them, and save what they
return, inside :func:`minidecilm.plots.style`.

Examples
--------
>>> from minidecilm import plots, preset
>>> from minidecilm.plots import gallery
>>> with plots.style():
...     figure = gallery.kv_heads({"DeciLM-6b": preset("decilm-6b")})
>>> figure.axes[0].get_title("left")
'DeciLM-6b: 50 in all'
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minidecilm import observe, plots
from minidecilm.config import Config
from minidecilm.costs import Device, PublishedThroughput
from minidecilm.costs.summary import GIGABYTES
from minidecilm.ops import Array

Configs = Mapping[str, Config]
Seen = Mapping[tuple[int | None, str], Array]

_POWERS = [2**k for k in range(20)]
_BATCH_SIZES = range(1, 513)
_MEMORIES = {f"{size} GB": size * 10**9 for size in GIGABYTES}
_ATTENTION = ("attention_weights",)

#: Stages that :func:`activations` draws, by the names of their lines.
ACTIVATIONS = {
    "hidden state": "hidden_states",
    "added by attention": "o_proj",
    "added by feed-forward": "down_proj",
}


def panel(
    draw: Callable[..., object],
    *data: Any,
    size: tuple[float, float] = (4.8, 3.2),
    title: str | None = None,
    unit: str | None = None,
    **options: Any,
) -> "plots.Figure":
    """Make a figure of one panel: any function of :mod:`minidecilm.plots` that draws into one Axes.

    Parameters
    ----------
    draw : callable
        Takes the Axes, `data` and `options`.
    *data
    size : (float, float)
        Width and height in inches.
    title, unit : str, optional
        Of the figure, and of its y axis, in place of those that `draw` writes.
    **options
    """
    figure, ax = plots.new_figure(size=size)
    draw(ax, *data, **options)
    if title is not None:
        ax.set_title(title)
    if unit is not None:
        ax.set_ylabel(unit)
    return figure


def _only(configs: Configs) -> tuple[str, Config]:
    if len(configs) > 1:
        raise ValueError(f"this plot is of one model, found {len(configs)}: {', '.join(configs)}")
    return next(iter(configs.items()))


def _lengths(config: Config) -> list[int]:
    """One, two and four times the context of training."""
    return [config.max_position_embeddings * times for times in (1, 2, 4)]


def architecture(configs: Configs) -> "plots.Figure":
    """Draw one model layer by layer: see :func:`minidecilm.plots.architecture`."""
    name, config = _only(configs)
    return panel(plots.architecture, name, config, size=plots.architecture_size(config))


def kv_heads(configs: Configs, columns: int = 1, title: str | None = None) -> "plots.Figure":
    """Draw the KV heads of every layer, a panel per model."""
    rows = -(-len(configs) // columns)
    size = (max(4.8, 2.8 * columns), 1 + (1.9 if columns == 1 else 1.5) * rows)
    figure, axes = plots.new_figure(rows, columns, size=size, sharex=True, sharey=True, squeeze=False)
    most = max(max(config.num_key_value_heads_per_layer) for config in configs.values())
    for index, (ax, (name, config)) in enumerate(zip(axes.flat, configs.items(), strict=False)):
        plots.kv_heads(ax, name, config.num_key_value_heads_per_layer, index, most)
        ax.label_outer()
    for ax in axes.flat[len(configs) :]:
        ax.set_visible(False)
    if title is not None:
        figure.suptitle(title, weight="bold")
    return figure


def parameters(configs: Configs, title: str | None = None) -> "plots.Figure":
    """Draw where the parameters are, a bar per model."""
    return panel(plots.parameters, configs, size=(5.4, 2.1 + 0.4 * len(configs)), title=title)


def kv_cache(
    configs: Configs, contexts: Sequence[int] | None = None, title: str | None = None
) -> "plots.Figure":
    """Draw the cache of one row by context, by default to twice the longest of training."""
    if contexts is None:
        longest = max(config.max_position_embeddings for config in configs.values())
        contexts = [length for length in _POWERS if min(64, longest) <= length <= 2 * longest]
    return panel(plots.kv_cache_by_context, configs, contexts, size=(5.4, 3.4), title=title)


def kv_cache_batch(
    configs: Configs, context: int = 4096, limit: int | None = None, title: str | None = None
) -> "plots.Figure":
    """Draw the cache by number of rows; `limit` is a memory in bytes, drawn as a dashed line."""
    figure = panel(plots.kv_cache_by_batch, configs, _POWERS[:9], context, size=(5.4, 3.4), title=title)
    if limit is not None:
        [ax] = figure.axes
        ax.axhline(limit, color="0.55", linestyle="--", linewidth=1.2)
        ax.annotate(f"{limit / 1e9:g} GB", (1, limit), xytext=(0, 4), textcoords="offset points", fontsize=10)
    return figure


def largest_batch(configs: Configs, context: int = 4096, weights: str | None = None) -> "plots.Figure":
    """Draw how many rows fit 24, 40 and 80 GB beside the weights."""
    size = (5.4, 1.8 + 0.45 * len(configs))
    return panel(plots.largest_batch, configs, _MEMORIES, context, weights, size=size)


def throughput(
    configs: Configs,
    device: Device,
    context: int = 1024,
    weights: str | None = None,
    measured: Mapping[str, Sequence[PublishedThroughput]] | None = None,
    title: str | None = None,
) -> "plots.Figure":
    """Draw the most tokens per second that a device allows in decode, up to 512 rows."""
    known = (configs, device, _BATCH_SIZES, context, measured, weights)
    return panel(plots.throughput, *known, size=(5.4, 3.8), title=title)


def roofline(
    configs: Configs,
    device: Device,
    context: int = 1024,
    weights: str | None = None,
    title: str | None = None,
) -> "plots.Figure":
    """Draw where decode and the prefill of a prompt stand under the roof of a device."""
    drawn = (plots.roofline, configs, device)
    return panel(*drawn, size=(5.0, 3.8), title=title, context=context, weights=weights)


def rope_base(
    configs: Configs, lengths: npt.ArrayLike | None = None, title: str | None = None
) -> "plots.Figure":
    """Draw the rotary base by length, by default to four times the shortest context of training."""
    if lengths is None:
        longest = 4 * min(config.max_position_embeddings for config in configs.values())
        lengths = np.linspace(1, longest, 257).round().astype(int)
    return panel(plots.rope_base, configs, lengths, size=(5.2, 3.2), title=title)


def wavelengths(configs: Configs, title: str | None = None) -> "plots.Figure":
    """Draw the tokens in which each pair turns once, at one, two and four times the context of training."""
    name, config = _only(configs)
    title = title or f"{name}: tokens in which\neach pair turns once"
    return panel(plots.wavelengths, config, _lengths(config), size=(5.4, 3.4), title=title)


def angles(configs: Configs, title: str | None = None) -> "plots.Figure":
    """Draw the angles of all pairs, at one, two and four times the context of training."""
    name, config = _only(configs)
    figure, axes = plots.new_figure(2, 3, size=(6.0, 4.4), sharey=True)
    plots.rotary_angles(axes, config, _lengths(config))
    figure.suptitle(title or f"{name}: angles, outlined where unseen in training", weight="bold")
    return figure


def _weights(seen: Seen, kv_heads: Sequence[int]) -> list[Array]:
    """Attention of every layer, each (H, T, T)."""
    return [seen[layer, "attention_weights"][0] for layer in range(len(kv_heads))]


def attention(name: str, seen: Seen, kv_heads: Sequence[int], layer: int = 0) -> "plots.Figure":
    """Draw the attention of every head of one layer, those of a KV head side by side."""
    weights = _weights(seen, kv_heads)[layer]
    rows, columns = plots.attention_grid(len(weights), kv_heads[layer])
    size = (2 + columns, 1.2 + 1.2 * rows)
    figure, axes = plots.new_figure(rows, columns, size=size, sharex=True, sharey=True)
    plots.attention_maps(axes, weights, kv_heads[layer])
    figure.suptitle(f"{name}: attention in layer {layer}", weight="bold")
    return figure


def attention_entropy(name: str, seen: Seen, kv_heads: Sequence[int]) -> "plots.Figure":
    """Draw how widely each head looks."""
    values = [observe.attention_entropy(weights).mean(axis=-1) for weights in _weights(seen, kv_heads)]
    title = f"{name}: how widely each head looks"
    return panel(plots.by_head, values, kv_heads, title=title, unit="mean entropy of attention (bits)")


def attention_first_token(name: str, seen: Seen, kv_heads: Sequence[int]) -> "plots.Figure":
    """Draw the share of its attention that each head gives the first token."""
    values = [observe.first_token_share(weights) for weights in _weights(seen, kv_heads)]
    title = f"{name}: attention each\nhead gives the first token"
    return panel(plots.by_head, values, kv_heads, title=title, unit="share of attention")


def activations(name: str, seen: Seen, kv_heads: Sequence[int]) -> "plots.Figure":
    """Draw how large activations are, layer by layer, at the stages of :data:`ACTIVATIONS`."""
    sizes = {
        line: [observe.root_mean_square(seen[layer, stage]) for layer in range(len(kv_heads))]
        for line, stage in ACTIVATIONS.items()
    }
    return panel(plots.activations, sizes, size=(5.2, 3.2), title=f"{name}: size of activations")


def sensitivity_and_heads(
    extra_losses: Sequence[Mapping[int, float]], title: str, name: str, config: Config
) -> "plots.Figure":
    """Draw what each layer of one model loses when pooled to one number, above the KV heads of another."""
    figure, axes = plots.new_figure(2, size=(4.8, 4.6))
    plots.sensitivity(axes[0], extra_losses)
    axes[0].legend().remove()
    axes[0].set_title(title)
    plots.kv_heads(axes[1], name, config.num_key_value_heads_per_layer)
    axes[1].set_title(f"{name}: KV heads it was given")
    return figure


#: Figures of configs by title: what `minidecilm plot` calls them.
#:
#: :meta hide-value:
OF_CONFIGS: dict[str, Callable[..., "plots.Figure"]] = {
    "architecture": architecture,
    "kv-heads": kv_heads,
    "parameters": parameters,
    "kv-cache": kv_cache,
    "kv-cache-batch": kv_cache_batch,
    "largest-batch": largest_batch,
    "throughput": throughput,
    "roofline": roofline,
    "rope-base": rope_base,
    "wavelengths": wavelengths,
    "angles": angles,
}
#: Figures of a model that has read a text, and the stages they are drawn from.
#:
#: :meta hide-value:
OF_A_RUN: dict[str, tuple[Callable[..., "plots.Figure"], tuple[str, ...]]] = {
    "attention": (attention, _ATTENTION),
    "attention-entropy": (attention_entropy, _ATTENTION),
    "attention-first-token": (attention_first_token, _ATTENTION),
    "activations": (activations, tuple(ACTIVATIONS.values())),
}
