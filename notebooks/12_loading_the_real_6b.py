# %% [markdown]
# # 12. Loading the real 6B
#
# If you have DeciLM-6b or DeciLM-6b-instruct on disk, one line opens it:
#
# ```python
# lm = minidecilm.load("DeciLM-6b/")         # a folder, as published
# lm = minidecilm.load("Deci/DeciLM-6b")     # a hub id: downloads 11.4 GB (extra: hub)
# ```
#
# **The real weights are not used here, and nothing is downloaded**; they could not be had where this was
# written. The folder below has the published layout, the published 32 layers with their KV heads, and
# *random* weights of a small width, so what it writes is noise. Everything else is what the real one does.

# %%
# %matplotlib inline
import contextlib
import json
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from safetensors.numpy import save_file

import minidecilm
from minidecilm import costs, plots, preset
from minidecilm.catalog import DEMO_FOLDER, find_model
from minidecilm.config import LayerConfig
from minidecilm.costs.summary import facts
from minidecilm.plots.style import BLUE, GREY, SKY, VERMILION
from minidecilm.weights.checkpoint_writer import MAX_SHARD_BYTES, plan_shards
from minidecilm.weights.merge import merge_checkpoint

matplotlib.rcParams.update(plots.LIGHT)
full_size = json.loads(Path("../benchmarks/results/full_size.json").read_text())
place = tempfile.TemporaryDirectory()  # vanishes with the notebook
folder = Path(place.name) / "DeciLM-6b-small"

config = preset("decilm-6b")
heads = config.num_key_value_heads_per_layer
small = replace(
    config, hidden_size=256, head_dim=8, vocab_size=2048, layers=tuple(LayerConfig(k, 512) for k in heads)
)
shard_bytes = (
    MAX_SHARD_BYTES * costs.weight_bytes(small) // costs.weight_bytes(config)
)  # as many files as published
minidecilm.write_random_checkpoint(small, folder, max_shard_bytes=shard_bytes)
(folder / "tokenizer.model").write_bytes((DEMO_FOLDER / "tokenizer.model").read_bytes())
for file in sorted(folder.iterdir()):
    print(f"{file.stat().st_size:12,} bytes  {file.name}")

# %% [markdown]
# ## The folder
#
# - `config.json`: the sizes, and `num_key_value_heads_per_layer`, one number for each layer.
# - `model-0000N-of-00003.safetensors`: the weights in bfloat16, under Llama's names;
#   `model.safetensors.index.json` says which tensor is in which file. Pickled weights (`.bin`) are never
#   read.
# - `tokenizer.model`: SentencePiece. Without it the model still loads, but reads ids only.
#
# DeciLM was published in files of at most 5 GB, filled in order, so layers straddle them. The layout of the
# real folder follows from the config alone:

# %%
sizes = {name: tensor.nbytes for name, tensor in costs.stored_tensors(config).items()}
shards = plan_shards(sizes)
layer_of = {name: int(name.split(".")[2]) for name in sizes if name.startswith("model.layers.")}

figure, ax = plots.new_figure(size=(7.6, 2.4))
for row, names in enumerate(shards):
    left = 0.0
    for layer in range(-1, len(heads)):
        part = sum(sizes[name] for name in names if layer_of.get(name, -1) == layer) / 1e9
        color = GREY if layer < 0 else (BLUE, SKY)[layer % 2]
        ax.barh(row, part, left=left, color=color)
        left += part
    inside = [layer_of[name] for name in names if name in layer_of]
    ax.annotate(
        f"layers {min(inside)} to {max(inside)}", (left, row), (5, 0), textcoords="offset points", va="center"
    )
ax.set_yticks(range(len(shards)), [f"file {row + 1}" for row in range(len(shards))])
ax.invert_yaxis()
ax.set_xlim(0, 6.2)
ax.grid(axis="y", visible=False)
ax.set_title("DeciLM-6b's weights by layer (grey: embedding, norm, head)")
ax.set_xlabel("GB")
figure

# %% [markdown]
# ## What is it?
#
# `minidecilm info DeciLM-6b/` prints everything there is to know without reading a weight, and `minidecilm
# plot kv-heads DeciLM-6b/ --out heads.svg` draws the heads. The same from Python, for the small folder:

# %%
found = facts(find_model(str(folder)))
for key in (
    "parameters",
    "weight_bytes",
    "kv_cache_bytes_per_token",
    "max_position_embeddings",
    "rope",
    "dtypes",
):
    print(f"{key:26}{found[key]}")

figure, ax = plots.new_figure(size=(6.4, 2.6))
plots.kv_heads(ax, "DeciLM-6b", found["kv_heads_per_layer"])
figure

# %% [markdown]
# A folder whose files contradict each other is refused, in one line that says where, what was expected and
# what was found. Below, `config.json` says 2 KV heads for layer 0, and the weights have 4. A file without
# the list is refused too, never guessed. And copies of DeciLM that `transformers` saved again carry
# `"num_key_value_heads": 32`, which is false: the list wins.


# %%
@contextlib.contextmanager
def changed_config(**changes):
    """Change keys of the folder's config.json for a moment; None removes one."""
    path = folder / "config.json"
    before = path.read_text()
    values = json.loads(before) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    try:
        yield
    finally:
        path.write_text(before)


for wrong in ([2, *heads[1:]], None):
    with changed_config(num_key_value_heads_per_layer=wrong):
        try:
            minidecilm.load(folder)
        except (minidecilm.CheckpointError, minidecilm.ConfigError) as problem:
            print(str(problem).replace(place.name, "..."), "\n")
with changed_config(num_key_value_heads=32):
    assert minidecilm.load(folder).config.num_key_value_heads_per_layer == heads

# %% [markdown]
# ## Memory
#
# Weights are memory-mapped: opening reads headers only, and the system may drop pages at any time. Still,
# every token reads all of them, so they should fit. Fewer bits help twice, in memory and in speed (notebook
# 9):
#
# ```console
# minidecilm quantize DeciLM-6b/ DeciLM-6b-int4/ --weights int4
# ```
#
# Bars: the weights of the real size, from the config. Dots: the most that a process held while writing with
# random weights of that size, weights and cache included, as `benchmarks/full_size.py` measured it. The
# cell first does the same on the small folder: the quantised one opens like any other, and is as large as
# the formula says.

# %%
int4 = folder.with_name("DeciLM-6b-small-int4")
minidecilm.quantize_checkpoint(folder, int4, weights="int4")
lm, lm_int4 = minidecilm.load(folder), minidecilm.load(int4)
assert lm.checkpoint.nbytes == costs.weight_bytes(small)
assert lm_int4.checkpoint.nbytes == costs.weight_bytes(small, "int4")

storages = {"Numba bf16": "bfloat16", "Numba int8": "int8", "Numba int4": "int4"}
figure, ax = plots.new_figure(size=(6.4, 2.4))
ax.barh(list(storages.values()), [costs.weight_bytes(config, s) / 1e9 for s in storages.values()], color=BLUE)
peaks = [full_size["runs"][run]["peak_resident_bytes"] / 1e9 for run in storages]
ax.plot(peaks, list(storages.values()), "o", color=VERMILION)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set_title("DeciLM-6b: weights (bars), most memory in use (dots)")
ax.set_xlabel("GB")
figure

# %% [markdown]
# ## Instructions and adapters
#
# DeciLM-6b continues a text. DeciLM-6b-instruct was tuned to answer an instruction inside a fixed frame,
# without a system prompt; `template=` puts it there. (Another frame belongs to DeciLM-7B-instruct.) The
# model ends by itself, with the end-of-text token. With the real one:
#
# ```console
# minidecilm generate "How do I make french toast?" --model DeciLM-6b-instruct/ --template decilm-6b-instruct
# ```
#
# DeciLM-6b-instruct is DeciLM-6b fine-tuned with LoRA: to a matrix W, (out, in), it adds the product of two
# thin ones, s · B A. `peft` saves those alone, in a folder of two small files, and such a folder opens with
# the model it was trained on. B of keys and values has as many rows as the layer's KV heads need, so no two
# kinds of layer share a shape. With the real one:
#
# ```console
# minidecilm generate "How do I make french toast?" --model DeciLM-6b/ --adapter my-adapter/
# minidecilm merge DeciLM-6b/ my-adapter/ DeciLM-6b-mine/
# ```
#
# The adapter below holds random numbers too. Beside the weights it leaves them as they are, in the mapped
# file or in 4 bits; `merge` writes a folder that needs no adapter. So there are three ways to the same change
# of the logits. Merged weights are rounded to bfloat16, which shows a little. Beside int4 weights the adapter
# meets activations that differ already.

# %%
print(minidecilm.PROMPT_TEMPLATES["decilm-6b-instruct"])
noise = lm.generate("How do I make french toast?", template="decilm-6b-instruct", max_new_tokens=12, seed=0)
print(repr(noise), "(random weights know no recipe)")

adapter, tensors, generator = folder.with_name("my-adapter"), {}, np.random.default_rng(0)
for name, shape in small.parameter_shapes().items():
    if name.endswith(("q_proj.weight", "v_proj.weight")):
        part, (rows, columns) = "base_model.model." + name.removesuffix("weight"), shape
        tensors[part + "lora_A.weight"] = generator.normal(size=(4, columns)).astype(np.float32) / 16
        tensors[part + "lora_B.weight"] = generator.normal(size=(rows, 4)).astype(np.float32) / 16
adapter.mkdir()
save_file(tensors, adapter / "adapter_model.safetensors")
settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
(adapter / "adapter_config.json").write_text(json.dumps(settings))
for layer in (0, 8, 20):
    shape = tensors[f"base_model.model.model.layers.{layer}.self_attn.v_proj.lora_B.weight"].shape
    print(f"layer {layer:2}: KV heads {heads[layer]}, B of v_proj {shape}")

merged = folder.with_name("DeciLM-6b-small-merged")
merge_checkpoint(folder, adapter, merged)


def logits(path, adapter=None):
    return minidecilm.load(path, adapter=adapter).model([[1, 300, 301, 302]])


changes = {
    "beside": logits(folder, adapter) - logits(folder),
    "merged": logits(merged) - logits(folder),
    "beside int4": logits(int4, adapter) - logits(int4),
}
largest = np.abs(changes["beside"]).max()
for name in ("merged", "beside int4"):
    away = np.abs(changes[name] - changes["beside"]).max() / largest
    print(f"{name:12} differs by {away:5.1%} of the change")

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the last cell; it says what is wrong. Folded below are worked
# answers, which stand in for every `...` that is left.
#
# 1. Which layers of the small folder straddle two files? A list of ints, from `weight_map` in its
#    `model.safetensors.index.json`. (Its files are filled in proportion: compare with the figure.)
# 2. An int4 matrix stores half a byte per weight and one bfloat16 scale for every 64 columns of a row. How
#    many bytes take the three feed-forward matrices of one layer of the real DeciLM-6b?
# 3. On the int4 folder, how large is the largest difference of a probability from that of the bfloat16
#    folder after the ids `[1, 300, 301, 302]`?

# %% tags=["exercise"]
answer_1 = ...
answer_2 = ...
answer_3 = ...


# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
def next_token(lm, ids):
    logits = lm.model([ids])[0, -1].astype(np.float64)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


if answer_1 is ...:
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    files = {
        layer: {index[name] for name in index if name.startswith(f"model.layers.{layer}.")}
        for layer in range(32)
    }
    answer_1 = [layer for layer, names in files.items() if len(names) > 1]
if answer_2 is ...:
    in_all = 3 * config.hidden_size * config.layers[0].intermediate_size
    answer_2 = in_all // 2 + 2 * in_all // 64
if answer_3 is ...:
    ids = [1, 300, 301, 302]
    answer_3 = np.abs(next_token(lm, ids) - next_token(lm_int4, ids)).max()

# %% tags=["check"]
import answers

from minidecilm.ops import log_softmax

stored = {name: tensor.nbytes for name, tensor in costs.stored_tensors(small).items()}
of_files = [{layer_of.get(name) for name in names} - {None} for names in plan_shards(stored, shard_bytes)]
straddling = {layer for one, two in pairwise(of_files) for layer in one & two}
assert set(answers.array(1, answer_1, (None,)).tolist()) == straddling, "1: not those layers"
of_layer = {
    name: tensor.nbytes for name, tensor in costs.stored_tensors(config, "int4").items() if ".0.mlp." in name
}
assert answers.number(2, answer_2) == sum(of_layer.values()), (
    "2: half a byte a weight, two bytes for every 64 of them"
)
one, two = (np.exp(log_softmax(opened.model([[1, 300, 301, 302]])[0, -1])) for opened in (lm, lm_int4))
assert np.isclose(answers.number(3, answer_3), np.abs(one - two).max()), "3: not the largest difference"
print("All three are right.")
