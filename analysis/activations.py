"""How large the activations of the demo model are, layer by layer, on one story."""

import minidecilm
from analysis.attention import STORY
from analysis.common import Save, run
from minidecilm import Recorder
from minidecilm.plots import gallery


def main(save: Save) -> None:
    lm = minidecilm.load("demo")
    seen = Recorder(gallery.ACTIVATIONS.values())
    lm.model([lm.tokenizer.encode(STORY)], observer=seen)
    kv_heads = lm.config.num_key_value_heads_per_layer
    save("activations", gallery.activations, "demo", seen.values, kv_heads)


if __name__ == "__main__":
    run(main, __doc__)
