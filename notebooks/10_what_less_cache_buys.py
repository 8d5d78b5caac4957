# %% [markdown]
# # 10. What 20 times less cache buys, and the honest "15 times"
#
# DeciLM-6b was announced as 15 times as fast as Llama 2 7B. Its cache takes a twentieth of the memory. How
# does the one lead to the other, and how much of the fifteen is the model's design?
#
# Everything here follows from two configs, the published limits of devices (`minidecilm/costs/devices.json`
# names the source of each), and three throughputs from [DeciLM-6b's model
# card](https://huggingface.co/Deci/DeciLM-6b).

# %%
# %matplotlib inline
import matplotlib
import numpy as np

from minidecilm import costs, plots, preset
from minidecilm.catalog import find_model
from minidecilm.cli.info import comparison_text
from minidecilm.costs.summary import comparison
from minidecilm.plots.style import BLUE, GREY, ORANGE, SKY, VERMILION

matplotlib.rcParams.update(plots.LIGHT)
models = {"DeciLM-6b": preset("decilm-6b"), "Llama 2 7B": preset("llama-2-7b")}
deci, llama = models.values()
a10 = costs.device("a10")

compared = comparison(find_model("decilm-6b"), find_model("llama-2-7b"))
print(comparison_text(compared, *models))

# %% [markdown]
# The weights and the work per token differ little, the cache differs by 20. What is that good for?
#
# ## 1. Room for rows
#
# On one GPU, weights are stored once and every text being written has its own cache. What the weights leave
# free decides how many texts fit. (Nothing else is counted here; a real program also needs room to work.)

# %%
figure, ax = plots.new_figure(size=(6.4, 2.8))
plots.largest_batch(ax, models, {f"{size} GB": size * 10**9 for size in (24, 40, 80)}, context=4096)
figure

# %% [markdown]
# ## 2. Less to read in each step
#
# A step of decode reads all weights once, for all rows together, and each row's own cache. With many rows
# the cache is what takes the time. The least time of a step on an NVIDIA A10 with 1,024 tokens cached in
# each row, by operation:

# %%
steps = {"Llama 2 7B, 1 row": (llama, 1), "DeciLM-6b, 1 row": (deci, 1)}
steps |= {
    "Llama 2 7B, 16 rows": (llama, 16),
    "DeciLM-6b, 16 rows": (deci, 16),
    "DeciLM-6b, 128 rows": (deci, 128),
}
times = {
    title: costs.operation_times(config, a10, rows, past_tokens=1023)
    for title, (config, rows) in steps.items()
}
figure, ax = plots.new_figure(size=(7.4, 3.2))
left = np.zeros(len(times))
colors = (BLUE, SKY, VERMILION, ORANGE, GREY)
for place, color in enumerate(colors):
    spent = np.array([1000 * operations[place].seconds for operations in times.values()])
    label = next(iter(times.values()))[place].operation
    ax.barh(list(times), spent, left=left, color=color, label="the cache" if label == "attention" else label)
    left += spent
for place, (_, rows) in enumerate(steps.values()):
    ax.annotate(
        f"{1000 * rows / left[place]:,.0f} tokens/s",
        (left[place], place),
        (4, 0),
        textcoords="offset points",
        va="center",
    )
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set_xlim(0, 1.3 * left.max())
ax.set_title("Least time of a step of decode on an A10")
ax.set_xlabel("milliseconds")
ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=5, columnspacing=1, handlelength=1)
figure

# %% [markdown]
# With one row the design buys little: weights are what is read, and only the projections of keys and values
# (light blue) have become smaller. Its gain comes with rows.
#
# ## 3. What the card measured
#
# The lines are the most an A10 allows, up to a full memory. The dots are the model card's; how many tokens
# were cached it does not say, so 1,024 are assumed. A small cache moves the end of the line far to the
# right; how near a program comes to the line is the program's doing.

# %%
base, torch, infery = costs.MODEL_CARD
measured = {"DeciLM-6b": [torch, infery], "Llama 2 7B": [base]}
figure, ax = plots.new_figure(size=(7.0, 4.2))
plots.throughput(ax, models, a10, range(1, 513), context=1024, measured=measured)
ax.set_title("Decode on an A10: the most it allows,\nand what the model card measured")
figure

# %% [markdown]
# ## 4. The fifteen, taken apart
#
# The claim divides DeciLM-6b on Infery LLM at batch 128 by Llama 2 7B on PyTorch at batch 8. Between these
# two, three things changed at once. The card's middle point, DeciLM-6b on PyTorch at batch 64, splits off
# the engine. The first part was not measured: it is how much more the A10 allows DeciLM-6b at the *same*
# batch of 8. Faint is what follows from that prediction.


# %%
def architecture(context):
    """Return how many times as many tokens an A10 allows DeciLM-6b as Llama 2 7B, both at batch 8."""
    return costs.decode_tokens_per_second(deci, a10, base.batch_size, context) / base.bound(llama, context)


slow, middle, fast = (point.tokens_per_second for point in costs.MODEL_CARD)
same_batch = slow * architecture(1024)
parts = {
    f"the architecture, at an equal batch of {base.batch_size} (predicted)": (slow, same_batch),
    f"batch {base.batch_size} to {torch.batch_size}, on PyTorch (the rest of what was measured)": (
        same_batch,
        middle,
    ),
    f"{torch.engine} to {infery.engine}, and batch {torch.batch_size} to {infery.batch_size}": (middle, fast),
    "all together: the claim": (slow, fast),
}
figure, ax = plots.new_figure(size=(7.4, 3.6))
plots.factors(ax, parts, predicted=list(parts)[:2])
ax.set_title("What the “15 times” are made of")
figure

# %% [markdown]
# Read it so:
#
# - The **architecture** alone, rows being equal, is worth the first factor: less cache to read, a few fewer
#   weights. It depends on how much is cached; the next figure shows by how much.
# - The **batch** is the architecture's doing too, indirectly: 8 was the largest batch that ran with Llama 2
#   7B. But a larger batch serves more texts at once; none of them is written faster for it.
# - The **engine** has nothing to do with the model. The card has no figure of Infery LLM with Llama 2 7B,
#   and none of PyTorch with DeciLM-6b at batch 128, so the engine and the last doubling of the batch cannot
#   be told apart.
#
# All three points are somebody else's, measured on somebody else's GPU, with a length of texts that is not
# known. minidecilm's own figure beside them: not yet run on a GPU.

# %%
contexts = [2**k for k in range(5, 13)]
figure, ax = plots.new_figure(size=(5.8, 3.0))
ax.plot(contexts, [architecture(context) for context in contexts], "o-", color=BLUE)
ax.set_xscale("log", base=2)
ax.set_xticks(contexts, [f"{context:,}" for context in contexts])
ax.set_title("What an A10 allows DeciLM-6b over\nLlama 2 7B, both at batch 8")
ax.set_xlabel("tokens cached in each row")
ax.set_ylabel("times as many tokens")
figure

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the last cell; it says what is wrong. Folded below are worked
# answers, which stand in for every `...` that is left.
#
# 1. How many rows of 4,096 tokens of DeciLM-6b fit 24 GB ($24 \cdot 10^9$ bytes) if its weights are int4
#    and the cache is bfloat16? (`costs.weight_bytes` and `costs.kv_cache_bytes`.)
# 2. From which batch size on does Llama 2 7B, with 1,024 tokens in each row, read more cache than weights
#    in a step? (`costs.forward_bytes` with `context=0` is what it reads of weights.)
# 3. On PyTorch the card has 4.8 times. How many times would the A10 allow between the same two points,
#    DeciLM-6b at batch 64 and Llama 2 7B at batch 8, with 1,024 tokens cached? (Either program wastes a
#    share of what is allowed.)

# %% tags=["exercise"]
answer_1 = ...
answer_2 = ...
answer_3 = ...

# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
if answer_1 is ...:
    free = 24 * 10**9 - costs.weight_bytes(deci, "int4")
    answer_1 = free // costs.kv_cache_bytes(deci, context=4096)
if answer_2 is ...:
    row = costs.kv_cache_bytes(llama, context=1024)
    answer_2 = costs.forward_bytes(llama, context=0) // row + 1
if answer_3 is ...:
    answer_3 = torch.bound(deci, 1024) / base.bound(llama, 1024)

# %% tags=["check"]
import answers

assert answers.number(1, answer_1) == costs.largest_batch(deci, 24 * 10**9, 4096, weights="int4"), (
    "1: not the largest batch"
)
weights = costs.forward_bytes(llama, context=0)
batch_size = answers.whole(2, answer_2, 2)
cached = [costs.forward_bytes(llama, batch_size - less, 1024) - weights for less in (0, 1)]
assert cached[0] > weights >= cached[1], "2: not the first batch size at which the cache is more"
points = costs.MODEL_CARD[:2]
allowed = [costs.decode_tokens_per_second(preset(p.model), a10, p.batch_size, context=1024) for p in points]
assert np.isclose(answers.number(3, answer_3), allowed[1] / allowed[0]), "3: not what the limits allow"
print(
    f"All three are right. PyTorch reached {middle / slow:.1f} times of {answer_3:.1f} that the A10 allows."
)
