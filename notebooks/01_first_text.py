# %% [markdown]
# # 1. A first text in one minute
#
# DeciLM-6b is a language model of billions of parameters. Its published weights fill gigabytes, so this
# notebook uses a little sister: the **demo model** that comes with `minidecilm`. It has the same
# architecture, is trained on stories for children, and fits in a few megabytes. Nothing is downloaded.
#
# A language model does one thing. It reads a text and says, for every *token* (a word, or a piece of one)
# of its vocabulary, how probable it is that this token comes next. These notebooks are about how it gets
# there, and what that costs.

# %%
# %matplotlib inline
import matplotlib
import numpy as np

import minidecilm
from minidecilm import costs, plots
from minidecilm.plots.style import BLUE, GREY

matplotlib.rcParams.update(plots.LIGHT)
lm = minidecilm.load("demo")
for name, config in (("DeciLM-6b", minidecilm.preset("decilm-6b")), ("demo", lm.config)):
    size = costs.weight_bytes(config) / 1e6
    print(f"{name:10}{config.num_parameters / 1e9:.4f} billion parameters, {size:,.1f} MB")
lm

# %% [markdown]
# Ask for a story. `generate` returns what follows the prompt. `temperature` says how freely it chooses
# (notebook 8), and the same `seed` gives the same text.

# %%
prompt = "Once upon a time"
story = lm.generate(prompt, max_new_tokens=250, temperature=0.7, seed=0)
print(prompt + story)

# %% [markdown]
# ## One token at a time
#
# The story was not written in one go. In a loop,
#
# 1. the text so far becomes token ids,
# 2. the network turns the ids into one number for each of the $V$ tokens of its vocabulary, the *logits*
#    $z \in \mathbb{R}^V$,
# 3. the softmax turns logits into probabilities, $\;p_i = e^{z_i} / \sum_j e^{z_j}$,
# 4. one token is drawn from them and added to the text.
#
# The list that is given as `trace` is filled with a record of each step: the token, its probability $p$,
# and the most likely alternatives. Here are the tokens that were drawn first, and what else they could have
# been.

# %%
steps = []
lm.generate(prompt, max_new_tokens=250, temperature=0.7, seed=0, trace=steps)

figure, axes = plots.new_figure(1, 4, size=(9.6, 2.6), sharex=True)
for ax, step in zip(axes, steps[2:6], strict=True):
    tokens, log_p = zip(*reversed(step.alternatives[0]), strict=True)
    names = [lm.tokenizer.decode([token]) for token in tokens]
    colors = [BLUE if token == step.tokens[0] else GREY for token in tokens]
    ax.barh(range(len(tokens)), np.exp(log_p), color=colors)
    ax.set_yticks(range(len(tokens)), names)
    ax.set_xlabel("probability")
figure.suptitle("The five likeliest next tokens in four steps; blue: the one that was drawn", weight="bold")
figure

# %% [markdown]
# ## Where a story is decided
#
# Most tokens of a text are no choice: after "upon a" comes "time", and a name that was said before is said
# again. A few are real choices. The *surprise* of a token, $-\log_2 p$, shows which: 0 bits is a token that
# was certain, 1 bit one of two equally likely ones, 5 bits one of 32.

# %%
first = steps[:80]
surprise = [-step.log_probabilities[0] / np.log(2) for step in first]
figure, ax = plots.new_figure(size=(9.6, 3.2))
ax.bar(range(len(first)), surprise, color=BLUE)
ax.set_xticks(range(len(first)), [lm.tokenizer.decode(step.tokens) for step in first], rotation=90, size=8)
ax.margins(x=0.01)
ax.grid(axis="x", visible=False)
ax.set_title("Surprise of each token of the story")
ax.set_xlabel("token")
ax.set_ylabel("surprise (bits)")
figure

# %% [markdown]
# ## The loop by hand
#
# `lm.model` is the network alone: ids of shape (B, T) in, logits of shape (B, T, V) out, for B rows of T
# tokens. Always taking the likeliest token (*greedy* decoding, `temperature=0`) is the whole loop in three
# lines.

# %%
ids = lm.tokenizer.encode(prompt)
for _ in range(20):
    logits = lm.model([ids])  # (1, T, V)
    ids.append(int(logits[0, -1].argmax()))  # only the logits of the last token say what comes next
print(lm.tokenizer.decode(ids))
assert lm.tokenizer.decode(ids) == prompt + lm.generate(prompt, max_new_tokens=20, temperature=0)

# %% [markdown]
# This loop reads the whole text again for every token. Notebook 7 shows how a *cache* avoids that, and why
# DeciLM's is so small.
#
# ## Exercises
#
# Put your answers in place of `...` and run the cells from there to the end; the last one says what is
# wrong. The folded cell holds worked answers, which stand in for every `...` that is left.
#
# 1. What share of the steps drew the token that was the likeliest? (A number between 0 and 1, from `steps`.)
# 2. Write a function of logits (V,) that returns the probabilities (V,).
# 3. How probable does the model find "girl" after "Once upon a time, there was a little"? (`encode` puts a
#    space before a text by itself, and a begin token before that: "girl" is the last of the ids it gives.)

# %% tags=["exercise"]
answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def softmax(z):
    weights = np.exp(z - z.max())  # the largest is 1: nothing overflows, and the ratio is the same
    return weights / weights.sum()


likeliest = [step.tokens[0] == step.alternatives[0][0][0] for step in steps]
answer_1 = np.mean(likeliest) if answer_1 is ... else answer_1
answer_2 = softmax if answer_2 is ... else answer_2
*before, girl = lm.tokenizer.encode("Once upon a time, there was a little girl")
answer_3 = softmax(lm.model([before])[0, -1])[girl] if answer_3 is ... else answer_3

# %% tags=["check"]
import answers

from minidecilm.ops import log_softmax

# One call on the whole text gives the logits after every token at once.
text = lm.tokenizer.encode(prompt) + [step.tokens[0] for step in steps]
guesses = lm.model([text[:-1]])[0, -len(steps) :].argmax(axis=-1)
assert np.isclose(answers.number(1, answer_1), np.mean(guesses == text[-len(steps) :])), (
    "1: not the share of likeliest tokens"
)
z = lm.model([lm.tokenizer.encode("Once upon a time, there was a little")])[0, -1]
yours = answers.array(2, answers.call(2, answer_2, z), z.shape)
assert np.allclose(yours, np.exp(log_softmax(z))), "2: not the softmax of the logits"
assert np.isclose(answers.number(3, answer_3), np.exp(log_softmax(z))[lm.tokenizer.encode("girl")[-1]]), (
    "3: not the probability of girl"
)
print(f"All right: {answer_1:.0%} of the steps drew the likeliest token.")
