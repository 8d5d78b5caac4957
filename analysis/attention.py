"""Attention of the demo model on one story: maps of a layer by KV head, and two numbers of every head."""

import minidecilm
from analysis.common import Save, run
from minidecilm import Recorder
from minidecilm.plots import gallery

LAYER = 1
STORY = (
    "Once upon a time, there was a little fox named Sam who lived in a den on a hill with his uncle. "
    "One day, Sam was walking at the market."
)


def main(save: Save) -> None:
    lm = minidecilm.load("demo")
    seen = Recorder(["attention_weights"])
    lm.model([lm.tokenizer.encode(STORY)], observer=seen)
    run_of = ("demo", seen.values, lm.config.num_key_value_heads_per_layer)
    save("attention-maps", gallery.attention, *run_of, LAYER)
    save("attention-entropy", gallery.attention_entropy, *run_of)
    save("attention-first-token", gallery.attention_first_token, *run_of)


if __name__ == "__main__":
    run(main, __doc__)
