"""How many rows of 4,096 tokens fit memories of 24, 40 and 80 GB beside the weights."""

from pathlib import Path

from analysis.common import FIGURES, compared, run, save
from minidecilm import plots


def main(out: Path = FIGURES) -> None:
    memories = {f"{size} GB": size * 10**9 for size in (24, 40, 80)}
    save(
        "largest-batch",
        lambda figure, ax: plots.largest_batch(ax, compared(), memories),
        out,
        size=(5.4, 3.8),
    )


if __name__ == "__main__":
    run(main, __doc__)
