"""Figures of what a config takes: KV heads, parameters, memory of the cache, rows that fit.

Arguments that functions share are described in :mod:`minidecilm.plots`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minidecilm import costs
from minidecilm.config import Config
from minidecilm.plots.axes import binary, categories, label_ends, logarithmic, points_of, write_at
from minidecilm.plots.style import GREY, color_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Parts of a model: neighbours differ in lightness, and none has the colour of a model.
_PART_COLORS = ("#332288", "#88CCEE", "#DDCC77", "#999933", "#882255", "#CC6677")


def kv_heads(ax: "Axes", name: str, heads: Sequence[int], index: int = 0, most: int | None = None) -> "Axes":
    """Draw the KV heads of every layer as bars, on an axis on which each step doubles.

    `heads` has one number per layer. Panels that share an axis say in `most` how far it reaches; by default
    that is as far as this model's.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.kv_heads(ax, "DeciLM-6b", preset("decilm-6b").num_key_value_heads_per_layer)
    >>> [int(bar.get_height()) for bar in ax.patches[:4]]
    [4, 2, 2, 2]
    """
    ax.bar(range(len(heads)), heads, width=0.8, color=color_of(name, index), label=name)
    highest = max(*heads, most or 4)
    logarithmic(ax, "y", [2**k for k in range(highest.bit_length())])
    ax.set_ylim(0.5, 1.3 * highest)  # half a head, so that one head has a height
    ax.margins(x=0.01)
    ax.grid(axis="x", visible=False)
    ax.set(title=f"{name}: {sum(heads):,} in all", xlabel="layer", ylabel="KV heads")
    return ax


def parameters(ax: "Axes", configs: Mapping[str, Config]) -> "Axes":
    """Draw where the parameters of models are, as one stacked bar per model.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.parameters(ax, {"DeciLM-6b": preset("decilm-6b")})
    >>> round(float(sum(bar.get_width() for bar in ax.patches)), 4)
    5.7171
    """
    names = list(configs)
    parts = [costs.parameters_by_part(config) for config in configs.values()]
    total = np.array([sum(part.values()) for part in parts])
    scale, unit = (1e9, "billions") if total.max() >= 1e8 else (1e6, "millions")
    left = np.zeros(len(names))
    for part, color in zip(parts[0], _PART_COLORS, strict=True):
        widths = np.array([counts[part] for counts in parts]) / scale
        ax.barh(range(len(names)), widths, 0.62, left=left, color=color, label=part)
        left += widths
    for row, count in enumerate(total / scale):
        ax.annotate(f"{count:.3g}", (count, row), (4, 0), textcoords="offset points", va="center")
    ax.invert_yaxis()
    categories(ax.yaxis, names)
    ax.grid(axis="y", visible=False)
    ax.set_xlim(0, 1.12 * total.max() / scale)
    ax.set(title="Parameters by part", xlabel=f"parameters ({unit})")
    seen = [bars for bars in ax.containers if max(bar.get_width() for bar in bars) > 0.005 * left.max()]
    ax.legend(handles=seen, loc="upper center", bbox_to_anchor=(0.42, -0.22), ncols=3, handlelength=1.2)
    return ax


def kv_cache_by_context(
    ax: "Axes",
    configs: Mapping[str, Config],
    contexts: Sequence[int],
    batch_size: int = 1,
    dtype: str = "bfloat16",
) -> "Axes":
    """Draw the memory of the KV cache against context; a dot marks a model's max_position_embeddings.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> models = {"DeciLM-6b": preset("decilm-6b"), "Llama 2 7B": preset("llama-2-7b")}
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.kv_cache_by_context(ax, models, [1024, 4096])
    >>> [int(line.get_ydata()[-1]) for line in ax.lines]
    [104857600, 2147483648]
    """
    for index, (name, config) in enumerate(configs.items()):
        nbytes = [costs.kv_cache_bytes(config, batch_size, context, dtype) for context in contexts]
        trained = [context == config.max_position_embeddings for context in contexts]
        ax.plot(contexts, nbytes, color=color_of(name, index), label=name, marker="o", markevery=trained)
    ax.annotate("● max_position_embeddings", (0.03, 0.94), xycoords="axes fraction", fontsize=10)
    ax.set(title="KV cache against context", xlabel="context (tokens)")
    _memory_axes(ax, contexts, batch_size, dtype)
    return ax


def kv_cache_by_batch(
    ax: "Axes",
    configs: Mapping[str, Config],
    batch_sizes: Sequence[int],
    context: int = 4096,
    dtype: str = "bfloat16",
) -> "Axes":
    """Draw the memory of the KV cache against batch size.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.kv_cache_by_batch(ax, {"DeciLM-6b": preset("decilm-6b")}, [1, 64], context=1024)
    >>> ax.get_xlabel()
    'batch size (rows of 1,024 tokens)'
    """
    for index, (name, config) in enumerate(configs.items()):
        nbytes = [costs.kv_cache_bytes(config, batch_size, context, dtype) for batch_size in batch_sizes]
        ax.plot(batch_sizes, nbytes, color=color_of(name, index), label=name)
    ax.set(title="KV cache against batch size", xlabel=f"batch size (rows of {context:,} tokens)")
    _memory_axes(ax, batch_sizes, None, dtype)
    return ax


def _memory_axes(ax: "Axes", counts: Sequence[int], batch_size: int | None, dtype: str) -> None:
    """Logarithmic axes, so that a ratio is a distance, and labels at the lines' ends."""
    logarithmic(ax, "x", counts[:: max(1, len(counts) // 4)])
    nbytes = np.concatenate([points_of(line)[:, 1] for line in ax.lines])
    exponents = range(int(nbytes.min()).bit_length() - 1, int(nbytes.max()).bit_length() + 1)
    logarithmic(ax, "y", [2**k for k in exponents if k % 3 == 0], binary)
    rows = "" if batch_size in (None, 1) else f", {batch_size} rows"
    ax.set_ylabel(f"KV cache, {dtype}{rows} (bytes)")
    label_ends(ax)


def largest_batch(
    ax: "Axes",
    configs: Mapping[str, Config],
    memories: Mapping[str, int],
    context: int = 4096,
    weights: str | None = None,
    kv_cache: str = "bfloat16",
) -> "Axes":
    """Draw how many rows fit a memory beside the weights, as one dot per model and memory.

    `memories` are in bytes, by title, ascending.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.largest_batch(ax, {"DeciLM-6b": preset("decilm-6b")}, {"24 GB": 24 * 10**9})
    >>> ax.lines[0].get_xdata().tolist()
    [119]
    """
    from matplotlib.lines import Line2D

    names, most = list(configs), 1
    markers = dict(zip(memories, "osDv^<>p*h", strict=False))
    for row, name in enumerate(names):
        color, too_small = color_of(name, row), []
        for title, nbytes in memories.items():
            rows = costs.largest_batch(configs[name], nbytes, context, weights, kv_cache)
            most = max(most, rows)
            if rows:
                ax.plot([rows], [row], markers[title], color=color, label=title, markersize=9)
                write_at(ax, f"{rows:,}", (rows, row), (0, 8), color, ha="center")
            else:
                too_small.append(title)
        if too_small:
            write_at(ax, f"{', '.join(too_small)}: none", (0.8, row), (0, 0), color, va="center")
    ax.legend(
        handles=[
            Line2D([], [], marker=marker, color=GREY, linestyle="", label=title)
            for title, marker in markers.items()
        ],
        loc="upper center",
        bbox_to_anchor=(0.45, -0.2),  # where no row can reach
        ncols=len(markers),
        handletextpad=0.2,
    )
    logarithmic(ax, "x", [2**k for k in range(0, most.bit_length() + 1, 2)])
    categories(ax.yaxis, names)
    ax.set_xlim(0.7, 1.7 * most)
    ax.set_ylim(len(names) - 0.6, -0.7)
    ax.grid(axis="y", visible=False)
    ax.set(title="Rows that fit beside the weights", xlabel=f"largest batch (rows of {context:,} tokens)")
    return ax
