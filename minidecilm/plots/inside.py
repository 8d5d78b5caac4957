"""Figures of a run: attention by KV head, size of activations, and what rotary policies change.

Arguments that functions share are described in :mod:`minidecilm.plots`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minidecilm.ops import Array
from minidecilm.plots.axes import label_ends, plain, root_figure
from minidecilm.plots.style import BLUE, GREEN, GREY, PURPLE, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POLICY_COLORS = {"reference": VERMILION, "fixed": PURPLE, "exact": BLUE, "no scaling": GREY}
_KV_HEAD_COLORS = (BLUE, VERMILION, GREEN, PURPLE)


def attention_grid(num_heads: int, kv_heads: int) -> tuple[int, int]:
    """Rows and columns of panels for :func:`attention_maps`: a KV head takes one row, or as many as it needs.

    Examples
    --------
    >>> attention_grid(8, 2), attention_grid(32, 1)
    ((2, 4), (8, 4))
    """
    group = num_heads // kv_heads
    columns = min(group, 4)
    return kv_heads * -(-group // columns), columns


def attention_maps(axes: Array, weights: Array, kv_heads: int) -> Array:
    """Draw the attention of every head of one layer, those that share a KV head beside one another.

    Parameters
    ----------
    axes : array of Axes
        Of :func:`attention_grid`'s shape, or one Axes for one head.
    weights : (H, T, T) array
        As in the stage ``attention_weights`` of a text read in one call, of one row of the batch.
    kv_heads : int
        K of the layer.

    Raises
    ------
    ValueError
        If the number of panels is another.

    Examples
    --------
    >>> import minidecilm
    >>> from minidecilm import plots
    >>> seen = minidecilm.Recorder(["attention_weights"])
    >>> logits = minidecilm.load("demo").model([[1, 5, 9]], observer=seen)
    >>> with plots.style():
    ...     figure, axes = plots.new_figure(2, 4)
    ...     axes = plots.attention_maps(axes, seen.values[1, "attention_weights"][0], kv_heads=2)
    >>> axes[1, 0].get_label()
    'head 4, KV head 1'
    """
    from matplotlib.colors import PowerNorm

    H, T, _ = weights.shape
    panels, group = np.ravel(axes), H // kv_heads
    rows, columns = attention_grid(H, kv_heads)
    if panels.size != rows * columns:
        raise ValueError(f"axes: expected {rows} x {columns} panels, found {panels.size}")
    later = ~np.tri(T, dtype=bool)  # (T, T): keys after the query
    for head in range(H):
        kv_head, query_head = divmod(head, group)
        ax = panels[kv_head * rows // kv_heads * columns + query_head]
        visible = np.ma.masked_where(later, weights[head])
        image = ax.imshow(visible, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
        image.set_label("attention weight")
        ax.set_label(f"head {head}, KV head {kv_head}")
        ax.set_title(f"head {head}", weight="normal", size=11, pad=3)
        ax.set(xlabel="key (token)", ylabel=f"KV head {kv_head}\nquery (token)")
    for ax in panels:
        ax.grid(visible=False)
        ax.set_visible(bool(ax.images))
        ax.label_outer()
    root_figure(image).colorbar(image, ax=axes, label=image.get_label(), ticks=[0, 0.1, 0.5, 1], format="%g")
    return axes


def by_head(ax: "Axes", values: Sequence[Array], kv_heads: Sequence[int]) -> "Axes":
    """Draw one number of every head of every layer as dots; those that share a KV head have one colour.

    `values` holds an (H,) array for each layer, `kv_heads` its K.

    Examples
    --------
    >>> import numpy as np
    >>> from minidecilm import plots
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.by_head(ax, [np.array([1.0, 1.5, 2.0, 2.5])], kv_heads=[2])
    >>> ax.lines[3].get_label()
    'layer 0, head 3, KV head 1'
    """
    for layer, (value, K) in enumerate(zip(values, kv_heads, strict=True)):
        groups = np.asarray(value).reshape(K, -1)  # (K, G)
        places = layer + np.linspace(-0.32, 0.32, groups.size).reshape(groups.shape)
        for head, (place, height) in enumerate(zip(places.flat, groups.flat, strict=True)):
            kv_head = head // groups.shape[1]
            color = _KV_HEAD_COLORS[kv_head % len(_KV_HEAD_COLORS)]
            label = f"layer {layer}, head {head}, KV head {kv_head}"
            ax.plot([place], [height], "o", markersize=4.5, color=color, label=label)
    ax.set_xticks(range(0, len(values), -(-len(values) // 10)))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("layer; its heads side by side, a colour per KV head")
    return ax


def activations(ax: "Axes", sizes: Mapping[str, Sequence[float]]) -> "Axes":
    """Draw how large activations are, layer by layer.

    `sizes` are the root mean squares in each layer, by what they are of.

    Examples
    --------
    >>> from minidecilm import plots
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.activations(ax, {"hidden state": [1.0, 2.0, 4.0]})
    >>> ax.lines[0].get_ydata().tolist()
    [1.0, 2.0, 4.0]
    """
    for (name, values), color in zip(sizes.items(), (BLUE, VERMILION, GREEN, PURPLE), strict=False):
        ax.plot(values, "o-", markersize=5, color=color, label=name)
    plain(ax)
    ax.set(title="Size of activations by layer", xlabel="layer", ylabel="root mean square")
    label_ends(ax)
    return ax


def by_position(ax: "Axes", positions: Array, values: Mapping[str, Array], context: int) -> "Axes":
    """Draw a number against the position in a text, one line per rotary policy, on a logarithmic axis.

    Parameters
    ----------
    positions : (N,) array of int
        Tokens before and with the one that counts.
    values : mapping of str to (N,) array
        By policy, or "no scaling".
    context : int
        M, tokens the model was trained with.

    Examples
    --------
    >>> import numpy as np
    >>> from minidecilm import plots
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.by_position(ax, np.array([64, 128]), {"exact": np.array([3.0, 4.0])}, context=256)
    >>> ax.lines[0].get_label()
    'exact'
    """
    for name, value in values.items():
        ax.plot(positions, value, color=_POLICY_COLORS[name], label=name)
    if max(map(np.max, values.values())) < 1e4 * min(map(np.min, values.values())):
        plain(ax)
    else:
        ax.set_yscale("log")
    ax.axvline(context, color=GREY, linestyle="--", linewidth=1.2)
    ax.set_xlabel(f"position (tokens)\ndashed: {context:,}, the context of training")
    label_ends(ax)
    return ax
