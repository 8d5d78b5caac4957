"""Axes and labels: what several figures need and matplotlib has no single call for."""

from collections.abc import Callable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from minidecilm.ops import Array
from minidecilm.plots.style import ink

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_Artist = TypeVar("_Artist", bound=Any)


def label_ends(ax: "Axes", labels: Sequence[str] | None = None, below: bool = False) -> None:
    """Write the label of every line at its right end, in its colour, and move labels apart that would meet.

    `labels` are given for each labelled line that is more than a dot, or else the lines' own. With `below`
    they are written from the end downwards, not beside it.
    """
    lines = [line for line in labelled(ax.get_lines()) if len(points_of(line)) > 1]
    texts = [
        fill(text, 17, break_on_hyphens=False) for text in labels or [str(line.get_label()) for line in lines]
    ]
    figure = root_figure(ax)
    figure.draw_without_rendering()  # places the axes, so that distances are known
    last = [points_of(line)[-1] for line in lines]
    ends = [ax.transData.transform(point)[1] * 72 / figure.dpi for point in last]  # in points
    line_height = 1.25 * 10
    heights = [line_height * (text.count("\n") + 1) for text in texts]
    order = sorted(range(len(lines)), key=ends.__getitem__)
    for index, y in zip(order, _spread([ends[i] for i in order], [heights[i] for i in order]), strict=True):
        ax.annotate(
            texts[index],
            (last[index][0], last[index][1]),
            xytext=(5, y - ends[index]),
            textcoords="offset points",
            va="top" if below else "center",
            fontsize=10,
            color=ink(lines[index].get_color()),
            annotation_clip=False,
        )


def _spread(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Move ascending positions as little as needed for things of these heights not to overlap.

    How far a thing stands above where it would if all touched must not fall from one to the next. Of such
    sequences the nearest to what is wanted is known as isotonic regression, here as a maximum of minima.
    """
    touching = np.cumsum(heights) - np.divide(heights, 2)
    above, count = np.subtract(wanted, touching), len(heights)
    mean = {(i, j): above[i:j].mean() for i in range(count) for j in range(i + 1, count + 1)}
    return [
        touching[item] + max(min(mean[i, j] for j in range(item + 1, count + 1)) for i in range(item + 1))
        for item in range(count)
    ]


def points_of(line: "Line2D") -> Array:
    """Return what a line joins: (N, 2) float array."""
    return np.asarray(line.get_xydata(), np.float64)


def root_figure(artist: "Artist") -> "Figure":
    """Return the figure that something is drawn in."""
    figure = artist.get_figure(root=True)
    if figure is None:
        raise ValueError("axes: expected some of a figure, found removed ones")
    return figure


def labelled(artists: Sequence[_Artist]) -> list[_Artist]:
    """Those that hold data: guides and decoration have a label that begins with an underscore."""
    return [artist for artist in artists if not str(artist.get_label()).startswith("_")]


def write_at(
    ax: "Axes", text: str, point: tuple[float, float], offset: tuple[float, float], color: Any, **align: Any
) -> None:
    """Write words in the ink of a colour, `offset` points from what they belong to; `ha` and `va` align."""
    ax.annotate(text, point, offset, textcoords="offset points", fontsize=10, color=ink(color), **align)


def binary(nbytes: float, unit: str = "B") -> str:
    """Write bytes with a binary prefix.

    Examples
    --------
    >>> binary(25_600), binary(104_857_600), binary(2 * 1024**3)
    ('25 KiB', '100 MiB', '2 GiB')
    """
    prefixes = ("", "Ki", "Mi", "Gi", "Ti")
    step = 0
    while nbytes >= 1024 and step < len(prefixes) - 1:
        nbytes, step = nbytes / 1024, step + 1
    return f"{nbytes:.4g} {prefixes[step]}{unit}"


def categories(axis: "Axis", names: Sequence[str]) -> None:
    """Stand names at 0, 1, 2 ... of an axis."""
    from matplotlib.ticker import FixedFormatter, FixedLocator

    axis.set_major_locator(FixedLocator(range(len(names))))
    axis.set_major_formatter(FixedFormatter([fill(name, 20, break_on_hyphens=False) for name in names]))


def logarithmic(
    ax: "Axes",
    axis: str,
    ticks: Sequence[float],
    text: Callable[[float], str] = "{:,.0f}".format,
) -> None:
    """Make an axis ("x" or "y") logarithmic, with these ticks and no others, written by `text`."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set(**{f"{axis}scale": "log"})
    drawn = {"x": ax.xaxis, "y": ax.yaxis}[axis]
    drawn.set_major_locator(FixedLocator(ticks))
    drawn.set_minor_locator(NullLocator())
    drawn.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def plain(ax: "Axes") -> None:
    """Make the y axis logarithmic, with ticks at 1, 2 and 5 times powers of ten, written out."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:,.4g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
