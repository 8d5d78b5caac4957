"""Which layers of SmolLM2-135M need their KV heads, beside the heads that DeciLM-6b's layers were given.

Draws ``analysis/results/smollm2.json``, which ``analysis/smollm2.py`` measures.
"""

import json

from analysis.common import RESULTS, Save, run
from minidecilm import preset
from minidecilm.plots import gallery


def main(save: Save) -> None:
    result = json.loads((RESULTS / "smollm2.json").read_text(encoding="utf-8"))
    extra_losses = [{1: loss} for loss in result["extra_loss_with_one_kv_head"]]

    title = "SmolLM2-135M: loss when one layer's\n3 KV heads are pooled to 1"
    other = ("DeciLM-6b", preset("decilm-6b"))
    save("smollm2-sensitivity", gallery.sensitivity_and_heads, extra_losses, title, *other)


if __name__ == "__main__":
    run(main, __doc__)
