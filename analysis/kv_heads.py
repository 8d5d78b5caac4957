"""How many KV heads each layer has: what a search chose for DeciLM and DeciCoder, beside Llama 2 7B's 32."""

from analysis.common import Save, models, run
from minidecilm.plots import gallery


def main(save: Save) -> None:
    configs = models("decilm-6b", "decilm-7b", "decicoder-6b", "llama-2-7b")
    title = "DeciLM has 1, 2 or 4 KV heads in a layer, Llama 2 32"
    save("kv-heads", gallery.kv_heads, configs, columns=2, title=title)


if __name__ == "__main__":
    run(main, __doc__)
