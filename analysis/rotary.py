"""DeciLM-6b's rotary embedding up to four times its context: base, wavelengths, angles, score by distance."""

from pathlib import Path

import numpy as np

from analysis.common import FIGURES, models, run, save
from minidecilm import plots, preset

LENGTHS = (4096, 8192, 16384)


def main(out: Path = FIGURES) -> None:
    config = preset("decilm-6b")

    def base(figure, ax):
        plots.rope_base(ax, models("decilm-6b", "decilm-7b", "llama-2-7b"), np.arange(64, 16384 + 1, 64))
        ax.set_title("Dynamic NTK raises the rotary base\nbeyond the context of training")

    def wavelengths(figure, ax):
        plots.wavelengths(ax, config, LENGTHS)
        ax.set_title("Tokens in which each pair turns once:\nthe longer the text, the more")

    def angles(figure, axes):
        plots.rotary_angles(axes, config, LENGTHS)
        figure.suptitle("Dynamic NTK shows no pair an angle unseen in training", weight="bold")

    def decay(figure, ax):
        plots.score_by_distance(ax, config, LENGTHS)
        ax.set_title("The base of a longer text lets a\nquery see farther")

    save("rope-base", base, out, size=(5.2, 3.2))
    save("wavelengths", wavelengths, out, size=(5.4, 3.4))
    save("rotary-angles", angles, out, rows=2, columns=3, size=(6.0, 4.4), sharey=True)
    save("score-by-distance", decay, out, size=(5.2, 3.4))


if __name__ == "__main__":
    run(main, __doc__)
