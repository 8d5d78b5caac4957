"""Figures of speed: what a device allows, and what was measured on it.

Arguments that functions share are described in :mod:`minidecilm.plots`.
"""

from collections.abc import Collection, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from minidecilm import costs
from minidecilm.config import Config
from minidecilm.costs import Device, PublishedThroughput
from minidecilm.plots.axes import categories, label_ends, logarithmic, write_at
from minidecilm.plots.style import GREY, color_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def throughput(
    ax: "Axes",
    configs: Mapping[str, Config],
    device: Device,
    batch_sizes: Sequence[int],
    context: int = 1024,
    measured: Mapping[str, Sequence[PublishedThroughput]] | None = None,
    weights: str | None = None,
) -> "Axes":
    """Draw the most tokens per second a device allows in decode against batch size, up to a full memory.

    Of the `batch_sizes`, ascending, a line joins those that fit, and the most that do. What was `measured`,
    by title of the model, is drawn as dots with their share of what the device allows.

    Raises
    ------
    ValueError
        If no model leaves room for a row.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> from minidecilm.costs import device
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.throughput(ax, {"Llama 2 7B": preset("llama-2-7b")}, device("a10"), [1, 8, 64])
    >>> ax.lines[0].get_xdata().tolist()
    [1, 8, 19]
    """
    ends = []
    for index, (name, config) in enumerate(configs.items()):
        color = color_of(name, index)
        most = costs.largest_batch(config, device.memory_bytes, context, weights)
        sizes = sorted({*(size for size in batch_sizes if size < most), min(most, batch_sizes[-1])} - {0})
        if not sizes:
            continue
        bound = [costs.decode_tokens_per_second(config, device, size, context, weights) for size in sizes]
        ax.plot(sizes, bound, color=color, label=name)
        ends.append(f"{name}: memory full at {most:,}" if sizes[-1] == most else name)
        for point in (measured or {}).get(name, ()):
            share = point.tokens_per_second / point.bound(config, context)
            place = (point.batch_size, point.tokens_per_second)
            ax.plot(*place, "o", color=color, label=f"{name}, {point.engine}, measured")
            text = f"{point.engine}: {point.tokens_per_second:,.5g},\n{share:.0%} of the bound"
            write_at(ax, text, place, (7, 3), color, va="center")
    if not ax.lines:
        raise ValueError(
            f"{device.title}: {' and '.join(configs)} need all of its {device.memory_bytes:,} bytes "
            f"before the first row of {context:,} tokens"
        )
    logarithmic(ax, "x", [size for size in batch_sizes if size in (4**k for k in range(9))])
    logarithmic(ax, "y", [1, 10, 100, 1000, 10_000, 100_000])
    ax.set_title(f"Decode on {device.title}: most it allows")
    ax.set(xlabel=f"batch size (rows of {context:,} tokens)", ylabel="tokens per second, all rows")
    ax.set_ylim(top=2 * ax.get_ylim()[1])
    label_ends(ax, ends, below=True)
    return ax


def factors(
    ax: "Axes", segments: Mapping[str, tuple[float, float]], predicted: Collection[str] = ()
) -> "Axes":
    """Draw factors between throughputs as lengths on a logarithmic axis: they add as factors multiply.

    `segments` are from and to, in tokens per second, by what changed between them; those that nobody
    measured, the `predicted`, are fainter.

    Examples
    --------
    >>> from minidecilm import plots
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.factors(ax, {"another engine": (10, 30)})
    >>> [text.get_text() for text in ax.texts]
    ['3.00x']
    """
    for row, (name, (start, stop)) in enumerate(segments.items()):
        alpha = 0.35 if name in predicted else 0.8
        ax.plot([start, stop], [row, row], color=GREY, alpha=alpha, lw=20, solid_capstyle="butt", label=name)
        middle = (start * stop) ** 0.5
        ax.annotate(f"{stop / start:.2f}x", (middle, row), ha="center", va="center", weight="bold")
    ends = sorted({end for segment in segments.values() for end in segment})
    logarithmic(ax, "x", ends)
    ax.set_xlim(ends[0] / 1.1, ends[-1] * 1.1)
    categories(ax.yaxis, list(segments))
    ax.set_ylim(len(segments) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("tokens per second (logarithmic)")
    return ax


def roofline(
    ax: "Axes",
    configs: Mapping[str, Config],
    device: Device,
    batch_sizes: Sequence[int] = (1, 8, 64),
    context: int = 1024,
    prompt: int = 512,
    weights: str | None = None,
) -> "Axes":
    """Draw the arithmetic a device allows against operations per byte, and where decode and prefill stand.

    Every dot is a pass: decode at each batch size, from left to right, and last the prefill of `prompt`
    tokens. It stands at or under the roof, since some of its operations wait for memory and others for
    arithmetic.

    References
    ----------
    Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model", 2009.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> from minidecilm.costs import device
    >>> with plots.style():
    ...     figure, ax = plots.new_figure()
    ...     ax = plots.roofline(ax, {"DeciLM-6b": preset("decilm-6b")}, device("a10"), batch_sizes=[1])
    >>> intensity = ax.lines[1].get_xdata()  # of decode, and of a prompt
    >>> bool(intensity[0] < 2 < 100 < intensity[1])
    True
    """
    passes = [(size, 1, context - 1) for size in batch_sizes] + [(1, prompt, 0)]
    names = [*map(str, batch_sizes), "prompt"]
    storages = {weights or config.torch_dtype for config in configs.values()}
    peak = max(device.fastest_flops_per_second(storage) for storage in storages)
    intensities = np.geomspace(0.5, 2048, 60)
    roof = np.minimum(intensities * device.bytes_per_second, peak) / 1e12
    ax.plot(intensities, roof, color=GREY, linewidth=1.6, label=f"most that {device.title} allows")
    for index, (name, config) in enumerate(configs.items()):
        times = [costs.operation_times(config, device, *shape, weights) for shape in passes]
        flops, nbytes, seconds = (
            np.array([sum(getattr(time, key) for time in row) for row in times])
            for key in ("flops", "nbytes", "seconds")
        )
        color = color_of(name, index)
        ax.plot(flops / nbytes, flops / seconds / 1e12, "os^v"[index % 4], color=color, label=name)
        for text, x, y in zip(names, flops / nbytes, flops / seconds / 1e12, strict=True):
            if index and text == "prompt":
                continue  # the first model's word is for all of them
            offset, ha, va = ((7, -6), "left", "top") if index % 2 else ((-6, 5), "right", "bottom")
            write_at(ax, text, (x, y), offset, color, ha=ha, va=va)
    logarithmic(ax, "x", [16**k for k in range(4)])
    top = int(np.ceil(np.log10(roof[-1])))
    ticks = [10.0**k for k in range(top - 5, top + 1)]
    if roof[-1] < 30 * roof[0]:  # little more than one decade
        ticks = [digit * tick for tick in ticks for digit in (1, 2, 5) if digit * tick < 2 * roof[-1]]
    logarithmic(ax, "y", ticks, "{:,.4g}".format)
    ax.set_ylim(roof[0] / 2, 3 * roof[-1])
    limits = f"{device.bytes_per_second / 1e9:,.4g} GB/s,\n{peak / 1e12:,.4g} TFLOP/s"
    ax.annotate(limits, (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=10)
    ax.set_title(fill(device.title, 36))
    ax.set(xlabel="arithmetic intensity (FLOP per byte)", ylabel="TFLOP per second")
    ax.legend(
        handles=ax.lines[1:],
        loc="lower right",
        title=f"batch in decode,\n{context:,} tokens cached;\nprompt: {prompt:,} tokens",
        alignment="left",
        title_fontsize=10,
    )
    return ax
