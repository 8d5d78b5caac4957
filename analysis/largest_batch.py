"""How many rows of 4,096 tokens fit memories of 24, 40 and 80 GB beside the weights."""

from pathlib import Path

from analysis.common import FIGURES, compared, run, save
from minidecilm.plots import gallery


def main(out: Path = FIGURES) -> None:
    save("largest-batch", out, gallery.largest_batch, compared())


if __name__ == "__main__":
    run(main, __doc__)
