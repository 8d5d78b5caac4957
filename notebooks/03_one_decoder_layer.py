# %% [markdown]
# # 3. One decoder layer by hand
#
# Between embedding and head there is a stack of decoder layers: 8 in the demo model, 32 in DeciLM-6b. Each
# reads the hidden state $x$ (one vector of size $E$ for each of the $T$ tokens) and adds two things to it:
#
# $$ x' = x + \text{Attention}(\text{RMSNorm}(x)), \qquad
# x'' = x' + \text{FeedForward}(\text{RMSNorm}(x')). $$
#
# Attention lets tokens look at the tokens before them; the feed-forward part treats each token alone. Here
# we compute layer 1 of the demo model with nothing but NumPy. The model itself shows its own intermediate
# results to a `Recorder`, and every line of ours is compared with them.
#
# | letter | meaning |
# |---|---|
# | T | tokens of the text |
# | E | hidden size |
# | H, D | query heads, and the size of each |
# | K | key-value heads *of this layer* |
# | F | feed-forward size |

# %%
# %matplotlib inline
import matplotlib
import numpy as np

import minidecilm
from minidecilm import plots

matplotlib.rcParams.update(plots.LIGHT)
lm = minidecilm.load("demo", dtype="float64")  # so that what differs is a mistake, not rounding
ids = lm.tokenizer.encode("Once upon a time, there was a little fox named Sam who lived in a den.")
seen = minidecilm.Recorder()  # every stage of every layer
lm.model([ids], observer=seen)

layer = 1
H, D, T = lm.config.num_attention_heads, lm.config.head_dim, len(ids)
K = lm.config.layers[layer].num_key_value_heads
differences = {}


def weight(name):
    return lm.model.weights[f"model.layers.{layer}.{name}.weight"].astype(np.float64)


def check(stage, ours):
    """Compare with what the model computed; the batch of one row is dropped."""
    differences[stage] = np.abs(ours - seen.values[layer, stage][0]).max()
    assert differences[stage] < 1e-12, stage


x = seen.values[layer - 1, "hidden_states"][0]  # (T, E): what layer 0 passes on
print(
    f"T = {T}, E = {x.shape[1]}, H = {H}, D = {D}, K = {K}, F = {lm.config.layers[layer].intermediate_size}"
)

# %% [markdown]
# ## Normalise, then queries, keys and values
#
# RMSNorm divides each token's vector by its root mean square and multiplies each dimension by a learned
# weight $g$ (notebook 4):
#
# $$ h = g \odot \frac{x}{\sqrt{\frac1E \sum_i x_i^2 + \varepsilon}} $$
#
# Three matrices turn each token's $h$ into a *query* (what it looks for), a *key* (what it can be found by)
# and a *value* (what it hands over). They are cut into heads of size $D$: $H$ heads of queries, but only
# $K$ of keys and values. In DeciLM, $K$ differs from layer to layer; it can be read from the shape of
# `k_proj`, which has $K \cdot D$ rows. A layer of this network has no bias, so a projection is just a
# matrix product.

# %%
h = weight("input_layernorm") * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + lm.config.rms_norm_eps)
check("input_layernorm", h)

q = h @ weight("self_attn.q_proj").T  # (T, H * D)
k = h @ weight("self_attn.k_proj").T  # (T, K * D)
v = h @ weight("self_attn.v_proj").T
q = q.reshape(T, H, D).swapaxes(0, 1)  # (H, T, D): heads first
k = k.reshape(T, K, D).swapaxes(0, 1)  # (K, T, D)
v = v.reshape(T, K, D).swapaxes(0, 1)
check("q", q)
check("k", k)
check("v", v)
# %% [markdown]
# ## Position
#
# Nothing so far knows where a token stands. *Rotary embedding* turns queries and keys by angles that grow
# with the position $p$: dimensions $i$ and $i + D/2$ are a pair of coordinates, turned by
# $p \cdot \theta^{-2i/D}$ (notebook 5).

# %%
angles = np.arange(T)[:, None] * lm.config.rope_theta ** (-np.arange(0, D, 2) / D)  # (T, D/2)
cos, sin = np.cos(angles), np.sin(angles)


def turn(heads):
    a, b = heads[..., : D // 2], heads[..., D // 2 :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


q, k = turn(q), turn(k)
check("q_rotated", q)
check("k_rotated", k)
# %% [markdown]
# ## Attention
#
# A query is compared with every key by a dot product, divided by $\sqrt D$ to keep its size independent of
# $D$. A token must not see those after it, so their scores become $-\infty$. The softmax of each row gives
# the weights with which the values are mixed:
#
# $$ A = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt D} + \text{mask}\right), \qquad \text{mixed} = A V. $$
#
# There are fewer keys than queries. The heads are taken in groups of $G = H / K$ neighbours: query head $h$
# reads KV head $\lfloor h / G \rfloor$. The simplest way to say so is to repeat each KV head $G$ times.

# %%
G = H // K
scores = q @ np.repeat(k, G, axis=0).swapaxes(1, 2) / np.sqrt(D)  # (H, T, T)
scores = np.where(np.tri(T, dtype=bool), scores, -np.inf)  # row t sees columns 0 .. t
A = np.exp(scores - scores.max(axis=-1, keepdims=True))
A /= A.sum(axis=-1, keepdims=True)
check("attention_weights", A)
mixed = A @ np.repeat(v, G, axis=0)  # (H, T, D)
check("attention", mixed)

figure, axes = plots.new_figure(*plots.attention_grid(H, K), size=(6.4, 3.6), sharex=True, sharey=True)
plots.attention_maps(axes, A, K)
figure.suptitle(f"Attention in layer {layer}: {G} query heads read each KV head", weight="bold")
figure

# %% [markdown]
# Heads differ in what they look at. Most give much to the first token (the bright column on the left); some
# pick single words (bright spots).
#
# ## Output, and the feed-forward part
#
# The heads are laid side by side again, a last matrix mixes them, and the result is *added* to $x$. Then
# the second half: normalise, widen to $F$ dimensions twice (`gate` and `up`), multiply the two after
# bending the gate by $\text{silu}(z) = z / (1 + e^{-z})$ (notebook 4), come back to $E$ dimensions, and
# add.

# %%
attended = mixed.swapaxes(0, 1).reshape(T, H * D) @ weight("self_attn.o_proj").T  # (T, E)
check("o_proj", attended)
middle = x + attended

h = weight("post_attention_layernorm") * middle
h = h / np.sqrt((middle**2).mean(axis=-1, keepdims=True) + lm.config.rms_norm_eps)
check("post_attention_layernorm", h)
gate, up = h @ weight("mlp.gate_proj").T, h @ weight("mlp.up_proj").T  # (T, F)
check("gate_proj", gate)
check("up_proj", up)
down = (gate / (1 + np.exp(-gate)) * up) @ weight("mlp.down_proj").T  # (T, E)
check("down_proj", down)
check("hidden_states", middle + down)

agree = [stage for stage in minidecilm.STAGES if differences.get(stage, 1) < 1e-12]
print(f"{len(agree)} stages agree to 12 decimals: {', '.join(agree)}")

# %% [markdown]
# That was a whole decoder layer. The next one takes the sum as its $x$, and so on: what a layer adds, all
# later layers can read. Here is how large these additions are, and how the hidden state grows from them.

# %%
stages = {
    "added by attention": "o_proj",
    "added by feed-forward": "down_proj",
    "hidden state": "hidden_states",
}
rms = {
    name: [np.sqrt(np.mean(seen.values[i, stage] ** 2)) for i in range(len(lm.config.layers))]
    for name, stage in stages.items()
}
figure, ax = plots.new_figure(size=(6.4, 3.2))
plots.activations(ax, rms)
figure

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the cells from there to the end; the last one says what is
# wrong. The folded cell holds worked answers, which stand in for every `...` that is left.
#
# 1. What is the shape of `k` (heads first, as above) in layer 0, and what in layer 3? Give a list of two
#    shapes. `lm.config.num_key_value_heads_per_layer` helps.
# 2. Without the mask, every token would see every other. For the weights of one token nothing would change.
#    Which one? Give its index.
# 3. Write a function of the ids of a text that returns the logits, (T, V), with nothing but NumPy:
#    embedding, all layers, the norm `model.norm.weight`, and the head `lm_head.weight`. Most lines stand
#    above.

# %% tags=["exercise"]
answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def logits_by_hand(ids):
    def w(name):
        return lm.model.weights[name + ".weight"].astype(np.float64)

    def norm(x, g):
        return g * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + lm.config.rms_norm_eps)

    def heads(x):
        return x.reshape(len(x), -1, D).swapaxes(0, 1)  # the number of heads follows from the width

    def turn(x):
        angles = np.arange(len(ids))[:, None] * lm.config.rope_theta ** (-np.arange(0, D, 2) / D)
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate(
            [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1
        )

    x = w("model.embed_tokens")[ids]
    for layer in range(len(lm.config.layers)):
        name = f"model.layers.{layer}."
        h = norm(x, w(name + "input_layernorm"))
        q, k, v = (heads(h @ w(f"{name}self_attn.{part}_proj").T) for part in "qkv")
        G = len(q) // len(k)
        k, v = np.repeat(turn(k), G, axis=0), np.repeat(v, G, axis=0)
        scores = np.where(np.tri(len(ids), dtype=bool), turn(q) @ k.swapaxes(1, 2) / np.sqrt(D), -np.inf)
        A = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = A / A.sum(axis=-1, keepdims=True) @ v
        x = x + mixed.swapaxes(0, 1).reshape(len(ids), -1) @ w(name + "self_attn.o_proj").T
        h = norm(x, w(name + "post_attention_layernorm"))
        gate, up = h @ w(name + "mlp.gate_proj").T, h @ w(name + "mlp.up_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w(name + "mlp.down_proj").T
    return norm(x, w("model.norm")) @ w("lm_head").T


kv_heads = lm.config.num_key_value_heads_per_layer
answer_1 = [(kv_heads[0], T, D), (kv_heads[3], T, D)] if answer_1 is ... else answer_1
answer_2 = T - 1 if answer_2 is ... else answer_2  # the last token sees all with the mask, too
answer_3 = logits_by_hand if answer_3 is ... else answer_3

# %% tags=["check"]
import answers

from minidecilm import ops

shapes = [seen.values[layer, "k"].shape[1:] for layer in (0, 3)]
assert answers.array(1, answer_1, (2, 3)).tolist() == [list(shape) for shape in shapes], (
    "1: not the shapes of k in layers 0 and 3"
)
all_visible = np.ones((1, T, T), bool)
same = np.isclose(ops.attention_weights(q[None], k[None], all_visible)[0], A).all(axis=(0, 2))
index = answers.whole(2, answer_2, -T, T - 1) % T  # counted from the end, too
assert np.flatnonzero(same).tolist() == [index], "2: its weights do change without the mask"
for text in ("The little dragon", "Lily and Tom went to the market."):
    given = lm.tokenizer.encode(text)
    expected = lm.model([given])[0]
    yours = answers.array(3, answers.call(3, answer_3, given), expected.shape)
    assert np.allclose(yours, expected), f"3: other logits than the model's for {text!r}"
print("All right: that is the whole network.")
