# %% [markdown]
# # 5. Rotary embedding and dynamic NTK
#
# Attention compares queries with keys, and nothing in a dot product knows which token came first. *Rotary
# position embedding* (Su et al. [2021](https://arxiv.org/abs/2104.09864)) tells it: queries and keys are
# turned by an angle that grows with their position. This notebook shows how, what happens beyond the
# context a model was trained with, and a surprise that follows: the same text, fed in two ways, gives two
# results.

# %%
# %matplotlib inline
from pathlib import Path

import matplotlib
import numpy as np

import minidecilm
from minidecilm import ops, plots, rope
from minidecilm.experiments import feeding
from minidecilm.plots.style import BLUE, VERMILION

matplotlib.rcParams.update(plots.LIGHT)
lm = minidecilm.load("demo")
config = lm.config

# %% [markdown]
# ## Turning pairs
#
# A head has $D$ dimensions. Dimension $i$ and dimension $i + D/2$ are taken as a pair of coordinates
# $(a, b)$, an arrow in the plane, and at position $p$ each arrow is turned by $p\,\omega_i$:
#
# $$ \begin{pmatrix} a' \\ b' \end{pmatrix} =
# \begin{pmatrix} \cos p\,\omega_i & -\sin p\,\omega_i \\ \sin p\,\omega_i & \cos p\,\omega_i \end{pmatrix}
# \begin{pmatrix} a \\ b \end{pmatrix}, \qquad \omega_i = \text{base}^{-2i/D}, \qquad \text{base} = 10\,000.
# $$
#
# Pair 0 turns by a whole radian per token, the last hardly at all: like the hands of a clock, fast ones
# tell near positions apart and slow ones far ones. If a query at $p$ and a key at $s$ are both turned,
# their dot product depends on $p$ and $s$ only through the *distance* $p - s$. To see it, put the same
# query and the same key at every position: the scores are equal along every diagonal.

# %%
T, D = 24, config.head_dim
cos, sin = rope.rotary_table(
    np.arange(T)[None], np.array([config.rope_theta]), D, np.float64
)  # (1, 1, T, D/2)
q, k = np.random.default_rng(0).normal(size=(2, D))
turned_q, turned_k = (ops.rotate(np.broadcast_to(a, (1, 1, T, D)), cos, sin)[0, 0] for a in (q, k))
scores = turned_q @ turned_k.T  # (T, T)

figure, axes = plots.new_figure(1, 4, size=(8.4, 2.3))
for ax, pair in zip(axes, (0, 2, 4), strict=False):
    x, y = cos[0, 0, :8, pair], sin[0, 0, :8, pair]
    ax.grid(visible=False)
    ax.quiver(0 * x, 0 * y, x, y, range(8), angles="xy", scale_units="xy", scale=1, cmap="plasma", width=0.02)
    ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", xticks=[], yticks=[], title=f"pair {pair}")
    ax.set_xlabel("positions 0 (dark) to 7")
image = axes[3].imshow(scores, interpolation="nearest")
axes[3].set(title="same q, same k", xlabel="key position", ylabel="query position")
axes[3].grid(visible=False)
figure.colorbar(image, ax=axes[3], label="score")
figure

# %% [markdown]
# ## Beyond the context of training
#
# DeciLM-6b has a context of $M = 4096$ tokens, which we take for the length of its training. The fast pairs
# went round many times in it and have shown every angle. The slow ones have turned through part of a circle
# only, and a longer text would turn them to angles the network has never seen; they are outlined in white in
# the upper row below. *Dynamic NTK* (by the users bloc97 and emozilla, 2023; added to
# [transformers](https://github.com/huggingface/transformers/pull/24653) then) lets the base grow with the
# length $L$ of the text, enough for the slow pairs to stay within what they know, while the fast pairs hardly
# change:
#
# $$ \text{base}(L) = 10\,000 \left( \frac{s L}{M} - (s - 1) \right)^{\frac{D}{D-2}}
# \quad \text{for } L > M, \qquad s = 2. $$

# %%
big = minidecilm.preset("decilm-6b")
figure, axes = plots.new_figure(2, 3, size=(6.0, 3.9), sharey=True)
plots.rotary_angles(axes, big, [4096, 8192, 16384])
figure.suptitle("Dynamic NTK shows no pair of DeciLM-6b an angle unseen in training", weight="bold")
figure

# %% [markdown]
# Up to $M$ nothing changes. Beyond it the base grows, and every pair but the first takes longer to turn once.

# %%
figure, ax = plots.new_figure(size=(4.8, 2.8))
plots.wavelengths(ax, big, [4096, 8192, 16384])
figure

# %% [markdown]
# ## The surprise
#
# A model that writes keeps the keys of the tokens before in a cache (notebook 7). Now the base changes with
# every token beyond $M$. What of the keys that are in the cache already, turned with an older base? There
# are three answers, and in `minidecilm` they have names:
#
# - `rope="reference"`, the default: a key stays as it was turned, with the base in force in its own step.
#   So does the code that DeciLM was published with, and that of Hugging Face.
# - `rope="fixed"`: one base for the whole run, that of the length planned at the start.
# - `rope="exact"`: keys are cached unturned, and all are turned anew, with the base of now, whenever they
#   are read.
#
# Under `reference` it matters *how* a text was fed. The demo model has $M = 256$. Let it read 400 tokens,
# once in one call and once token by token: this is the base that each key in its cache was turned with.

# %%
length = 400
own_step = rope.dynamic_ntk_base(np.arange(1, length + 1), config)
one_call = np.full(length, rope.dynamic_ntk_base(length, config))
figure, ax = plots.new_figure(size=(5.6, 2.8))
ax.plot(one_call, color=BLUE, label="fed in one call")
ax.plot(own_step, color=VERMILION, label="fed token by token")
ax.legend(loc="lower right")
ax.set_ylim(bottom=0)
ax.yaxis.set_major_formatter("{x:,.0f}")
ax.set_title(f"rope='reference': base of each key after {length} tokens")
ax.set_xlabel("position of the key (tokens)")
ax.set_ylabel("rotary base")
figure

# %% [markdown]
# The keys differ, so the attention differs, so the logits differ. How much is measured below on held-out
# stories told in a row: how far apart (in Kullback-Leibler divergence) the predictions are after feeding in
# one call and token by token. Up to 256 tokens all policies agree. Beyond, `reference` gives two answers to
# one question, `fixed` and `exact` do not: what is below $10^{-6}$ is rounding, and drawn there. Beside it is
# the place where the two answers are farthest apart.
#
# This is about consistency. None of the policies makes the model as good beyond its context as within it;
# what they do to perplexity is drawn by `analysis/policies.py`.

# %%
length, M = 385, config.max_position_embeddings
stories = Path("../analysis/data/held_out.txt").read_text(encoding="utf-8").replace("\n\n", "\n")
begin, *rest = lm.tokenizer.encode(stories)
ids = np.insert(
    np.reshape(rest[: 4 * (length - 1)], (4, -1)), 0, begin, axis=1
)  # (B, T): four rows of stories
lengths = np.arange(32, length, 32)

apart, predictions = {}, {}
for policy in rope.POLICIES:
    model = minidecilm.load("demo", rope=policy).model
    if policy == "reference":  # each beginning of the text has its own base
        one_call = feeding.prefix_logits(model, ids, lengths)
    else:  # no token depends on those after it: one call has every beginning
        one_call = model(ids, model.new_cache(*ids.shape))[:, lengths - 1]
    predictions[policy] = one_call, feeding.decode_logits(model, ids)[:, lengths - 1]
    apart[policy] = feeding.divergence(*predictions[policy])  # (B, N)

figure, axes = plots.new_figure(1, 3, size=(8.8, 3.0), width_ratios=(3, 1, 1))
drawn = {name: np.maximum(values.mean(axis=0), 1e-6) for name, values in apart.items()}  # below is rounding
plots.by_position(axes[0], lengths, drawn, M)
axes[0].set(title="Fed in one call and token by token", ylabel="divergence (nats)", ylim=(3e-7, 10))
row, place = np.unravel_index(apart["reference"].argmax(), apart["reference"].shape)
for ax, logits, title in zip(axes[1:], predictions["reference"], ("one call", "by token"), strict=True):
    p = np.exp(ops.log_softmax(logits[row, place]))
    best = p.argsort()[-5:]
    ax.barh(range(5), p[best], color=BLUE)
    ax.set_yticks(range(5), [lm.tokenizer.id_to_piece(int(token)) for token in best])
    ax.set(title=title, xlabel=f"probability of\ntoken {lengths[place] + 1}", xlim=(0, 1))
figure

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the cells from there to the end; the last one says what is
# wrong. The folded cell holds worked answers, which stand in for every `...` that is left.
#
# 1. Write the formula of dynamic NTK for DeciLM-6b: a function of $L$ that returns the base. Do not forget
#    texts of up to $M$ tokens.
# 2. Turn one vector: a function of `x` (D,), the position and the base. Mind which dimensions are pairs.
# 3. The demo model reads a text under `rope="reference"`. From which length on do the logits of its last
#    token depend on whether it was fed token by token or in one call?

# %% tags=["exercise"]
answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def base_of(L):
    return 10_000 * max(2 * L / 4096 - 1, 1) ** (128 / 126)


def turn(x, position, base):
    a, b = np.split(x, 2)
    angles = position * base ** (-np.arange(0, len(x), 2) / len(x))
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)])


answer_1 = base_of if answer_1 is ... else answer_1
answer_2 = turn if answer_2 is ... else answer_2
answer_3 = (
    256 + 1 if answer_3 is ... else answer_3
)  # the first whose base is another than that of its first key

# %% tags=["check"]
import answers

for L in (1, 4096, 4097, 6000, 8192):
    yours = answers.number(1, answers.call(1, answer_1, L))
    assert np.isclose(yours, rope.dynamic_ntk_base(L, big)), f"1: another base for L = {L}"
x = np.arange(1.0, 9.0)
cos, sin = rope.rotary_table(np.array([[5]]), np.array([500.0]), len(x), np.float64)
yours = answers.array(2, answers.call(2, answer_2, x, 5, 500.0), x.shape)
assert np.allclose(yours, ops.rotate(x[None, None, None], cos, sin)), "2: not turned as DeciLM does"
exact_model = minidecilm.load("demo", dtype="float64").model
near = np.arange(250, 265)
cache = exact_model.new_cache(1, near[-1])
exact_model(ids[:1, : near[0] - 1], cache)  # within the context it does not matter how these are fed
one_by_one = np.concatenate([exact_model(ids[:1, n - 1 : n], cache) for n in near], axis=1)
differ = (
    np.abs(feeding.prefix_logits(exact_model, ids[:1, : near[-1]], near) - one_by_one).max(axis=(0, 2)) > 1e-9
)
assert answers.number(3, answer_3) == near[differ][0], "3: not the first length at which the two differ"
print(f"All right: the two ways part at {answer_3} tokens.")
