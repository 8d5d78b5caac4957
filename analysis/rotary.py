"""DeciLM-6b's rotary embedding up to four times its context: base, wavelengths, angles, score by distance."""

import numpy as np

from analysis.common import Save, models, run
from minidecilm import plots
from minidecilm.plots import gallery


def main(save: Save) -> None:
    decilm, three = models("decilm-6b"), models("decilm-6b", "decilm-7b", "llama-2-7b")
    lengths = np.arange(64, 16384 + 1, 64)

    title = "Dynamic NTK raises the rotary base\nbeyond the context of training"
    save("rope-base", gallery.rope_base, three, lengths, title)
    title = "Tokens in which each pair turns once:\nthe longer the text, the more"
    save("wavelengths", gallery.wavelengths, decilm, title)
    title = "Dynamic NTK shows no pair an angle unseen in training"
    save("rotary-angles", gallery.angles, decilm, title)
    decay = (plots.score_by_distance, decilm["DeciLM-6b"], (4096, 8192, 16384))
    title = "The base of a longer text lets a\nquery see farther"
    save("score-by-distance", gallery.panel, *decay, size=(5.2, 3.4), title=title)


if __name__ == "__main__":
    run(main, __doc__)
