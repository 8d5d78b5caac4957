# %% [markdown]
# # 8. Sampling: from logits to a token
#
# The network ends in logits $z$, one number per token of the vocabulary. Which token comes next is decided
# outside of it, by a few pure functions in `minidecilm/sampling.py`. Here each works on real logits of the
# demo model: those after every token of the beginning of a story.

# %%
# %matplotlib inline
import matplotlib
import numpy as np

import minidecilm
from minidecilm import ops, plots, sampling
from minidecilm.plots.style import BLUE, GREY, ORANGE, SKY, VERMILION

matplotlib.rcParams.update(plots.LIGHT)
lm = minidecilm.load("demo")
story = (
    "Once upon a time, in a little hole under the stairs, there lived a little mouse named Toby. "
    "One day, Toby took his pink umbrella to the meadow."
)
ids = lm.tokenizer.encode(story)
words = [lm.tokenizer.decode([token]) for token in ids]
logits = lm.model([ids])[0].astype(np.float64)  # (T, V)

# %% [markdown]
# How open is each place? The entropy $-\sum_i p_i \log_2 p_i$ counts it in bits: 0 if only one token is
# possible, 1 if two are as likely as each other. Most places of a story are no choice at all; where a name
# or a thing is chosen, many tokens are possible.

# %%
log_p = ops.log_softmax(logits)
p = np.exp(log_p)  # (T, V)
entropy = -(p * log_p).sum(axis=-1) / np.log(2)

figure, ax = plots.new_figure(size=(8.2, 2.7))
ax.bar(range(len(ids)), entropy, color=BLUE)
ax.set_xticks(range(len(ids)), ["(begin)", *words[1:]], rotation=90)
ax.set_title("How open the next token is after each token")
ax.set_ylabel("entropy (bits)")
figure

# %% [markdown]
# ## Temperature
#
# $$p_i = \frac{e^{z_i / \tau}}{\sum_j e^{z_j / \tau}}$$
#
# Below 1 it favours what is likely anyway, above 1 it evens out; in the limit $\tau \to 0$ only the
# likeliest token is left, which `temperature=0` takes without drawing. Two places of the story, one of them
# more open than the other:

# %%
comma = words.index("day") + 1
toby = comma + 1
places = {'after "One day, Toby"': toby, 'after "One day,"': comma}

figure, axes = plots.new_figure(1, 2, size=(8.2, 2.8), sharey=True)
for ax, (title, place) in zip(axes, places.items(), strict=True):
    best = np.argsort(-logits[place])[:12]
    for temperature, color in ((0.5, BLUE), (1.0, ORANGE), (1.5, VERMILION)):
        heated = np.exp(ops.log_softmax(sampling.apply_temperature(logits[place], temperature)))
        ax.plot(heated[best], "o-", color=color, label=f"temperature {temperature}")
    ax.set_xticks(range(len(best)), [lm.tokenizer.decode([token]) for token in best], rotation=90)
    ax.set_title(title)
axes[0].set_ylabel("probability")
axes[0].legend()
figure

# %% [markdown]
# ## Three filters
#
# A sum over thousands of unlikely tokens is still some probability, and one of them drawn can spoil a text.
# Filters give them the logit $-\infty$:
#
# - **top-k** (Fan et al. [2018](https://arxiv.org/abs/1805.04833)) keeps the $k$ likeliest, however the
#   probability is spread;
# - **top-p** (Holtzman et al. [2020](https://arxiv.org/abs/1904.09751)) keeps the likeliest until together
#   they hold the probability $p$;
# - **min-p** (Nguyen et al. [2024](https://arxiv.org/abs/2407.01082)) keeps those at least $p$ times as
#   likely as the likeliest.
#
# Only the first counts tokens; the other two keep few where the model is sure and many where it is not.

# %%
filters = {
    "top_k = 10": (sampling.keep_top_k, 10),
    "top_p = 0.95": (sampling.keep_top_p, 0.95),
    "min_p = 0.05": (sampling.keep_min_p, 0.05),
}
kept = {
    name: [np.isfinite(keep(row, value)).sum() for row in logits] for name, (keep, value) in filters.items()
}

figure, ax = plots.new_figure(size=(8.2, 2.8))
for (name, counts), color, width in zip(kept.items(), (GREY, SKY, VERMILION), (2, 5, 2), strict=True):
    ax.step(range(len(ids)), counts, where="mid", color=color, linewidth=width, label=name)
ax.set_yscale("log")
ax.set_yticks([1, 10, 100], ["1", "10", "100"])
ax.set_xticks(range(len(ids)), ["(begin)", *words[1:]], rotation=90)
ax.set_title(f"Tokens that each filter keeps, of {logits.shape[1]:,}")
ax.set_ylabel("tokens kept")
ax.legend()
figure

# %% [markdown]
# ## From a seed to a token
#
# What is left is drawn with one uniform random number $u$ per token: on a line from 0 to 1, on which every
# token has a piece as long as its probability, $u$ falls into one piece. The generator starts from `seed`,
# so the same seed gives the same text; every row of a batch has its own generator, so a row gives the same
# text alone or among others.

# %%
seeds = 3, 4, 5
prompts = ["Once upon a time", "Long ago", "In a garden"]
together = lm.generate(prompts, max_new_tokens=40, temperature=0.8, seed=seeds)
for prompt, text, seed in zip(prompts, together, seeds, strict=True):
    assert text == lm.generate(prompt, max_new_tokens=40, temperature=0.8, seed=seed)
print("\n\n".join(prompt + text for prompt, text in zip(prompts, together, strict=True)))

settings = sampling.Options(temperature=1.0, top_p=1.0, top_k=8)
left = np.exp(ops.log_softmax(sampling.process(logits[toby], ids[: toby + 1], settings)))
tokens = np.flatnonzero(left)
edges = np.concatenate([[0], np.cumsum(left[tokens])])

figure, ax = plots.new_figure(size=(8.2, 2.0))
for number, (start, stop, token) in enumerate(zip(edges, edges[1:], tokens, strict=False)):
    ax.barh(0, stop - start, left=start, color=(SKY, (SKY, 0.4))[number % 2], height=0.5)
    if stop - start > 0.03:
        ax.annotate(lm.tokenizer.decode([int(token)]), ((start + stop) / 2, 0), ha="center", va="center")
for seed in range(6):
    u = np.random.default_rng(seed).random()
    drawn = sampling.sample(logits[toby], ids[: toby + 1], settings, np.random.default_rng(seed))
    assert drawn == tokens[np.searchsorted(edges, u, side="right") - 1]
    ax.annotate(
        f"seed {seed}", (u, 0.25), (u, 0.55 + 0.25 * (seed % 2)), ha="center", arrowprops={"arrowstyle": "->"}
    )
ax.set_ylim(-0.3, 1.05)
ax.set_yticks([])
ax.set_title('After "One day, Toby": six seeds, six draws')
ax.set_xlabel("u, and the probabilities added up")
figure

# %% [markdown]
# ## Repetition penalty
#
# Tokens that already occurred get their logit divided by the penalty if it is positive, multiplied if it is
# negative (Keskar et al. [2019](https://arxiv.org/abs/1909.05858), and Hugging Face for the negative ones).
# It breaks loops, but it is blunt: a story needs its hero's name, "the" and the full stop again and again.
# Sixteen stories at each penalty: how many of the new tokens had occurred before, and how probable the
# model itself finds what is written.

# %%
penalties, stories = (1.0, 1.1, 1.2, 1.4, 1.7), range(16)
start = lm.tokenizer.encode("Once upon a time")
repeated, likelihood = [], []
for penalty in penalties:
    steps = []
    new = minidecilm.generate_tokens(
        lm.model,
        [start for _ in stories],
        max_new_tokens=100,
        temperature=0.7,
        seed=stories,
        repetition_penalty=penalty,
        trace=steps,
    )
    repeated.append(np.mean([token in {*start, *row[:at]} for row in new for at, token in enumerate(row)]))
    likelihood.append(
        np.mean([value for step in steps for value in step.log_probabilities if value is not None])
    )

figure, axes = plots.new_figure(1, 2, size=(8.2, 2.7))
axes[0].plot(penalties, repeated, "o-", color=BLUE)
axes[0].set_title("Tokens that had occurred before")
axes[0].set_ylabel("share of the new tokens")
axes[1].plot(penalties, likelihood, "o-", color=VERMILION)
axes[1].set_title("How likely the model finds its text")
axes[1].set_ylabel("mean log-probability (nats)")
for ax in axes:
    ax.set_xlabel("repetition penalty")
figure

# %% [markdown]
# The demo model seldom loops, so there is little to gain: even at 1.7 a large part of the tokens had
# occurred before, since a text needs them, and by then the model finds what it writes less likely.
#
# All of these are arguments of `generate`, applied in the order penalty, temperature, top-k, top-p, min-p.
#
# ## Exercises
#
# Put your answers in place of `...` and run the last cell; it says what is wrong. Folded below are worked
# answers, which stand in for every `...` that is left.
#
# 1. Write `keep_min_p` yourself: a function of logits (V,) and `min_p` that returns the logits with
#    $-\infty$ in the place of all tokens less than `min_p` times as likely as the likeliest. It can do
#    without a softmax.
# 2. How many tokens hold three quarters of the probability after "named"?
# 3. At which temperature does the likeliest token after "named" have probability one half? (To three
#    digits.)

# %% tags=["exercise"]
named = words.index("named")
answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def keep_min_p(logits, min_p):
    # p_i / p_max = exp(z_i - z_max): the sum in the softmax cancels
    return np.where(logits < logits.max() + np.log(min_p), -np.inf, logits)


def share_of_best(temperature):
    return np.exp(ops.log_softmax(logits[named] / temperature)).max()


low, high = 0.01, 1.0  # the share falls as the temperature rises: halve the interval
for _ in range(40):
    middle = (low + high) / 2
    low, high = (middle, high) if share_of_best(middle) > 0.5 else (low, middle)
answer_1 = keep_min_p if answer_1 is ... else answer_1
descending = np.sort(p[named])[::-1]
answer_2 = 1 + int(np.searchsorted(np.cumsum(descending), 0.75)) if answer_2 is ... else answer_2
answer_3 = low if answer_3 is ... else answer_3

# %% tags=["check"]
import answers

for row in logits:
    for min_p in (0.01, 0.1, 0.5):
        yours = answers.array(1, answers.call(1, answer_1, row, min_p), row.shape)
        assert np.array_equal(yours, sampling.keep_min_p(row, min_p)), "1: keeps other tokens"
assert answers.number(2, answer_2) == np.isfinite(sampling.keep_top_p(logits[named], 0.75)).sum(), (
    "2: not that many"
)
temperature = answers.number(3, answer_3)
assert temperature > 0, "3: a temperature is more than 0"
at_answer = np.exp(ops.log_softmax(sampling.apply_temperature(logits[named], temperature)))
assert abs(at_answer.max() - 0.5) < 0.005, f"3: there it has {at_answer.max():.3f}"
print("All three are right.")
