"""Decode on an A10: what it allows, what the model card measured, and what the "15 times" are made of.

The card's 14.92 compares DeciLM-6b on Infery LLM at batch 128 with Llama 2 7B on PyTorch at batch 8. On one
engine, PyTorch, it is 4.80, with 8 times the batch; the rest, 3.11, is the other engine and twice the batch
again. If 1,024 tokens are cached, Llama 2's cache leaves no room for such a batch, and at an equal one of 8
the A10's own limits are 1.54 times as high for DeciLM-6b as for Llama 2 7B: the design buys room for rows.

The measurements: https://huggingface.co/Deci/DeciLM-6b
"""

from analysis.common import Save, models, run
from minidecilm import costs, plots
from minidecilm.plots import gallery

CONTEXT = 1024  # the model card does not say how many tokens were cached


def main(save: Save) -> None:
    configs, device = models("decilm-6b", "llama-2-7b"), costs.device("a10")
    llama, torch, infery = costs.MODEL_CARD
    measured = {"DeciLM-6b": [torch, infery], "Llama 2 7B": [llama]}
    title = "Decode on an A10: the most it allows,\nand what the model card measured"
    save("throughput", gallery.throughput, configs, device, CONTEXT, measured=measured, title=title)

    # What the design allows at an equal batch, as a share of what the card reports at 8 times the batch.
    at_equal_batch = costs.decode_tokens_per_second(
        configs["DeciLM-6b"], device, llama.batch_size, CONTEXT
    ) / llama.bound(configs["Llama 2 7B"], CONTEXT)
    slow, middle, fast = (point.tokens_per_second for point in costs.MODEL_CARD)

    predicted = "at an equal batch of 8, if both reached the A10's limits"
    segments = {
        "the claim: Infery, batch 128, over Llama 2 on PyTorch, batch 8": (slow, fast),
        "on PyTorch: the model and 8 times the batch": (slow, middle),
        predicted: (slow, slow * at_equal_batch),
        "from PyTorch to Infery, and twice the batch": (middle, fast),
    }
    drawn = (gallery.panel, plots.factors, segments, [predicted])
    save("fifteen-times", *drawn, size=(5.2, 3.6), title="What the “15 times” are made of")


if __name__ == "__main__":
    run(main, __doc__)
