"""One look for every figure: colours that colour-blind readers can tell apart, a light and a dark variant.

Text is large for the size of a figure, so that it can be read when the figure takes a third of a page.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours of Okabe and Ito, "Color Universal Design", 2008: https://jfly.uni-koeln.de/color/
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY = "#E69F00", "#56B4E9", "#8A8A8A"

#: One colour per model, the same in every figure.
MODEL_COLORS = {
    "DeciLM-6b": BLUE,
    "Llama 2 7B": VERMILION,
    "DeciLM-7B": GREEN,
    "Mistral 7B": PURPLE,
    "DeciCoder-6B": ORANGE,
    "DeciLM-6b padded to 4 heads": SKY,
    "Llama 3 8B": "#9A6324",
}

# For models without a colour of their own.
_OTHERS = ("#B58900", "#7B3294", "#5E8C31", "#A6611A", GREY)

_SHARED: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "image.cmap": "viridis",
    "svg.fonttype": "path",  # letters are drawn: no font is needed to see them
    "svg.hashsalt": "minidecilm",  # the same figure gives the same file
    "savefig.dpi": 160,
}


def _variant(background: str, text: str, grid: str) -> Any:  # keys are a type of matplotlib's own
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    faces = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    return {
        **_SHARED,
        **dict.fromkeys(inked, text),
        **dict.fromkeys(faces, background),
        "grid.color": grid,
    }


#: Settings of matplotlib for a light page.
#:
#: :meta hide-value:
LIGHT = _variant(background="#ffffff", text="#1c1e21", grid="#dcdfe3")
#: Settings of matplotlib for a dark page.
#:
#: :meta hide-value:
DARK = _variant(background="#14181e", text="#e6e8eb", grid="#363c45")


@contextmanager
def style(dark: bool = False) -> Iterator[None]:
    """Draw and save in the shared style, whatever matplotlib is set to outside the block.

    Examples
    --------
    >>> from minidecilm import plots
    >>> with plots.style(dark=True):
    ...     figure, ax = plots.new_figure()
    >>> figure.get_facecolor()[:3] < (0.2, 0.2, 0.2)
    True
    """
    matplotlib = _import_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(DARK if dark else LIGHT)
        yield


def _import_matplotlib() -> Any:
    """Import matplotlib, which fails where MPLBACKEND names a window that is not installed, as in a notebook.

    Figures here belong to no window.
    """
    first = "matplotlib" not in sys.modules
    window = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if window is not None:
        os.environ["MPLBACKEND"] = window
        if first:
            with suppress(ValueError):
                matplotlib.rcParams["backend"] = window
    return matplotlib


def new_figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (4.8, 3.2), **options: Any
) -> tuple["Figure", Any]:
    """Make a figure that belongs to no window, and its axes.

    Parameters
    ----------
    rows, columns : int
        Panels.
    size : (float, float)
        Width and height in inches.
    **options
        As for :meth:`matplotlib.figure.Figure.subplots`, such as ``sharey=True``.

    Returns
    -------
    figure : Figure
    axes : Axes, or array of Axes if there is more than one panel

    Examples
    --------
    >>> from minidecilm import plots
    >>> with plots.style():
    ...     figure, axes = plots.new_figure(rows=2, columns=3, sharey=True)
    >>> axes.shape
    (2, 3)
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def color_of(model: str, index: int) -> str:
    """Colour of a model by its title, or of the `index`-th thing that has no colour of its own.

    Examples
    --------
    >>> color_of("DeciLM-6b", 0) == color_of("DeciLM-6b", 3), color_of("mine", 0) == color_of("mine", 1)
    (True, False)
    """
    return MODEL_COLORS.get(model, _OTHERS[index % len(_OTHERS)])


def ink(color: Any) -> tuple[float, ...]:
    """Mix a colour with that of the text, so that words in it can be read on either background."""
    import matplotlib
    from matplotlib.colors import to_rgb

    text = to_rgb(matplotlib.rcParams["text.color"])
    return tuple(0.6 * own + 0.4 * other for own, other in zip(to_rgb(color), text, strict=True))
