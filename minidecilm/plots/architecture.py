"""The layers of a model one below the other, with the query heads that share each KV head.

Arguments that functions share are described in :mod:`minidecilm.plots`.
"""

from typing import TYPE_CHECKING

from minidecilm import costs
from minidecilm.config import Config
from minidecilm.plots.axes import categories
from minidecilm.plots.style import GREY, color_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def architecture_size(config: Config) -> tuple[float, float]:
    """Width and height in inches that leave room for every layer."""
    return 4.6, 1.5 + 0.19 * len(config.layers)


def architecture(ax: "Axes", name: str, config: Config, index: int = 0) -> "Axes":
    """Draw a model from embedding to head: in each layer a bar per KV head, as wide as its query heads.

    A layer needs about a sixth of an inch in height: see :func:`architecture_size`.

    Examples
    --------
    >>> from minidecilm import plots, preset
    >>> with plots.style():
    ...     config = preset("decilm-6b")
    ...     figure, ax = plots.new_figure(size=plots.architecture_size(config))
    ...     ax = plots.architecture(ax, "DeciLM-6b", config)
    >>> [len(bars) for bars in ax.containers[:4]]  # layers with a first, second, third and fourth KV head
    [32, 12, 3, 3]
    """
    query_heads = config.num_attention_heads_per_layer
    kv_heads = config.num_key_value_heads_per_layer
    most, last = max(query_heads), len(config.layers) - 1
    for head in range(max(kv_heads)):
        layers = [layer for layer, K in enumerate(kv_heads) if head < K]
        widths = [query_heads[layer] // kv_heads[layer] for layer in layers]
        bars = ax.barh(
            layers,
            widths,
            left=[head * width for width in widths],
            height=1,
            color=color_of(name, index),
            edgecolor=ax.get_facecolor(),
            linewidth=4,
            label=f"KV head {head}",
        )
        for layer, bar in zip(layers, bars, strict=True):
            bar.set_gid(f"layer-{layer}-kv-head-{head}")
    cells = range(1, most)
    ax.vlines(cells, -0.5, last + 0.5, color=ax.get_facecolor(), linewidth=0.4, label="_query heads")

    matrix = f"{config.vocab_size:,} \N{MULTIPLICATION SIGN} {config.hidden_size:,}"
    for y, text in ((-1.5, f"embedding, {matrix}"), (last + 1.5, f"RMSNorm and head, {matrix}")):
        ax.barh([y], [most], height=1, color=GREY, alpha=0.3, label="_end")
        ax.annotate(text, (most / 2, y), ha="center", va="center", fontsize=9)
    nbytes = costs.kv_cache_bytes_per_layer(config)
    rows = zip(range(last + 1), kv_heads, nbytes, strict=True)
    for y, heads, cached in [*rows, (last + 1.5, sum(kv_heads), sum(nbytes))]:
        _write_row(ax, most, y, f"{heads}", f"{cached:,} B")
    _write_row(ax, most, -1.5, "KV\nheads", "cache of\na token")

    categories(ax.yaxis, [f"{layer}" for layer in range(last + 1)])
    ax.tick_params(axis="y", length=0, labelsize=9)
    ax.set_ylim(last + 2.2, -2.2)
    ax.set_xlim(0, 1.40 * most)
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    ax.set_title(f"{name}: {last + 1} layers, {sum(kv_heads):,} KV heads")
    ax.set_xlabel(f"{most} query heads; joined: they share a KV head", fontsize=9, loc="left")
    ax.set_ylabel("layer")
    return ax


def _write_row(ax: "Axes", most: int, y: float, *columns: str) -> None:
    """Write a row of the table beside the layers, which are `most` query heads wide."""
    for text, right in zip(columns, (1.15, 1.39), strict=True):
        ax.annotate(text, (right * most, y), ha="right", va="center", fontsize=9)
