"""A network that says what a test wants: tests of what is done with logits need no luck with a seed."""

import numpy as np

from minidecilm.model import DeciLM


class Scripted(DeciLM):
    """Computes as `model` does, so that caches fill as they do, and answers with logits of its own.

    Attributes
    ----------
    logits : (steps, V) or (steps, B, V) array
        Of each call; the last ones are repeated.
    calls : int
    caches : list
        Every cache that was made.
    """

    def __init__(self, model, logits):
        super().__init__(model.config, model.weights, model.backend, str(model.dtype), model.rope_policy)
        self.logits, self.calls, self.caches = np.asarray(logits), 0, []

    def new_cache(self, *arguments, **options):
        self.caches.append(super().new_cache(*arguments, **options))
        return self.caches[-1]

    def __call__(self, *arguments, **options):
        found = super().__call__(*arguments, **options)
        found[:, -1] = self.logits[min(self.calls, len(self.logits) - 1)]
        self.calls += 1
        return found


def saying(model, *rows):
    """Make a network whose likeliest tokens are these, one list per row of a batch."""
    logits = np.zeros((max(map(len, rows)), len(rows), model.config.vocab_size))
    for row, tokens in enumerate(rows):
        for step in range(len(logits)):
            logits[step, row, tokens[min(step, len(tokens) - 1)]] = 9.0
    return Scripted(model, logits)
