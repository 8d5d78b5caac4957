"""DeciLM-6b from embedding to head: in every layer, the query heads that share a KV head."""

from pathlib import Path

from analysis.common import FIGURES, run, save
from minidecilm import plots, preset


def main(out: Path = FIGURES) -> None:
    config = preset("decilm-6b")
    save(
        "architecture",
        lambda figure, ax: plots.architecture(ax, "DeciLM-6b", config),
        out,
        size=plots.architecture_size(config),
    )


if __name__ == "__main__":
    run(main, __doc__)
