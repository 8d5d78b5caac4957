"""How many KV heads each layer has: what a search chose for DeciLM and DeciCoder, beside Llama 2 7B's 32."""

from pathlib import Path

from analysis.common import FIGURES, models, run, save
from minidecilm import plots


def main(out: Path = FIGURES) -> None:
    configs = models("decilm-6b", "decilm-7b", "decicoder-6b", "llama-2-7b")

    def draw(figure, axes):
        for ax, (name, config) in zip(axes.flat, configs.items(), strict=True):
            plots.kv_heads(ax, name, config.num_key_value_heads_per_layer, most=32)
            ax.label_outer()
        figure.suptitle("DeciLM has 1, 2 or 4 KV heads in a layer, Llama 2 32", weight="bold")

    save("kv-heads", draw, out, rows=2, columns=2, size=(5.6, 4.0))


if __name__ == "__main__":
    run(main, __doc__)
