"""Figures of rotary position embedding: base, wavelengths, angles, and attention by distance.

Arguments that functions share are described in :mod:`minidecilm.plots`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minidecilm import rope
from minidecilm.config import Config
from minidecilm.ops import Array
from minidecilm.plots.axes import label_ends, logarithmic, root_figure
from minidecilm.plots.style import GREY, color_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
_TURNS = (0.001, 0.01, 0.1, 1, 10, 100)  # where the colours of angles change


def _shade(index: int, count: int) -> Any:
    """Colour of one of several lengths: shades that can be seen on a light and on a dark page."""
    from matplotlib import colormaps

    return colormaps["plasma"](0.33 + 0.45 * index / max(1, count - 1))


def rope_base(ax: "Axes", configs: Mapping[str, Config], lengths: npt.ArrayLike) -> "Axes":
    """Draw the rotary base in force against the length of the text.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.rope_base(ax, {"DeciLM-6b": preset("decilm-6b")}, [4096, 8192])
    >>> ax.lines[0].get_ydata().round(1)
    array([10000. , 30527.7])
    """
    from matplotlib.ticker import MultipleLocator

    for index, (name, config) in enumerate(configs.items()):
        ax.plot(lengths, rope.dynamic_ntk_base(lengths, config), color=color_of(name, index), label=name)
    ax.xaxis.set_major_locator(MultipleLocator(max(1, int(np.max(lengths)) // 4)))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.set_ylim(bottom=0)
    ax.set(title="Rotary base against length", xlabel="length (tokens)", ylabel="rotary base")
    label_ends(ax)
    return ax


def wavelengths(ax: "Axes", config: Config, lengths: Sequence[int]) -> "Axes":
    """Draw in how many tokens each pair of a head turns once, with the base in force at each length.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.wavelengths(ax, preset("decilm-6b"), [4096, 8192])
    >>> [line.get_label() for line in ax.lines[:2]]
    ['text of 4,096', 'text of 8,192']
    """
    bases = rope.dynamic_ntk_base(lengths, config)
    turns = rope.wavelengths(bases, config.head_dim)  # (N, D/2)
    for index, (length, wavelength) in enumerate(zip(lengths, turns, strict=True)):
        ax.plot(wavelength, color=_shade(index, len(lengths)), label=f"text of {length:,}")
    M = config.max_position_embeddings
    ax.axhline(M, color=GREY, linestyle="--", linewidth=1.2)
    exponents = range(1, int(np.log10(turns.max())) + 1)
    logarithmic(ax, "y", [10**k for k in exponents])
    ax.set_title("Tokens in which each pair turns once")
    ax.set_xlabel(f"rotary pair, fastest to slowest\ndashed: {M:,} tokens, the context of training")
    ax.set_ylabel("wavelength (tokens)")
    label_ends(ax)
    return ax


def rotary_angles(axes: Array, config: Config, lengths: Sequence[int]) -> Array:
    """Draw the angle of every pair at every position as a colour, without scaling and with dynamic NTK.

    White outlines angles that training never showed: see :func:`minidecilm.rope.unseen_angles`. `axes` is
    (2, N), for N lengths.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> with plots.style():
    ...     figure, axes = plots.new_figure(2, 2)
    ...     axes = plots.rotary_angles(axes, preset("decilm-6b"), [4096, 8192])
    >>> [ax.get_title("left") for ax in axes[:, 1]]  # without scaling, and with dynamic NTK
    ['18 of 64 unseen', '0 of 64 unseen']
    """
    for row, scaled in zip(axes, (False, True), strict=True):
        for ax, length in zip(row, lengths, strict=True):
            base = float(rope.dynamic_ntk_base(length, config)) if scaled else config.rope_theta
            image = _angles(ax, config, length, base)
            scaling = "dynamic NTK" if scaled else "no scaling"
            ax.set_label(f"{'NTK' if scaled else 'none'} {length}")
            ax.set_ylabel(f"{scaling}\nrotary pair")
            ax.label_outer()
    root_figure(image).colorbar(image, ax=axes, label=image.get_label(), format="%g")
    return axes


def _angles(ax: "Axes", config: Config, length: int, base: float) -> "AxesImage":
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm

    pairs, columns = config.head_dim // 2, 24
    positions = (np.arange(columns) + 0.5) * length / columns
    turns = positions / rope.wavelengths(base, config.head_dim)[:, None]  # (D/2, columns)
    colors = colormaps["viridis"]
    image = ax.imshow(
        turns,
        cmap=colors,
        norm=BoundaryNorm(_TURNS, colors.N, extend="both"),
        aspect="auto",
        extent=(0, length, pairs - 0.5, -0.5),
        interpolation="nearest",
    )
    image.set_label("angle (turns)")
    unseen = rope.unseen_angles(positions, base, config)  # (columns, D/2)
    if unseen.any():
        ax.contour(positions, np.arange(pairs), unseen.T, levels=[0.5], colors="white", linewidths=2.5)
    ax.grid(visible=False)
    ax.set_xticks([0, length], ["0", f"{length:,}"])
    ax.set_title(f"{unseen.any(axis=0).sum()} of {pairs} unseen", weight="normal", size=11)
    ax.set_xlabel("position (tokens)")
    return image


def score_by_distance(ax: "Axes", config: Config, lengths: Sequence[int]) -> "Axes":
    """Draw how the score of a query with an equal key falls with their distance, for the base of each length.

    A line ends at its length. It is a mean of :func:`minidecilm.rope.score_by_distance` over distances about
    a tenth apart, since scores go up and down in waves; how far is shaded.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.score_by_distance(ax, preset("decilm-6b"), [4096])
    >>> ax.lines[0].get_ydata().round(2)[[0, -1]]
    array([0.97, 0.02])
    """
    for index, length in enumerate(lengths):
        edges = np.unique(np.geomspace(1, length, 100).astype(int))
        score = rope.score_by_distance(
            np.arange(1, length), rope.dynamic_ntk_base(length, config), config.head_dim
        )
        stretches = np.split(score, edges[1:-1] - 1)
        low, mean, high = (np.array([f(part) for part in stretches]) for f in (np.min, np.mean, np.max))
        color = _shade(index, len(lengths))
        ax.plot(edges[:-1], mean, color=color, label=f"{length:,} tokens")
        ax.fill_between(edges[:-1], low, high, color=color, alpha=0.2, linewidth=0)
    logarithmic(ax, "x", [4**k for k in range(9) if 4**k <= max(lengths)])
    ax.set_title("Score of equal vectors by distance")
    ax.set(xlabel="distance (tokens)", ylabel="score (share of distance 0)")
    ax.legend(title="base of a text of", loc="upper right")
    return ax
