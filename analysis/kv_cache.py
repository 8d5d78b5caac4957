"""Memory of the KV cache, against the context of one row and against the number of rows."""

from pathlib import Path

from analysis.common import FIGURES, compared, run, save
from minidecilm import costs, plots

MEMORY = 24 * 10**9


def main(out: Path = FIGURES) -> None:
    configs = compared()
    ratio = costs.kv_cache_bytes(configs["Llama 2 7B"]) / costs.kv_cache_bytes(configs["DeciLM-6b"])

    rows = {name: costs.rows_that_fit(config, MEMORY, context=4096) for name, config in configs.items()}

    def by_context(figure, ax):
        plots.kv_cache_by_context(ax, configs, [2**k for k in range(8, 16)])
        ax.set_title(f"A token of Llama 2 7B takes {ratio:g} times\nthe cache of one of DeciLM-6b")

    def by_batch(figure, ax):
        plots.kv_cache_by_batch(ax, configs, [2**k for k in range(9)], context=4096)
        ax.axhline(MEMORY, color="0.55", linestyle="--", linewidth=1.2)
        ax.annotate("24 GB", (1, MEMORY), (0, 4), textcoords="offset points", fontsize=10)
        ax.set_title(
            f"The cache alone fills 24 GB at {rows['Llama 2 7B']} rows\n"
            f"of Llama 2 7B, {rows['DeciLM-6b']} of DeciLM-6b"
        )

    save("kv-cache-context", by_context, out, size=(5.4, 3.4))
    save("kv-cache-batch", by_batch, out, size=(5.4, 3.4))


if __name__ == "__main__":
    run(main, __doc__)
