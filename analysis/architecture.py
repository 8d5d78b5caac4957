"""DeciLM-6b from embedding to head: in every layer, the query heads that share a KV head."""

from analysis.common import Save, models, run
from minidecilm.plots import gallery


def main(save: Save) -> None:
    save("architecture", gallery.architecture, models("decilm-6b"))


if __name__ == "__main__":
    run(main, __doc__)
