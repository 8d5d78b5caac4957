# %% [markdown]
# # 7. The KV cache and its bytes
#
# To write one token, attention compares the newest token's query with the keys of *all* tokens before it,
# and mixes their values. But a token only ever looks back, so its key and value do not depend on what is
# written later: once computed, they stay the same for the rest of the text. The **KV cache** keeps them.
#
# This notebook shows that the cache changes no result, counts its bytes in every layer, and sets DeciLM-6b
# beside Llama 2 7B.

# %%
# %matplotlib inline
import json
from pathlib import Path

import matplotlib
import numpy as np

import minidecilm
from minidecilm import costs, plots, preset
from minidecilm.plots.style import BLUE, VERMILION

matplotlib.rcParams.update(plots.LIGHT)
lm = minidecilm.load("demo", dtype="float64")
text = "Once upon a time, in a little hole under the stairs, there lived a little mouse named Toby."
ids = lm.tokenizer.encode(text)

# %% [markdown]
# ## The same logits, for less work
#
# Once without a cache, all $T$ tokens in one call; once token by token, each call seeing only the newest
# token and what the cache holds. In float64 the logits agree to the last few digits.
#
# Texts that begin alike need their beginning only once: `fork` copies a cache, and each copy goes on by
# itself. Below, a beginning gets four endings. Read anew for each of them, or read once and forked, it gives
# the same logits, bit for bit: the calls are the same, and so is what the cache holds.

# %%
at_once = lm.model([ids])[0]  # (T, V)

cache = lm.model.new_cache(batch_size=1, max_length=len(ids))
step_by_step = np.stack([lm.model([[token]], cache)[0, 0] for token in ids])  # (T, V)

assert np.allclose(at_once, step_by_step, rtol=0, atol=1e-9)
print(f"{len(ids)} tokens; the largest of {at_once.size:,} differences is below 1e-9")

beginning = lm.tokenizer.encode(
    "Toby the mouse found a big piece of cheese in the kitchen, but the cat was near."
)
endings = [
    lm.tokenizer.encode(ending, continuation=True)
    for ending in (" He ran away.", " He ate it at once.", " The cat said hello.", " They ate it together.")
]

anew, tokens_anew = [], 0
for ending in endings:
    cache = lm.model.new_cache(batch_size=1, max_length=60)
    lm.model([beginning], cache)
    anew.append(lm.model([ending], cache))
    tokens_anew += cache.length

shared = lm.model.new_cache(batch_size=1, max_length=60)
lm.model([beginning], shared)
forked, tokens_forked = [], shared.length
for ending in endings:
    cache = shared.fork()
    forked.append(lm.model([ending], cache))
    tokens_forked += cache.length - shared.length

assert all(np.array_equal(one, other) for one, other in zip(anew, forked, strict=True))
saved = 1 - tokens_forked / tokens_anew
print(f"{tokens_anew} tokens read anew, {tokens_forked} with one beginning: {saved:.0%} saved")

# %% [markdown]
# Without a cache, writing token $t$ would mean reading all $t$ tokens again. Added up over a text that is
# quadratic work where linear work will do. For DeciLM-6b, from the formulas of `minidecilm.costs`:

# %%
config = preset("decilm-6b")
lengths = np.arange(1, 1025)
again = np.cumsum([costs.forward_flops(config, new_tokens=int(t)) for t in lengths])
cached = np.cumsum([costs.forward_flops(config, past_tokens=int(t) - 1) for t in lengths])

figure, ax = plots.new_figure(size=(5.4, 3.2))
ax.plot(lengths, again / 1e12, color=VERMILION, label="everything again for each token")
ax.plot(lengths, cached / 1e12, color=BLUE, label="with a KV cache")
ax.set_title(
    f"DeciLM-6b: without a cache, {lengths[-1]:,} tokens\ncost {again[-1] / cached[-1]:.0f} times the work"
)
ax.set_xlabel("tokens written")
ax.set_ylabel("operations ($10^{12}$)")
ax.set_yscale("log")
ax.legend()
figure

# %% [markdown]
# ## How many bytes
#
# Layer $l$ keeps, for every token, a key and a value of $D$ numbers in each of its $K_l$ KV heads. With $b$
# bytes per number, $B$ rows and $S$ tokens in each,
#
# $$\text{bytes} = B \, S \sum_{l=1}^{L} 2 \, K_l \, D \, b .$$
#
# Query heads do not appear: that is the point of sharing KV heads among them. The formula must give what a
# real cache takes, layer by layer and for every storage.

# %%
for kv_cache in ("float32", "bfloat16"):
    model = minidecilm.load("demo", kv_cache=kv_cache).model
    real = model.new_cache(batch_size=2, max_length=100)
    in_layers = tuple(k.nbytes + v.nbytes for k, v in zip(real.keys, real.values, strict=True))
    assert in_layers == costs.kv_cache_bytes_per_layer(lm.config, 2, 100, kv_cache)
    assert real.nbytes == costs.kv_cache_bytes(lm.config, 2, 100, kv_cache)
    print(f"{kv_cache:9} {real.nbytes:9,} bytes for 2 rows of 100 tokens of the demo model")

# %% [markdown]
# ## Layer by layer: DeciLM-6b beside Llama 2 7B
#
# Both have equally many layers, query heads and numbers in a head. In Llama 2 7B every query head has its
# own KV head (multi-head attention). DeciLM-6b has 4, 2 or 1 of them per layer. A head takes the same
# bytes everywhere, so the axis on the right is the one on the left, in other units.

# %%
models = {"Llama 2 7B": preset("llama-2-7b"), "DeciLM-6b": config}
head_bytes = costs.kv_cache_bytes(config) // sum(config.num_key_value_heads_per_layer)
for name, c in models.items():
    print(f"{name:10} {len(c.layers)} layers, {c.num_attention_heads} query heads of {c.head_dim} numbers")

figure, axes = plots.new_figure(1, 2, size=(8.6, 3.2), sharey=True)
for ax, (name, model_config) in zip(axes, models.items(), strict=True):
    plots.kv_heads(ax, name, model_config.num_key_value_heads_per_layer, most=32)
    ax.set_title(f"{name}: {costs.kv_cache_bytes(model_config):,} bytes a token")
right = axes[1].secondary_yaxis(
    "right", functions=(lambda heads: heads * head_bytes, lambda size: size / head_bytes)
)
right.set_yticks([head_bytes * 2**k for k in range(6)], [f"{head_bytes * 2**k:,}" for k in range(6)])
right.minorticks_off()
right.set_ylabel("bfloat16 bytes per token")
axes[1].set_ylabel("")
figure

# %% [markdown]
# ## It grows with every token
#
# The weights are read once and shared by all rows; the cache grows with every token of every row. An engine
# that knows only one number of KV heads can still run DeciLM-6b if it copies heads until every layer has 4,
# with the same results: the light blue line. Mistral 7B, with 8 KV heads in every layer, lies between.
#
# A program that expects one number of KV heads per model is easily wrong here: DeciLM's `config.json` has
# the list `num_key_value_heads_per_layer` and no `num_key_value_heads`. Two popular calculators of memory
# then take the number of query heads; `benchmarks/calculators.py` ran them on that file, with `model_type`
# set to "llama" because one of them reads no other.

# %%
padded = {"DeciLM-6b padded to 4 heads": costs.padded_to_uniform(config)}
compared = {
    "Llama 2 7B": preset("llama-2-7b"),
    "Mistral 7B": preset("mistral-7b"),
    **padded,
    "DeciLM-6b": config,
}
own = costs.kv_cache_bytes(config)
for name, other in compared.items():
    size = costs.kv_cache_bytes(other)
    print(f"{name:28} {size:8,} bytes a token, {size / own:5.2f} times")

measured = json.loads(Path("../benchmarks/results/calculators.json").read_text())
for name, answer in measured["calculators"].items():
    times = answer["bytes"] / measured["true_bytes"]
    print(f"{name} {answer['version']} says {times:.2f} times the true size")

figure, ax = plots.new_figure(size=(6.2, 3.8))
plots.kv_cache_by_context(ax, compared, [2**k for k in range(8, 16)])
figure

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the last cell; it says what is wrong. Folded below are worked
# answers, which stand in for every `...` that is left.
#
# 1. Write a function that takes a config and returns the bytes of its bfloat16 cache per token, from
#    `num_key_value_heads_per_layer` and `head_dim` alone.
# 2. Up to how many tokens is the bfloat16 cache of one row of DeciLM-6b no larger than its weights?
# 3. Which share of DeciLM-6b's cache is in the layers that have 4 KV heads?

# %% tags=["exercise"]
answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def bytes_per_token(config):
    return sum(2 * heads * config.head_dim * 2 for heads in config.num_key_value_heads_per_layer)


heads = np.array(config.num_key_value_heads_per_layer)
answer_1 = bytes_per_token if answer_1 is ... else answer_1
answer_2 = costs.weight_bytes(config) // bytes_per_token(config) if answer_2 is ... else answer_2
answer_3 = heads[heads == 4].sum() / heads.sum() if answer_3 is ... else answer_3

# %% tags=["check"]
import answers

for name in minidecilm.PRESET_NAMES:
    yours = answers.number(1, answers.call(1, answer_1, preset(name)))
    assert yours == costs.kv_cache_bytes(preset(name)), f"1: wrong for {name}"
tokens = answers.whole(2, answer_2, 0)
fits, too_many = (costs.kv_cache_bytes(config, context=tokens + more) for more in (0, 1))
assert fits <= costs.weight_bytes(config), "2: the cache of so many tokens is larger than the weights"
assert too_many > costs.weight_bytes(config), "2: more tokens would do"
layers = costs.layer_costs(config)
in_four = sum(layer.kv_cache_bytes for layer in layers if layer.kv_heads == 4)
assert np.isclose(answers.number(3, answer_3), in_four / sum(layer.kv_cache_bytes for layer in layers)), (
    "3: not that share"
)
print("All three are right.")
