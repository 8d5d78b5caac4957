# %% [markdown]
# # 11. A small search for KV heads
#
# Deci chose DeciLM-6b's KV heads, 4, then 2, then 1, then 4 again, with its own architecture search,
# AutoNAC. Why it chose these we found published nowhere. This notebook is **not AutoNAC**. It is a miniature
# that asks the same question of the demo model: *if the cache may only take so many bytes, which layers
# should keep their KV heads?*
#
# 1. **Pool**: replace neighbouring KV heads of a layer by their mean.
# 2. **Measure** how much worse the model then predicts held-out stories, one layer at a time.
# 3. **Choose** the heads of all layers by assuming that these losses add up.
# 4. **Check** what the chosen models really lose. This is where it becomes interesting.
#
# Nothing is trained after pooling, so the search finds which layers give way first, not how good a model
# trained with those heads would be.

# %%
# %matplotlib inline
import json
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np

import minidecilm
from minidecilm import plots
from minidecilm.experiments.allocate import allocation_front, cache_bytes
from minidecilm.plots.style import BLUE, GREY, VERMILION

matplotlib.rcParams.update(plots.LIGHT)
lm = minidecilm.load("demo")
stories = Path("../analysis/data/held_out.txt").read_text(encoding="utf-8").strip().split("\n\n")
rows = minidecilm.text_rows(lm, stories)
for_choosing, for_checking = rows[:16], rows[50:66]  # the model was trained on neither
present = lm.config.num_key_value_heads_per_layer
print("KV heads of the demo model:", *present)

# %% [markdown]
# ## Pooling and measuring
#
# A KV head serves a group of query heads. If a layer goes from 4 KV heads to 2, heads 0 and 1 become one,
# their mean, which serves the query heads of both. For every layer and every smaller number that divides
# its heads, the extra loss in nats per token, all other layers as they were:

# %%
found = minidecilm.sensitivity("demo", for_choosing, backend="numba")

figure, ax = plots.new_figure(size=(6.4, 3.2))
plots.sensitivity(ax, found.extra_losses)
ax.set_title("Demo model: loss when the KV heads\nof one layer alone are pooled")
figure

# %% [markdown]
# Layer 0 needs its heads most; layers 3 to 5 have a single one and nothing to lose. This is of one small
# model on its own kind of stories, and says nothing of DeciLM-6b. (`analysis/smollm2.py` does the same with a
# language model trained by others, SmolLM2-135M.)
#
# ## Choosing
#
# Let $\ell_l(k)$ be the extra loss of layer $l$ with $k$ heads. Assume that the loss of a whole allocation
# is the sum $\sum_l \ell_l(k_l)$. Then the best total for $h$ heads in the first $n$ layers follows from
# that of $n - 1$ layers,
#
# $$\text{best}(n, h) = \min_k \big( \text{best}(n - 1, h - k) + \ell_n(k) \big),$$
#
# one table that answers every cache budget at once. `choose_allocation` reads one entry, `allocation_front`
# all.

# %%
front = allocation_front(found)
full = cache_bytes(lm.config, present)
budget = 3 * full // 4
chosen = minidecilm.choose_allocation(found, budget)
print(f"full cache {full:,} bytes a token; within {budget:,}: heads {chosen.kv_heads}")

figure, ax = plots.new_figure(size=(7.4, 2.8))
table = np.array([allocation.kv_heads for allocation in front])  # (allocations, L)
image = ax.imshow(table, cmap="Blues", vmin=0, vmax=max(present), aspect="auto")
for (row, layer), heads in np.ndenumerate(table):
    ax.annotate(
        f"{heads}",
        (layer, row),
        ha="center",
        va="center",
        color="white" if heads > 2 else "black",
        fontsize=9,
    )
ax.set_yticks(range(len(front)), [f"{allocation.bytes_per_token:,}" for allocation in front], fontsize=8)
ax.grid(visible=False)
ax.set_title("KV heads that are chosen for each cache")
ax.set_xlabel("layer")
ax.set_ylabel("bytes per token")
figure

# %% [markdown]
# ## Checking
#
# Now pool all layers as chosen and measure, on *other* stories. Beside the choices stand two models that
# know nothing of layers: at most 2 heads in each, and 1 head in each.

# %%
uniform = {limit: tuple(min(heads, limit) for heads in present) for limit in (1, 2, 4)}
allocations = list(dict.fromkeys([allocation.kv_heads for allocation in front] + list(uniform.values())))
losses = minidecilm.measure_allocations("demo", allocations, for_checking, backend="numba")
loss_of = dict(zip(allocations, losses, strict=True))

predicted = np.array([allocation.extra_loss for allocation in front])
real = np.array([loss_of[allocation.kv_heads] - loss_of[present] for allocation in front])

figure, ax = plots.new_figure(size=(5.6, 3.4))
sizes = [allocation.bytes_per_token for allocation in front]
ax.plot(sizes, predicted, "o--", color=GREY, label="predicted: the sum of the layers")
ax.plot(sizes, real, "o-", color=BLUE, label="measured")
two_heads = loss_of[uniform[2]] - loss_of[present]
ax.plot(
    cache_bytes(lm.config, uniform[2]), two_heads, "s", color=VERMILION, label="at most 2 heads in each layer"
)
ax.set_title("Extra loss of the chosen allocations")
ax.set_xlabel("KV cache (bytes per token)")
ax.set_ylabel("extra loss (nats per token)")
ax.legend()
figure

# %% [markdown]
# Near the full cache the sum is right to a few hundredths of a nat. Far from it the real loss is several
# times as large: layers that lost heads make it worse for each other, and a sum of single losses cannot
# know. And the plain limit of 2 heads in every layer does *better* than the choice of equal size.

# %%
near, equal = front[-2], next(a for a in front if a.bytes_per_token == cache_bytes(lm.config, uniform[2]))
assert abs(real[-2] - near.extra_loss) < 0.03
assert real[0] > 3 * predicted[0]
assert loss_of[uniform[2]] < loss_of[equal.kv_heads]
for heads in (uniform[2], equal.kv_heads):
    print(f"{equal.bytes_per_token:,} bytes a token, heads {heads}: {loss_of[heads]:.3f} nats per token")

# %% [markdown]
# ## Every allocation there is
#
# The demo model is so small that all allocations can be measured. `analysis/allocation.py` did, choosing on
# 50 stories and checking on 50 others; that takes minutes, so here is its result. A perfect choice would
# lie along the lower edge of the grey dots.

# %%
result = json.loads(Path("../analysis/results/allocation.json").read_text())
place = [(row["bytes_per_token"], row["perplexity"]) for row in result["allocations"]]
of = dict(zip((tuple(row["kv_heads"]) for row in result["allocations"]), place, strict=True))

figure, ax = plots.new_figure(size=(6.4, 4.2))
picked = [at for at, row in zip(place, result["allocations"], strict=True) if row["chosen"]]
plots.allocations(ax, place, picked, {limit: of[heads] for limit, heads in uniform.items()})
ax.set_title("Pooled KV heads of the demo model:\nperplexity against cache")
figure

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the last cell; it says what is wrong. Folded below are worked
# answers, which stand in for every `...` that is left.
#
# 1. Write the pooling of one matrix: a function of `k_proj` of shape (K·D, E), the heads to be left and D,
#    that returns the mean of neighbouring heads, (heads·D, E).
# 2. Find the allocation with the least *predicted* loss within `budget` bytes a token by trying all of
#    them, and so show that the table above misses none. (`found.extra_losses`, `cache_bytes(lm.config,
#    heads)`.)
# 3. Which allocation has the least *real* loss among all in `result` whose cache is no larger than that of
#    at most 2 heads in each layer?

# %% tags=["exercise"]
answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def pool(weight, heads, head_dim):
    groups = weight.astype(np.float64).reshape(
        heads, -1, head_dim, weight.shape[1]
    )  # (heads, K / heads, D, E)
    return groups.mean(axis=1).reshape(heads * head_dim, -1)


def predicted_loss(heads):
    return sum(losses[k] for losses, k in zip(found.extra_losses, heads, strict=True))


if answer_1 is ...:
    answer_1 = pool
if answer_2 is ...:
    every = product(*found.extra_losses)  # a dict gives its keys: the heads a layer can have
    answer_2 = min((heads for heads in every if cache_bytes(lm.config, heads) <= budget), key=predicted_loss)
if answer_3 is ...:
    most = cache_bytes(lm.config, uniform[2])
    fitting = [row for row in result["allocations"] if row["bytes_per_token"] <= most]
    answer_3 = min(fitting, key=lambda row: row["loss"])["kv_heads"]

# %% tags=["check"]
import answers

name = "model.layers.0.self_attn.k_proj.weight"
for heads in (1, 2):
    _, pooled = minidecilm.pool_kv_heads(lm.config, lm.model.weights, (heads, *present[1:]))
    yours = answers.call(1, answer_1, lm.model.weights[name], heads, lm.config.head_dim)
    yours = answers.array(1, yours, pooled[name].shape)
    assert np.array_equal(yours.astype(pooled[name].dtype), pooled[name]), f"1: wrong for {heads} heads left"
assert tuple(answers.array(2, answer_2, np.shape(present))) == chosen.kv_heads, (
    f"2: {chosen.kv_heads} is predicted to lose less, or is smaller"
)
yours = tuple(answers.array(3, answer_3, np.shape(present)).tolist())
loss = {tuple(row["kv_heads"]): row["loss"] for row in result["allocations"]}
assert yours in loss, "3: not an allocation of `result`"
better = [heads for heads in loss if loss[heads] < loss[yours] and of[heads][0] <= of[uniform[2]][0]]
assert of[yours][0] <= of[uniform[2]][0], "3: its cache is too large"
assert not better, f"3: {better[0]} loses less"
print(f"All three are right. The best for the cache of at most 2 heads: {yours}")
