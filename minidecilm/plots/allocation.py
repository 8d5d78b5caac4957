"""Figures of which layers need their KV heads, and what a choice of heads costs.

Arguments that functions share are described in :mod:`minidecilm.plots`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from minidecilm.plots.axes import plain, write_at
from minidecilm.plots.style import BLUE, GREY, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEADS_LEFT_COLORS = (GREY, "#B58900", "#7B3294")


def sensitivity(ax: "Axes", extra_losses: Sequence[Mapping[int, float]]) -> "Axes":
    """Draw the extra loss when the KV heads of one layer alone are pooled, as bars.

    `extra_losses` are, for each layer, nats per token by the number of heads left. Layers may differ in what
    they can lose.

    Examples
    --------
    >>> from minidecilm import plots
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.sensitivity(ax, [{1: 0.5, 2: 0.1}, {1: 0.2}])
    >>> [float(bar.get_height()) for bar in ax.patches]
    [0.5, 0.2, 0.1]
    """
    lefts = sorted({heads for losses in extra_losses for heads, loss in losses.items() if loss})
    width = 0.8 / max(1, len(lefts))
    for index, heads in enumerate(lefts):
        places = [layer for layer, losses in enumerate(extra_losses) if heads in losses]
        ax.bar(
            [place + (index - (len(lefts) - 1) / 2) * width for place in places],
            [extra_losses[layer][heads] for layer in places],
            width,
            color=_HEADS_LEFT_COLORS[index % len(_HEADS_LEFT_COLORS)],
            label=f"{heads} KV head{'s'[: heads > 1]} left",
        )
    ax.set_xlim(-0.6, len(extra_losses) - 0.4)
    ax.grid(axis="x", visible=False)
    ax.set_title("Loss when one layer's KV heads are pooled")
    ax.set(xlabel="layer", ylabel="extra loss (nats per token)")
    ax.legend()
    return ax


def allocations(
    ax: "Axes",
    every: Sequence[tuple[int, float]],
    chosen: Sequence[tuple[int, float]],
    uniform: Mapping[int, tuple[int, float]],
) -> "Axes":
    """Draw the perplexity of allocations of KV heads against the cache they take.

    Parameters
    ----------
    every : sequence of (int, float)
        Bytes of cache per token, and perplexity, of all allocations there are.
    chosen : sequence of (int, float)
        Those chosen layer by layer, ascending.
    uniform : mapping of int to (int, float)
        Those that limit every layer to so many heads.

    Examples
    --------
    >>> from minidecilm import plots
    >>> every = [(512, 5.0), (768, 4.0), (768, 4.5)]
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.allocations(ax, every, chosen=every[:2], uniform={1: every[0], 2: every[2]})
    >>> [text.get_text() for text in ax.texts]
    ['at most 1', 'at most 2']
    """
    ax.plot(*zip(*every, strict=True), ".", color=GREY, alpha=0.5, markersize=5, label="every allocation")
    ax.plot(*zip(*chosen, strict=True), "o-", color=BLUE, markersize=5, label="chosen layer by layer")
    ax.plot(*zip(*uniform.values(), strict=True), "s", color=VERMILION, label="the same limit in every layer")
    highest = max(perplexity for _, perplexity in uniform.values())
    for limit, place in uniform.items():
        above = place[1] == highest  # the line falls from there
        offset, va = ((0, 8), "bottom") if above else ((0, -8), "top")
        write_at(ax, f"at most {limit}", place, offset, VERMILION, ha="center", va=va)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    plain(ax)
    ax.margins(x=0.09, y=0.14)  # room for the words at the squares
    ax.set(title="Perplexity against cache", xlabel="KV cache (bytes per token)", ylabel="perplexity")
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2, columnspacing=1.0)
    return ax
