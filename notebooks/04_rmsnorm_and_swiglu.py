# %% [markdown]
# # 4. RMSNorm and SwiGLU
#
# Two parts of a decoder layer treat every token alone: the norm before each half, and the feed-forward
# part. Both are a line of NumPy. This notebook looks at what they do to real activations of the demo model.

# %%
# %matplotlib inline
import matplotlib
import numpy as np

import minidecilm
from minidecilm import costs, ops, plots
from minidecilm.plots.style import BLUE, GREY, VERMILION

matplotlib.rcParams.update(plots.LIGHT)
lm = minidecilm.load("demo")
ids = lm.tokenizer.encode("Once upon a time, there was a little fox named Sam who lived in a den.")
tokens = [lm.tokenizer.id_to_piece(token) for token in ids]
seen = minidecilm.Recorder()
lm.model([ids], observer=seen)
eps, layers = lm.config.rms_norm_eps, range(len(lm.config.layers))


def weight(layer, name):
    return lm.model.weights[f"model.layers.{layer}.{name}.weight"].astype(np.float32)


# %% [markdown]
# ## Why normalise
#
# Every layer *adds* to the hidden state, so it grows on its way up, for some tokens more than for others.
# The size of a vector $x$ is measured by its root mean square,
#
# $$ \text{rms}(x) = \sqrt{\tfrac1E \textstyle\sum_i x_i^2}. $$
#
# On the left is that of every token's hidden state as it enters each layer; on the right the same after
# division by it. Whatever comes in, the matrices of a layer see vectors of one size.

# %%
entering = [seen.values[None, "embed_tokens"]]
entering += [seen.values[layer, "hidden_states"] for layer in layers[:-1]]
normalised = [ops.rms_norm(x, np.ones(lm.config.hidden_size), eps) for x in entering]

figure, axes = plots.new_figure(1, 2, size=(9.6, 4.2), sharey=True)
for ax, states, title in zip(axes, (entering, normalised), ("before", "after"), strict=True):
    sizes = np.array([np.sqrt((x[0] ** 2).mean(axis=-1)) for x in states])  # (L, T)
    image = ax.imshow(sizes.T, norm="log", vmin=0.5, vmax=250, aspect="auto", interpolation="nearest")
    ax.set_yticks(range(len(tokens)), tokens, size=9)
    ax.set_title(f"{title} the division")
    ax.set_xlabel("layer")
    ax.grid(visible=False)
figure.colorbar(image, ax=axes, label="root mean square", format="%g", pad=0.01)
figure

# %% [markdown]
# The begin token grows largest, by far. Many heads attend to it (notebook 3), and the norm keeps its size
# from mattering.
#
# ## RMSNorm
#
# A learned weight $g$, one number per dimension, then says how much each dimension counts:
#
# $$ \text{RMSNorm}(x) = g \odot \frac{x}{\sqrt{\text{rms}(x)^2 + \varepsilon}} $$
#
# The older LayerNorm also subtracts the mean and adds a bias; Zhang and Sennrich
# ([2019](https://arxiv.org/abs/1910.07467)) found that dividing alone does as well. The $\varepsilon$ keeps
# a vector of zeros from being divided by zero. It is also the one thing that breaks the independence of
# size: a vector much smaller than $\sqrt\varepsilon$ stays small.

# %%
x = entering[1][0, 5]  # (E,): one token, as it enters layer 1
x = x / np.sqrt((x**2).mean())  # of size 1
scales = np.logspace(-5, 3, 81)
sizes = [np.sqrt((ops.rms_norm(scale * x, np.ones(len(x)), eps) ** 2).mean()) for scale in scales]
figure, ax = plots.new_figure(size=(6.0, 3.0))
ax.loglog(scales, scales, color=GREY, linestyle="--", label="unchanged")
ax.loglog(scales, sizes, color=BLUE, label="after RMSNorm")
ax.axvline(np.sqrt(eps), color=VERMILION, linewidth=1.2)
ax.annotate(r"$\sqrt{\varepsilon}$", (1.2 * np.sqrt(eps), 100), color=VERMILION)
ax.legend(loc="lower right")
ax.set_title("Whatever the size of a vector, RMSNorm makes it 1")
ax.set_xlabel("root mean square before")
ax.set_ylabel("root mean square after")
figure

# %% [markdown]
# ## SwiGLU
#
# The feed-forward part (Shazeer [2020](https://arxiv.org/abs/2002.05202)) widens each token's vector from
# $E$ to $F$ dimensions twice, multiplies the two results, and comes back:
#
# $$ \text{gate} = W_g h, \quad \text{up} = W_u h, \qquad
# \text{out} = W_d \,\big(\text{silu}(\text{gate}) \odot \text{up}\big), \qquad
# \text{silu}(z) = \frac{z}{1 + e^{-z}}. $$
#
# Read it as $F$ small detectors. The gate of each says how much its pattern is there in $h$; silu lets
# positive gates through and holds negative ones back, smoothly; `up` says with which sign and strength; and
# the columns of $W_d$ are what each detector then adds to the hidden state. On the right is what gates
# really are in one layer.

# %%
layer = 1
gate, up = seen.values[layer, "gate_proj"][0], seen.values[layer, "up_proj"][0]  # (T, F)
z = np.linspace(-6, 6, 241)
figure, axes = plots.new_figure(1, 2, size=(9.6, 3.0))
axes[0].plot(z, np.maximum(z, 0), color=GREY, linestyle="--", label="relu")
axes[0].plot(z, ops.swiglu(z, np.ones(len(z))), color=BLUE, label="silu")
axes[0].legend()
axes[0].set(xlabel="gate", ylabel="what it lets through", title="silu bends where relu breaks")
axes[1].hist(gate.ravel(), bins=60, color=BLUE)
axes[1].axvline(0, color=GREY, linestyle="--")
axes[1].set(
    xlabel="gate", ylabel="count", title=f"Gates in layer {layer}: {np.mean(gate > 0):.0%} are positive"
)
figure

# %% [markdown]
# Most gates are held back, and of the others few matter: below is the product
# $\text{silu}(\text{gate}) \odot \text{up}$ of every token, and its largest tenth. Each token excites a
# handful of detectors, and most detectors are excited by few tokens.

# %%
inner = ops.swiglu(gate, up)  # (T, F)
share = np.sort(np.abs(inner).ravel())[::-1].cumsum() / np.abs(inner).sum()
largest = share[inner.size // 10]
figure, ax = plots.new_figure(size=(9.6, 3.8))
limit = np.percentile(np.abs(inner), 99)
image = ax.imshow(inner, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
ax.set_yticks(range(len(tokens)), tokens, size=9)
ax.grid(visible=False)
ax.set_title(f"The largest tenth of these numbers makes {largest:.0%} of the sum of all sizes")
ax.set_xlabel("detector (one of F)")
figure.colorbar(image, label="silu(gate) * up", extend="both", pad=0.01)
figure

# %% [markdown]
# ## Where the parameters are
# Three matrices of $E \times F$ make the feed-forward part the bulk of the network. Fewer KV heads do not
# touch it, which is why DeciLM-6b has not many fewer parameters than Llama 2 7B, although its cache is so
# much smaller.

# %%
models = [minidecilm.preset(name) for name in ("decilm-6b", "llama-2-7b")]
parts = costs.parameters_by_part(models[0])
fewer = 1 - models[0].num_parameters / models[1].num_parameters
cache = costs.kv_cache_bytes(models[1]) / costs.kv_cache_bytes(models[0])
print(f"feed-forward: {parts['feed-forward'] / sum(parts.values()):.0%} of DeciLM-6b")
print(f"DeciLM-6b beside Llama 2 7B: {fewer:.0%} fewer parameters, a cache {cache:.1f} times smaller")

figure, ax = plots.new_figure(size=(8.0, 3.2))
plots.parameters(ax, dict(zip(("DeciLM-6b", "Llama 2 7B"), models, strict=True)))
figure

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the cells from there to the end; the last one says what is
# wrong. The folded cell holds worked answers, which stand in for every `...` that is left.
#
# 1. Write RMSNorm: a function of `x` of shape (..., E), `weight` (E,) and `eps`.
# 2. Write the whole feed-forward part of layer 1: a function of `h` (..., E). The matrices are
#    `weight(1, "mlp.gate_proj")` and so on; remember that a projection is `h @ matrix.T`.
# 3. A plain feed-forward part has two matrices and $F = 4E$. SwiGLU has three, so Llama takes $\frac23$ of
#    that to spend as many parameters, and rounds up to a multiple of 256. What $F$ does this give for
#    DeciLM-6b, with $E = 4096$?

# %% tags=["exercise"]
answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def rms_norm(x, weight, eps):
    return weight * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)


def feed_forward(h):
    gate, up = h @ weight(1, "mlp.gate_proj").T, h @ weight(1, "mlp.up_proj").T
    return (gate / (1 + np.exp(-gate)) * up) @ weight(1, "mlp.down_proj").T


answer_1 = rms_norm if answer_1 is ... else answer_1
answer_2 = feed_forward if answer_2 is ... else answer_2
answer_3 = int(np.ceil(2 / 3 * 4 * 4096 / 256)) * 256 if answer_3 is ... else answer_3

# %% tags=["check"]
import answers

g = weight(1, "input_layernorm")
for x in (entering[1], 1e-3 * entering[1] + 1e-3):  # as it is, and so small that eps counts
    yours = answers.array(1, answers.call(1, answer_1, x, g, eps), x.shape)
    assert np.allclose(yours, ops.rms_norm(x, g, eps), rtol=1e-4), "1: not RMSNorm"
h = seen.values[1, "post_attention_layernorm"]
expected = seen.values[1, "down_proj"]
yours = answers.array(2, answers.call(2, answer_2, h), h.shape)
assert np.allclose(yours, expected, atol=1e-4 * np.abs(expected).max()), "2: not what layer 1 adds"
assert answers.number(3, answer_3) == minidecilm.preset("decilm-6b").layers[0].intermediate_size, (
    "3: not DeciLM-6b's F"
)
print(f"All right: F = {answer_3:,}.")
