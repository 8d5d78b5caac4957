"""Figures into files, and the numbers that are drawn in them into a table."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidecilm.files import replacing
from minidecilm.ops import Array
from minidecilm.plots.axes import labelled, points_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What a figure can be written as, and what is left out so that the same figure gives the same bytes.
FORMATS: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def check_suffix(path: Path) -> str:
    """Return the format that the name of a file asks for.

    Raises
    ------
    ValueError
        If it is none of :data:`FORMATS`.

    Examples
    --------
    >>> check_suffix(Path("heads.svg"))
    'svg'
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ValueError(f"{path}: expected a name that ends in .{', .'.join(FORMATS)}")
    return suffix


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure as SVG, PNG or PDF, by its suffix; the same figure gives the same bytes.

    Call it inside the :func:`minidecilm.plots.style` the figure was drawn in. The file appears whole or not
    at all.

    Raises
    ------
    ValueError
        For another suffix.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    form = check_suffix(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=form, metadata=FORMATS[form])


def save_numbers(figure: "Figure", path: str | Path) -> None:
    """Write the numbers that a figure shows as CSV, one row per point, bar or cell.

    The columns are the panel (the label of the axes, or else their title), the name of the series, then what
    the axes say, units included: the line of their labels that is nearest to them.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from minidecilm import plots
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.kv_heads(ax, "mine", [4, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plots.save_figure(figure, Path(folder) / "heads.svg")
    ...     plots.save_numbers(figure, Path(folder) / "heads.csv")
    ...     print((Path(folder) / "heads.csv").read_text())
    panel,series,layer,KV heads
    mine: 5 in all,mine,0,4
    mine: 5 in all,mine,1,1
    <BLANKLINE>
    """
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    cells = any(ax.images for ax in panels)
    header = [
        "panel",
        "series",
        _joined(ax.get_xlabel().partition("\n")[0] for ax in panels),
        _joined(ax.get_ylabel().rpartition("\n")[2] for ax in panels),
    ]
    if cells:
        header.append(_joined(image.get_label() for ax in panels for image in ax.images))
    with replacing(Path(path)) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for ax in panels:
            title = ax.get_label() or _flat(ax.get_title("left"))
            writer.writerows([title, series, *map(_short, values)] for series, *values in _points(ax))


def _joined(labels: Iterator[Any]) -> str:
    return " | ".join(dict.fromkeys(_flat(label) for label in labels if label))


def _short(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"


def _points(ax: "Axes") -> Iterator[tuple[Any, ...]]:
    """Yield series, x, y, and the value where it is drawn as a colour."""
    from matplotlib.container import BarContainer

    x_names, y_names = _names(ax.xaxis), _names(ax.yaxis)
    for line in labelled(ax.get_lines()):
        for x, y in points_of(line):
            yield _flat(line.get_label()), x_names.get(x, x), y_names.get(y, y)
    for bars in ax.containers:
        if isinstance(bars, BarContainer) and labelled([bars]):
            for bar in bars.patches:
                x, y = bar.get_center()
                if bars.orientation == "horizontal":
                    yield _flat(bars.get_label()), bar.get_width(), y_names.get(round(y, 6), y)
                else:
                    yield _flat(bars.get_label()), x_names.get(round(x, 6), x), bar.get_height()
    for image in ax.images:
        values: Array = np.ma.filled(np.ma.asarray(image.get_array(), np.float64), np.nan)
        left, right, bottom, top = image.get_extent()
        rows, columns = values.shape
        if image.origin == "upper":
            bottom, top = top, bottom
        for row, column in np.argwhere(np.isfinite(values)):
            x = left + (column + 0.5) * (right - left) / columns
            y = bottom + (row + 0.5) * (top - bottom) / rows
            yield "", *(float(f"{number:.6g}") for number in (x, y)), float(f"{values[row, column]:.4g}")


def _names(axis: Any) -> dict[float, str]:
    """Names that stand at the ticks of an axis of categories: position to name."""
    from matplotlib.ticker import FixedFormatter

    formatter = axis.get_major_formatter()
    if not isinstance(formatter, FixedFormatter):
        return {}
    return dict(zip(axis.get_majorticklocs().tolist(), map(_flat, formatter.seq), strict=False))


def _flat(text: Any) -> str:
    """Write a label in one line."""
    return " ".join(str(text).split())
