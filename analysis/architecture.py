"""DeciLM-6b from embedding to head: in every layer, the query heads that share a KV head."""

from pathlib import Path

from analysis.common import FIGURES, models, run, save
from minidecilm.plots import gallery


def main(out: Path = FIGURES) -> None:
    save("architecture", out, gallery.architecture, models("decilm-6b"))


if __name__ == "__main__":
    run(main, __doc__)
