"""Operations per byte: why decode waits for memory, and how a small cache lets batches reach the roof."""

from analysis.common import Save, models, run
from minidecilm import costs
from minidecilm.plots import gallery


def main(save: Save) -> None:
    configs = models("decilm-6b", "llama-2-7b")
    title = "Decode on an A10 waits for memory;\na batch of DeciLM-6b waits less"
    save("roofline", gallery.roofline, configs, costs.device("a10"), title=title)
    save("roofline-cpu", gallery.roofline, configs, costs.device("cpu-epyc"))


if __name__ == "__main__":
    run(main, __doc__)
