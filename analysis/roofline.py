"""Operations per byte: why decode waits for memory, and how a small cache lets batches reach the roof."""

from pathlib import Path

from analysis.common import FIGURES, models, run, save
from minidecilm import costs, plots


def main(out: Path = FIGURES) -> None:
    configs = models("decilm-6b", "llama-2-7b")
    a10, cpu = costs.device("a10"), costs.device("cpu-epyc")

    def on_a10(figure, ax):
        plots.roofline(ax, configs, a10)
        ax.set_title("Decode on an A10 waits for memory;\na batch of DeciLM-6b waits less")

    def on_cpu(figure, ax):
        plots.roofline(ax, configs, cpu)
        ticks = [0.02, 0.05, 0.1, 0.2]  # little more than one decade
        ax.set_yticks(ticks, map(str, ticks))

    save("roofline", on_a10, out, size=(5.0, 3.8))
    save("roofline-cpu", on_cpu, out, size=(5.0, 3.8))


if __name__ == "__main__":
    run(main, __doc__)
