"""How many rows of 4,096 tokens fit memories of 24, 40 and 80 GB beside the weights."""

from analysis.common import Save, compared, run
from minidecilm.plots import gallery


def main(save: Save) -> None:
    save("largest-batch", gallery.largest_batch, compared())


if __name__ == "__main__":
    run(main, __doc__)
