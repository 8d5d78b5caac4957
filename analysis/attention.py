"""Attention of the demo model on one story: maps of a layer by KV head, and two numbers of every head."""

from pathlib import Path

import minidecilm
from analysis.common import FIGURES, run, save
from minidecilm import Recorder, plots
from minidecilm.observe import attention_entropy, first_token_share

LAYER = 1
STORY = (
    "Once upon a time, there was a little fox named Sam who lived in a den on a hill with his uncle. "
    "One day, Sam was walking at the market."
)


def main(out: Path = FIGURES) -> None:
    lm = minidecilm.load("demo")
    kv_heads = lm.config.num_key_value_heads_per_layer
    seen = Recorder(["attention_weights"])
    lm.model([lm.tokenizer.encode(STORY)], observer=seen)
    weights = [seen.values[layer, "attention_weights"][0] for layer in range(len(kv_heads))]  # each (H, T, T)
    rows, columns = plots.attention_grid(len(weights[LAYER]), kv_heads[LAYER])

    def maps(figure, axes):
        plots.attention_maps(axes, weights[LAYER], kv_heads[LAYER])
        figure.suptitle(f"Layer {LAYER}, demo model: {columns} query heads read each KV head", weight="bold")

    def entropy(figure, ax):
        plots.by_head(ax, [attention_entropy(layer).mean(axis=-1) for layer in weights], kv_heads)
        ax.set_title("How widely each head looks")
        ax.set_ylabel("mean entropy of attention (bits)")

    def first_token(figure, ax):
        plots.by_head(ax, [first_token_share(layer) for layer in weights], kv_heads)
        ax.set_title("How much of its attention each\nhead gives the first token")
        ax.set_ylabel("share of attention")

    save("attention-maps", maps, out, rows=rows, columns=columns, size=(6.0, 3.6), sharex=True, sharey=True)
    save("attention-entropy", entropy, out)
    save("attention-first-token", first_token, out)


if __name__ == "__main__":
    run(main, __doc__)
