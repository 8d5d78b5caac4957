# %% [markdown]
# # 6. Multi-head, grouped, multi-query, variable
#
# DeciLM's layers are Llama's but for one thing: how many heads of keys and values each has. This notebook
# explains what that means, on real activations of the demo model. At its end you rebuild DeciLM's attention
# by hand.
#
# In every kind, a layer has $H$ heads of queries. The kinds differ in $K$, its heads of keys and values:
#
# | kind | K | example |
# |---|---|---|
# | multi-head | $K = H$: every query head has its own | Llama 2 7B: 32 of 32 |
# | grouped-query | in between: groups of $G = H / K$ query heads share one | Mistral 7B: 8 of 32 |
# | multi-query | $K = 1$: all share one | layers 10 to 29 of DeciLM-6b |
# | variable grouped-query | a $K$ for each layer | DeciLM-6b: 4, 2 or 1 of 32 |
#
# Multi-query attention was proposed by Shazeer ([2019](https://arxiv.org/abs/1911.02150)), grouped-query
# attention by Ainslie et al. ([2023](https://arxiv.org/abs/2305.13245)).

# %%
# %matplotlib inline
from pathlib import Path

import matplotlib
import numpy as np

import minidecilm
from minidecilm import costs, ops, plots
from minidecilm.plots.style import BLUE, GREY, VERMILION

matplotlib.rcParams.update(plots.LIGHT)
lm = minidecilm.load("demo", dtype="float64")
config, big = lm.config, minidecilm.preset("decilm-6b")
H, D = config.num_attention_heads, config.head_dim

figure, axes = plots.new_figure(1, 2, size=(9.6, 2.6), width_ratios=(3, 2), sharey=True)
plots.kv_heads(axes[0], "DeciLM-6b", big.num_key_value_heads_per_layer)
plots.kv_heads(axes[1], "demo", config.num_key_value_heads_per_layer)
figure

# %% [markdown]
# ## Who reads whom
#
# The rule is the same for all: **query head $h$ reads KV head $\lfloor h / G \rfloor$**. Neighbours share.
# Here for $H = 8$, as in the demo model:

# %%
figure, axes = plots.new_figure(1, 4, size=(9.6, 2.0))
names = {8: "multi-head", 4: "grouped", 2: "grouped", 1: "multi-query"}
for ax, (K, name) in zip(axes, names.items(), strict=True):
    G = H // K
    places = (np.arange(K) + 0.5) * G - 0.5  # a KV head stands below the middle of its group
    for h in range(H):
        ax.plot([h, places[h // G]], [1, 0], color=GREY, linewidth=1.2)
    ax.plot(range(H), np.ones(H), "o", color=BLUE)
    ax.plot(places, np.zeros(K), "s", color=VERMILION)
    ax.set(title=f"K = {K}: {name}", xticks=[], ylim=(-0.3, 1.3))
    ax.set_yticks([0, 1], ["KV heads", "query heads"] if K == H else ["", ""])
    ax.grid(visible=False)
figure

# %% [markdown]
# ## One definition
#
# No special case is needed for any of them. The number of KV heads can be read from the shape of the keys,
# and the rest is attention as in notebook 3. Below it runs on the activations of every layer of the demo
# model, whose $K$ is 4, 2 or 1, and agrees with the library in each.

# %%
stories = Path("../analysis/data/held_out.txt").read_text(encoding="utf-8").split("\n\n")
ids = lm.tokenizer.encode(stories[0])[:40]
seen = minidecilm.Recorder()
lm.model([ids], observer=seen)
T = len(ids)
visible = np.tri(T, dtype=bool)


def attention(q, k, v):
    """(H, T, D), (K, T, D), (K, T, D) -> (H, T, D)."""
    G = len(q) // len(k)
    k, v = np.repeat(k, G, axis=0), np.repeat(v, G, axis=0)  # head h of these is KV head h // G
    scores = np.where(visible, q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v


for layer in range(len(config.layers)):
    q, k, v = (seen.values[layer, stage][0] for stage in ("q_rotated", "k_rotated", "v"))
    assert np.allclose(attention(q, k, v), seen.values[layer, "attention"][0])
    print(f"layer {layer}: q {q.shape}, k and v {k.shape}: agrees")

# %% [markdown]
# `np.repeat` makes copies, which is simple and wasteful. `ops.attention` shares a KV head without copying
# it: it folds the $G$ query heads of a group and the $T$ tokens into one axis, since all
# $G \cdot T$ queries meet the same keys.
#
# ## What is shared, and what is not
#
# Heads of one group see the same keys, but each asks its own question. In layer 3, all eight query heads
# read a *single* KV head. On the left are the maps of two of them: not the same. On the right is how alike
# (correlation of the maps) any two heads are, in layers with 4, 2 and 1 KV heads, and the mean of that.
# Heads of one group, outlined, are somewhat more alike than others, and yet each has a map of its own.

# %%
figure, axes = plots.new_figure(1, 5, size=(9.6, 2.6))
weights = {layer: seen.values[layer, "attention_weights"][0] for layer in (0, 1, 3)}  # each (H, T, T)
for ax, h in zip(axes[:2], (0, 5), strict=True):
    ax.imshow(np.where(visible, weights[3][h], np.nan), norm=matplotlib.colors.PowerNorm(0.5, 0, 1))
    ax.set(title=f"layer 3, head {h}", xlabel="key (token)", ylabel="query (token)" if h == 0 else "")
for ax, (layer, maps) in zip(axes[2:], weights.items(), strict=True):
    K = config.layers[layer].num_key_value_heads
    alike = np.corrcoef(maps[:, visible])  # (H, H)
    image = ax.imshow(alike, vmin=0, vmax=1, cmap="cividis")
    for group in range(K):
        corner = (group * H / K - 0.5, group * H / K - 0.5)
        ax.add_patch(
            matplotlib.patches.Rectangle(corner, H / K, H / K, fill=False, edgecolor=VERMILION, lw=2)
        )
    together = np.equal.outer(np.arange(H) * K // H, np.arange(H) * K // H)
    masks = {"same group": together & ~np.eye(H, dtype=bool), "others": ~together}
    means = [f"{name}: {alike[mask].mean():.2f}" for name, mask in masks.items() if mask.any()]
    ax.set(
        title=f"layer {layer}: K = {K}", xlabel="\n".join(means), ylabel="query head" if layer == 0 else ""
    )
for ax in axes:
    ax.grid(visible=False)
figure.colorbar(image, ax=axes, label="correlation", pad=0.01)
figure

# %% [markdown]
# ## What sharing saves
#
# While a model writes, it keeps the keys and values of all tokens so far in a cache (notebook 7), for each
# token
#
# $$ 2 \cdot D \cdot \text{bytes per number} \cdot \sum_\text{layers} K_\text{layer} $$
#
# bytes. Only $\sum K$ differs between the kinds. These are the bytes of DeciLM-6b, and of the same network
# with other kinds of attention; engines that hold one shape for all layers have to pad every layer to the
# largest, and then take more than twice what DeciLM needs.


# %%
def with_heads(heads):
    return np.full(len(big.layers), heads)


kinds = {
    "multi-head (K = 32)": with_heads(32),
    "grouped (K = 8)": with_heads(8),
    "DeciLM-6b padded (K = 4)": with_heads(4),
    "DeciLM-6b (K = 4, 2, 1)": np.array(big.num_key_value_heads_per_layer),
    "multi-query (K = 1)": with_heads(1),
}
per_token = {name: 2 * big.head_dim * 2 * heads.sum() for name, heads in kinds.items()}  # bfloat16: 2 bytes
assert per_token["DeciLM-6b (K = 4, 2, 1)"] == costs.kv_cache_bytes(big)

figure, ax = plots.new_figure(size=(7.6, 2.6))
bars = ax.barh(list(per_token), [nbytes / 1024 for nbytes in per_token.values()], color=BLUE)
ax.bar_label(bars, fmt="{:,.0f} KiB", padding=4)
ax.invert_yaxis()
ax.set_xlim(0, 600)
ax.grid(axis="y", visible=False)
ax.set_title("KV cache of one token, 32 layers, bfloat16")
ax.set_xlabel("KiB")
figure

# %% [markdown]
# ## What sharing costs, and why layers differ
#
# Fewer KV heads can hold less. How much that hurts depends on the layer. Take the trained demo model, and
# in one layer alone replace neighbouring KV heads by their mean (as Ainslie et al. do before training on,
# which we do not); then measure how much worse it predicts held-out stories. (Layers 3 to 5 have a single
# one already.) Some layers hardly care, others need their heads; a fixed number of heads is best spent
# where they matter. That is the idea of *variable* grouped-query attention. The list of DeciLM-6b came out
# of Deci's search, AutoNAC, as its model card says; what the search found about each layer we have not seen
# published.

# %%
found = minidecilm.sensitivity("demo", minidecilm.text_rows(lm, stories[:12]))
figure, ax = plots.new_figure(size=(6.4, 3.2))
plots.sensitivity(ax, found.extra_losses)
figure

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the cells from there to the end; the last one says what is
# wrong. The folded cell holds worked answers, which stand in for every `...` that is left.
#
# 1. A layer of DeciLM-6b has 32 query heads and 4 KV heads. Which KV head does query head 21 read?
# 2. Write a function of a list of KV heads per layer that returns the bytes of cache per token in bfloat16,
#    with $D = 128$.
# 3. Rebuild DeciLM's attention by hand: a function of the layer's number and of `h` (T, E), what leaves
#    `input_layernorm`, that returns what the layer's attention adds to the hidden state, (T, E). The parts
#    are in notebook 3 (projections, turning by position, output) and above; `weight(layer, "q_proj")` gives
#    a matrix. It has to be right for all layers, whatever their $K$.


# %% tags=["exercise"]
def weight(layer, name):
    return lm.model.weights[f"model.layers.{layer}.self_attn.{name}.weight"].astype(np.float64)


answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def decilm_attention(layer, h):
    q, k, v = (
        (h @ weight(layer, name).T).reshape(len(h), -1, D).swapaxes(0, 1)  # (H or K, T, D)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    angles = np.arange(len(h))[:, None] * config.rope_theta ** (-np.arange(0, D, 2) / D)  # (T, D/2)
    cos, sin = np.cos(angles), np.sin(angles)

    def turn(x):
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    mixed = attention(turn(q), turn(k), v)  # (H, T, D)
    return mixed.swapaxes(0, 1).reshape(len(h), -1) @ weight(layer, "o_proj").T


answer_1 = 21 // (32 // 4) if answer_1 is ... else answer_1
answer_2 = (lambda heads: 2 * 128 * 2 * sum(heads)) if answer_2 is ... else answer_2
answer_3 = decilm_attention if answer_3 is ... else answer_3

# %% tags=["check"]
import answers

# Values that name their KV head: what each query head gives is the head it read.
one = np.ones((1, 32, 1, 1))
names = np.arange(4.0).reshape(1, 4, 1, 1)
read = ops.attention(one, np.ones_like(names), names, np.ones((1, 1, 1), bool))
assert answers.number(1, answer_1) == read[0, 21, 0, 0], "1: not the KV head that query head 21 reads"
for model in (big, minidecilm.preset("decilm-7b")):
    heads = model.num_key_value_heads_per_layer
    yours = answers.number(2, answers.call(2, answer_2, heads))
    assert yours == costs.kv_cache_bytes(model), f"2: not the bytes per token for {heads}"
for layer in range(len(config.layers)):
    h, expected = (seen.values[layer, stage][0] for stage in ("input_layernorm", "o_proj"))
    yours = answers.array(3, answers.call(3, answer_3, layer, h), expected.shape)
    assert np.allclose(yours, expected), f"3: layer {layer} adds something else"
print("All right: this is DeciLM's attention.")
