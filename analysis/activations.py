"""How large the activations of the demo model are, layer by layer, on one story."""

from pathlib import Path

import minidecilm
from analysis.attention import STORY
from analysis.common import FIGURES, run, save
from minidecilm import Recorder, plots
from minidecilm.observe import root_mean_square

STAGES = {
    "hidden state": "hidden_states",
    "added by attention": "o_proj",
    "added by feed-forward": "down_proj",
}


def main(out: Path = FIGURES) -> None:
    lm = minidecilm.load("demo")
    seen = Recorder(list(STAGES.values()))
    lm.model([lm.tokenizer.encode(STORY)], observer=seen)
    sizes = {
        name: [root_mean_square(seen.values[layer, stage]) for layer in range(len(lm.config.layers))]
        for name, stage in STAGES.items()
    }

    def draw(figure, ax):
        plots.activations(ax, sizes)
        ax.set_title("Size of the demo model's activations")

    save("activations", draw, out, size=(5.2, 3.2))


if __name__ == "__main__":
    run(main, __doc__)
