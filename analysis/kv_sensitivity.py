"""Which layers of SmolLM2-135M need their KV heads, beside the heads that DeciLM-6b's layers were given.

Draws ``analysis/results/smollm2.json``, which ``analysis/smollm2.py`` measures.
"""

import json
from pathlib import Path

from analysis.common import FIGURES, RESULTS, run, save
from minidecilm import plots, preset


def main(out: Path = FIGURES) -> None:
    result = json.loads((RESULTS / "smollm2.json").read_text(encoding="utf-8"))
    extra_losses = [{1: loss} for loss in result["extra_loss_with_one_kv_head"]]

    def draw(figure, axes):
        plots.sensitivity(axes[0], extra_losses)
        axes[0].legend().remove()
        axes[0].set_title("SmolLM2-135M: loss when one layer's\n3 KV heads are pooled to 1")
        plots.kv_heads(axes[1], "DeciLM-6b", preset("decilm-6b").num_key_value_heads_per_layer)
        axes[1].set_title("DeciLM-6b: KV heads it was given")

    save("smollm2-sensitivity", draw, out, rows=2, size=(4.8, 4.6))


if __name__ == "__main__":
    run(main, __doc__)
