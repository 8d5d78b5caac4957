# %% [markdown]
# # 9. Speed: NumPy, Numba and the roofline
#
# How long must a token take, how near does the code come to that, and where does the rest go?
#
# Timings belong to a machine. All figures here are drawn from files in `benchmarks/results`, which the
# scripts in `benchmarks` measured; the first cell says on what. Other CPUs have other folders there. At the
# end you measure your own machine.

# %%
# %matplotlib inline
import json
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np

from minidecilm import Config, bench, costs, plots, preset
from minidecilm.cli.bench import report_text
from minidecilm.config import LayerConfig
from minidecilm.plots.style import BLUE, GREEN, GREY, ORANGE, VERMILION

matplotlib.rcParams.update(plots.LIGHT)
results = Path("../benchmarks/results")
peers, limits, full_size, full_size_numpy = (
    json.loads((results / f"{name}.json").read_text())
    for name in ("amd-epyc-avx2/peers", "amd-epyc-avx2/limits", "full_size", "full_size_numpy")
)
machine = costs.device("cpu-epyc")
assert {file["cpu"] for file in (limits, full_size, full_size_numpy)} == {peers["cpu"]}
print(f"Measured on: {peers['cpu']} ({', '.join(peers['cpu_flags'])}), {peers['threads']} threads")

# %% [markdown]
# ## A token reads every weight once
#
# To write one token, each matrix is multiplied with a single vector. Every weight is read from memory, used
# for one multiplication and one addition, and not needed again before the next token. So memory sets the
# pace:
#
# $$\text{tokens per second} \;\le\; \frac{\text{bytes that memory delivers per second}}
# {\text{bytes of the weights}} .$$
#
# The same network (as wide as DeciLM-6b, fewer layers, random weights) in several programs, one text at a
# time. Each stands in a group of like accuracy, whose members took turns. The black marks are that limit:
# the read bandwidth measured in the same rounds, over the bytes of the weights as each program stores them.
# Fewer bits per weight move the limit itself.

# %%
network_groups = ("float32", "bfloat16", "int8", "int4")
labels = []

figure, ax = plots.new_figure(size=(7.2, 4))
for group in network_groups:
    race = peers["groups"][group]["decode, batch 1"]
    bandwidth = race["limits"]["bytes_per_second"]["median"]
    for name, timing in race["contestants"].items():
        place, color = len(labels), BLUE if name.startswith("minidecilm") else GREY
        ax.barh(place, race["tokens_per_call"] / timing["seconds"]["median"], color=color)
        limit = bandwidth / peers["contestants"][name]["streamed_bytes"]
        ax.plot(limit, place, "|", color="black", markersize=18)
        labels.append(name)
ax.set_yticks(range(len(labels)), labels)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set_title("Decode of one text, and the most that memory allows")
ax.set_xlabel("tokens per second")
figure

# %% [markdown]
# **NumPy** is the definition in this package, and near the limit in float32: `x @ W.T` runs in a tuned
# library. But it has no arithmetic for bfloat16, so half the bytes are of no use to it. **Numba** compiles
# Python loops for your CPU; its kernels read weights as they are stored (16, 8 or 4 bits) and widen them in
# registers.
#
# ## The roofline
#
# A pass that reads $n$ bytes and does $f$ operations takes at least $\max(n / \text{bandwidth},\, f /
# \text{peak})$. Which one counts depends on $f / n$, the *arithmetic intensity*. One text in decode does
# about one operation per byte; eight texts share the weights, eight operations per byte; a prompt of 512
# tokens does hundreds.
#
# Filled: what the limits of the machine allow, with the best read ever measured on it, faster than those of
# the rounds above. Hollow: what minidecilm reached with bfloat16 weights and float32 arithmetic.

# %%
keys = {"parameters", "weights"}  # of the benchmark, not of a config.json
network = Config.from_dict({key: value for key, value in peers["network"].items() if key not in keys})
weights = peers["contestants"]["minidecilm f32"]["streamed_bytes"]

figure, ax = plots.new_figure(size=(6.6, 4.2))
plots.roofline(ax, {"the limits allow": network}, machine, batch_sizes=(1, 8), context=16)
for race in peers["groups"]["float32"].values():
    flops, nbytes = race["operations"], weights + race["cache_bytes"]
    seconds = race["contestants"]["minidecilm f32"]["seconds"]["median"]
    ax.plot(flops / nbytes, flops / seconds / 1e12, "o", color=VERMILION, fillstyle="none", markersize=10)
ax.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2], ["0.01", "0.02", "0.05", "0.1", "0.2"])
figure

# %% [markdown]
# ## Where the time goes
#
# If matrix products are nearly everything, a faster RMSNorm cannot help. `benchmarks/limits.py` timed each
# operation inside a call.

# %%
groups = {
    "matrix products": ["linear"],
    "attention": ["attention"],
    "other operations": ["rms_norm", "rotate", "swiglu", "embedding"],
}
names, shares = [], {group: [] for group in groups}
for profile in limits["profiles"]:
    names.append(f"{profile['contestant']}: {profile['scenario']}")
    for group, parts in groups.items():
        spent = sum(profile["seconds_of"][part] for part in parts)
        shares[group].append(100 * spent / profile["seconds_per_call"]["median"])
shares["Python between them"] = list(100 - np.sum(list(shares.values()), axis=0))

figure, ax = plots.new_figure(size=(7.2, 3.4))
left = np.zeros(len(names))
for (group, values), color in zip(shares.items(), (BLUE, ORANGE, GREEN, GREY), strict=True):
    ax.barh(names, values, left=left, color=color, label=group)
    left += values
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set_xlim(80, 100)
ax.set_title("Share of the time of a call (the axis starts at 80 %)")
ax.set_xlabel("percent")
ax.legend(loc="upper center", bbox_to_anchor=(0.3, -0.2), ncols=4, columnspacing=1)
figure

# %% [markdown]
# ## The whole 6B on two cores
#
# The full size of DeciLM-6b, with random weights, in an address space limited to 16 GiB. The NumPy backend
# widens every bfloat16 matrix on the way, which is what makes it slow here: it is for reading and checking,
# not for speed.

# %%
tokens_per_second = {"NumPy bf16": 1 / np.median(full_size_numpy["decode_seconds"])}
for name, timing in full_size["runs"].items():
    tokens_per_second[name] = 1 / timing["decode_seconds"]["median"]

figure, ax = plots.new_figure(size=(5.6, 2.3))
bars = ax.barh(list(tokens_per_second), list(tokens_per_second.values()), color=BLUE)
ax.bar_label(bars, fmt="%.2g", padding=4)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.margins(x=0.12)
ax.set_title(f"DeciLM-6b, decode, one text, {full_size['cpu']}")
ax.set_xlabel("tokens per second")
figure

# %% [markdown]
# On a GPU: not yet run on a GPU. What its limits would allow is in notebook 10.
#
# ## Your machine
#
# A small network of random weights, timed in a few seconds by what `minidecilm bench` runs, beside the
# limits that a probe finds here. Both backends must give the same logits. How fast they are is true of your
# machine only, and only while nothing else keeps it busy, so the notebook as published leaves the numbers
# out: set `show = True`.

# %% tags=["measured"]
show = False

small = replace(
    preset("decilm-6b"),
    hidden_size=1024,
    num_attention_heads=8,
    vocab_size=4096,
    layers=tuple(LayerConfig(heads, 2816) for heads in (4, 2, 1, 4)),
)
plan = bench.Plan(prompt_tokens=64, new_tokens=8, batch_sizes=(1,), rounds=3)
limits_here = bench.probe(bench.threads_of("numba"))
logits, reports = {}, {}
for backend in ("numpy", "numba"):
    model = bench.random_model(small, plan, backend=backend)
    logits[backend] = model([[1, 2, 3, 4]])
    reports[backend] = bench.report(model, bench.measure(model, plan), limits_here)

assert np.allclose(logits["numpy"], logits["numba"], rtol=0, atol=1e-3 * np.abs(logits["numpy"]).max())
if show:
    for report in reports.values():
        print(report_text(report, "small network"), "\n")

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the last cell; it says what is wrong. Folded below are worked
# answers, which stand in for every `...` that is left.
#
# 1. How many tokens per second does the memory of `machine` allow DeciLM-6b at most, one text at a time,
#    with int4 weights? Leave the cache out: `machine.bytes_per_second` over `costs.forward_bytes` is all it
#    takes.
# 2. At which batch size does DeciLM-6b's feed-forward network, with bfloat16 weights, begin to wait for
#    arithmetic instead of memory on `machine`? (`costs.operation_times` names what each operation waits
#    for.)
# 3. How many times as fast as `PyTorch f32` is `minidecilm f32` in the group `float32`, in the scenario
#    `prefill, 512 tokens`? Take medians.

# %% tags=["exercise"]
config = preset("decilm-6b")
answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def limit_of_feed_forward(batch_size):
    times = costs.operation_times(config, machine, batch_size)
    return next(time.limit for time in times if time.operation == "feed-forward")


if answer_1 is ...:
    answer_1 = machine.bytes_per_second / costs.forward_bytes(config, context=0, weights="int4")
if answer_2 is ...:
    answer_2 = next(size for size in range(1, 1000) if limit_of_feed_forward(size) == "arithmetic")
if answer_3 is ...:
    seconds = {
        name: timing["seconds"]["median"]
        for name, timing in peers["groups"]["float32"]["prefill, 512 tokens"]["contestants"].items()
    }
    answer_3 = seconds["PyTorch f32"] / seconds["minidecilm f32"]

# %% tags=["check"]
import answers

bound = costs.decode_tokens_per_second(config, machine, weights="int4")
assert np.isclose(answers.number(1, answer_1), bound, rtol=1e-3), (
    f"1: the limits of the machine allow {bound:.1f}"
)
batch_size = answers.whole(2, answer_2, 2)
before, there = (
    {time.operation: time.limit for time in costs.operation_times(config, machine, size)}["feed-forward"]
    for size in (batch_size - 1, batch_size)
)
assert (before, there) == ("memory", "arithmetic"), f"2: waits for {before} before, for {there} there"
[rounds] = [
    goal["ratio"]
    for goal in peers["goals"]
    if (goal["scenario"], goal["beside"]) == ("prefill, 512 tokens", "PyTorch f32")
]
ratio = answers.number(3, answer_3)
assert rounds["min"] - 1e-9 <= ratio <= rounds["max"] + 1e-9, "3: none of the benchmark's rounds are near it"
print("All three are right.")
