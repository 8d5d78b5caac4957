"""What the three rotary policies do past the context limit: the demo model (256 tokens) reads 513.

Stories are told in a row, so that a text is long enough; the model was trained on single ones, which is why
its perplexity rises before the limit too.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

import minidecilm
from analysis.common import Save, run
from minidecilm import plots
from minidecilm.experiments import evaluate, feeding
from minidecilm.model import DeciLM
from minidecilm.plots import gallery
from minidecilm.rope import POLICIES

LENGTH, STEP, ROWS = 513, 32, 8
STORIES = Path(__file__).parent / "data" / "held_out.txt"


def texts(lm: minidecilm.LanguageModel) -> np.ndarray:
    """Held-out stories, several in a row in each row of (ROWS, LENGTH) token ids."""
    begin, *rest = lm.tokenizer.encode(STORIES.read_text(encoding="utf-8").replace("\n\n", "\n"))
    rows = np.reshape(rest[: ROWS * (LENGTH - 1)], (ROWS, -1))
    return np.pad(rows, ((0, 0), (1, 0)), constant_values=begin)


def main(save: Save) -> None:
    lm = minidecilm.load("demo")
    ids, lengths = texts(lm), np.arange(STEP, LENGTH, STEP)
    models = {policy: minidecilm.load("demo", rope=policy).model for policy in POLICIES}
    unscaled = DeciLM(replace(lm.config, rope_factor=None), lm.model.weights, lm.backend)
    decoded = {name: feeding.decode_logits(model, ids) for name, model in models.items()}
    recomputed = feeding.prefix_logits(models["reference"], ids, lengths)
    # Under the other two policies a token does not depend on those after it: one call has every beginning.
    one_call = {
        name: recomputed if name == "reference" else model(ids, model.new_cache(*ids.shape))[:, lengths - 1]
        for name, model in models.items()
    }
    order, error = (
        {
            name: feeding.divergence(right[name], decoded[name][:, lengths - 1]).mean(axis=0)
            for name in POLICIES
        }
        for right in (one_call, dict.fromkeys(POLICIES, recomputed))
    )
    perplexity = {
        name: feeding.perplexity_by_position(evaluate.cross_entropy(logits[:, :-1], ids[:, 1:]), STEP)
        for name, logits in {"no scaling": unscaled(ids), **decoded}.items()
    }

    drawn = (gallery.panel, plots.by_position, lengths)
    size, context, divergence = (5.2, 3.4), lm.config.max_position_embeddings, "divergence (nats)"
    title = "Does it matter whether a text is fed\ntoken by token or in one call?"
    save("policy-order", *drawn, order, context, size=size, title=title, unit=divergence)
    title = "How far decoding is from reading all\nanew at every length"
    save("policy-error", *drawn, error, context, size=size, title=title, unit=divergence)
    title, unit = "Perplexity of the demo model\nby position, token by token", "perplexity (32 tokens)"
    save("policy-perplexity", *drawn, perplexity, context, size=size, title=title, unit=unit)


if __name__ == "__main__":
    run(main, __doc__)
