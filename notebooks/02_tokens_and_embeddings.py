# %% [markdown]
# # 2. Tokens and embeddings
#
# A network computes with numbers, so a text has to become numbers first. That takes two steps: a
# *tokenizer* cuts the text into tokens and gives each its id, and an *embedding* turns each id into a
# vector. At the other end, a *head* turns a vector into one logit for each token. This notebook looks at
# all three in the demo model.

# %%
# %matplotlib inline
import matplotlib
import numpy as np

import minidecilm
from minidecilm import costs, ops, plots
from minidecilm.plots.style import BLUE

matplotlib.rcParams.update(plots.LIGHT)
lm = minidecilm.load("demo")
tokenizer = lm.tokenizer
tokenizer

# %% [markdown]
# ## From text to ids
#
# The tokenizer is of Llama 2's kind: byte-pair encoding by SentencePiece. Its
# vocabulary was made once, from a body of text, by joining the neighbours that occur most often: first
# letters, then pieces of words, then whole words. Frequent words are one token, rare ones fall apart into
# pieces. The vocabulary of DeciLM-6b has 32,000 tokens, that of the demo model 2,048.
#
# A piece writes a space as `▁`. Every text begins with the special token `<s>`. What no piece covers is
# spelled as its UTF-8 bytes, such as `<0xC3>`, and so any text can be encoded, and decoding gives it back.

# %%
texts = [
    "Once upon a time, there was a little fox named Sam.",
    "Antidisestablishmentarianism",
    "naïve 2048 🦊",
]
figure, ax = plots.new_figure(size=(9.6, 1.9))
for row, text in enumerate(texts):
    x = 0
    for token in tokenizer.encode(text):
        piece = tokenizer.id_to_piece(token)
        ax.text(
            x,
            row,
            piece,
            family="monospace",
            size=9,
            bbox={"boxstyle": "round", "fc": (BLUE, 0.15), "ec": BLUE},
        )
        ax.text(x, row + 0.42, str(token), size=7)
        x += max(len(piece), 2) + 1.8
    assert tokenizer.decode(tokenizer.encode(text)) == text
ax.set(xlim=(-1, 92), ylim=(2.7, -0.5), title="Three texts as pieces, with their ids below")
ax.axis("off")
figure

# %% [markdown]
# A tokenizer is good at what it was made from. The fewer tokens a text takes, the more of it fits the
# context, and the fewer steps it takes to write it.

# %%
samples = {
    "a children's story": lm.generate("Once upon a time", max_new_tokens=200, temperature=0.7, seed=1),
    "an English sentence": "It is a truth universally acknowledged that prices rise faster than wages.",
    "a German sentence": "Der schnelle braune Fuchs springt über den faulen Hund.",
    "a line of Python": "for step in range(len(tokens)): total += tokens[step] ** 2",
    "a Greek sentence": "Η αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.",
}
lengths = [len(text) / len(tokenizer.encode(text, add_bos=False)) for text in samples.values()]
figure, ax = plots.new_figure(size=(6.4, 2.4))
ax.barh(list(samples), lengths, color=BLUE)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.set_title("How much text a token holds")
ax.set_xlabel("characters per token")
figure

# %% [markdown]
# ## From ids to vectors
#
# The embedding is a matrix $W \in \mathbb{R}^{V \times E}$ with one row per token. Embedding a text of $T$
# tokens is looking up rows:
#
# $$ x_t = W_{\text{id}_t}, \qquad x \in \mathbb{R}^{T \times E}. $$
#
# The library does exactly that: `ops.embedding(W, ids, dtype)`. Every layer after it reads and writes a
# vector of the same size $E$, which is why $x$ is called the *residual stream* or the *hidden state*. A
# `Recorder` keeps what the model computes on the way; all its stages have names.

# %%
ids = tokenizer.encode(texts[0])
W = lm.model.weights["model.embed_tokens.weight"]  # (V, E)
x = ops.embedding(W, np.array([ids]), np.float32)  # (B, T, E), here with B = 1

seen = minidecilm.Recorder(["embed_tokens"])
lm.model([ids], observer=seen)
assert np.array_equal(x, seen.values[None, "embed_tokens"])

figure, ax = plots.new_figure(size=(8.6, 2.8))
limit = np.abs(x).max()
image = ax.imshow(x[0], cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
ax.set_yticks(range(len(ids)), [tokenizer.id_to_piece(token) for token in ids], size=8)
ax.grid(visible=False)
ax.set_title(f"Embeddings of a text of {len(ids)} tokens: {lm.config.hidden_size} numbers each")
ax.set_xlabel("dimension")
figure.colorbar(image, label="value", pad=0.01)
figure

# %% [markdown]
# Nothing can be read off these rows: no dimension has a name. What can be asked is which vectors are *alike*,
# that is, point in similar directions: the cosine of the angle between them is then near 1.
#
# ## Where tokens become alike
#
# Below are words of five kinds, each as the last word of the same sentence. On the left are their
# embeddings: in this small model every token is almost at a right angle to every other, whatever it means.
# In the middle and on the right is what the first and the last layer make of them. After the first layer,
# words of a kind have begun to be alike. After the last, only one thing counts: what can come next. A
# colour has to be followed by a thing, the other words by no thing; not every word obeys. (The mean over
# all words is taken out first, so that what they share with the sentence does not count.)

# %%
kinds = {
    "name": "Toby Lena Sam Jack Polly",
    "animal": "fox mouse bear duck pig",
    "colour": "pink purple red blue green",
    "family": "mom dad grandma uncle aunt",
    "speech": "said cried asked called shouted",
}
words = [word for group in kinds.values() for word in group.split()]
sentence = tokenizer.encode("One day, Sam saw a")
rows = [sentence + tokenizer.encode(word, add_bos=False) for word in words]
seen = minidecilm.Recorder(["embed_tokens", "hidden_states"])
lm.model(rows, observer=seen)
last = len(lm.config.layers) - 1
stages = {
    "embedding": (None, "embed_tokens"),
    "layer 0": (0, "hidden_states"),
    f"layer {last}": (last, "hidden_states"),
}

figure, axes = plots.new_figure(1, 3, size=(9.6, 3.6), sharey=True)
for ax, (name, stage) in zip(axes, stages.items(), strict=True):
    vectors = seen.values[stage][:, -1]  # (words, E)
    vectors = vectors - vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    image = ax.imshow(vectors @ vectors.T, cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_xticks(range(2, len(words), 5), list(kinds), size=9)
    ax.set_yticks(range(2, len(words), 5), list(kinds), size=9)
    ax.grid(visible=False)
    ax.set_title(name)
figure.colorbar(image, ax=axes, label="cosine similarity", pad=0.01)
figure

# %% [markdown]
# ## From vectors to logits
#
# At the end, the hidden state is normalised (notebook 4) and multiplied by another matrix, the head
# $W_\text{head} \in \mathbb{R}^{V \times E}$: each token's logit is the dot product of its row with the
# vector, $z = W_\text{head}\, h$. Some models use the embedding for this too ("tied"); DeciLM has two
# matrices. In a small model they are much of the whole, in DeciLM-6b little.

# %%
presets = {"DeciLM-6b": minidecilm.preset("decilm-6b"), "demo": lm.config}
figure, axes = plots.new_figure(1, 2, size=(9.6, 3.0))
for ax, (name, config) in zip(axes, presets.items(), strict=True):
    plots.parameters(ax, {name: config})
    ax.set_title(f"Parameters of {name} by part")
    print(f"{name}: V = {config.vocab_size:,}, E = {config.hidden_size:,}")
figure

# %% [markdown]
# ## Exercises
#
# Put your answers in place of `...` and run the cells from there to the end; the last one says what is
# wrong. The folded cell holds worked answers, which stand in for every `...` that is left.
#
# 1. The tokenizer was trained on English. How many tokens does the Greek word `"σκυλί"` take, without the
#    begin token? Work it out by hand: a Greek letter is two bytes in UTF-8, and a text begins with a space.
# 2. Looking up rows is a matrix product in disguise. Make the matrix `answer_2` of shape (T, V) for which
#    `answer_2 @ W` is the embedding of `ids`.
# 3. What share of the parameters of DeciLM-6b are in embedding and head together? All you need is in its
#    `vocab_size`, `hidden_size` and `num_parameters`.

# %% tags=["exercise"]
answer_1 = ...
answer_2 = ...
answer_3 = ...

# %% tags=["solution", "hide-input"] jupyter={"source_hidden": true}
answer_1 = 1 + 5 * 2 if answer_1 is ... else answer_1  # the space, then five letters of two bytes
answer_2 = np.eye(len(W))[ids] if answer_2 is ... else answer_2  # one-hot rows
big = presets["DeciLM-6b"]
answer_3 = 2 * big.vocab_size * big.hidden_size / big.num_parameters if answer_3 is ... else answer_3

# %% tags=["check"]
import answers

assert answers.number(1, answer_1) == len(tokenizer.encode("σκυλί", add_bos=False)), (
    "1: count the space and every byte"
)
one_hot = answers.array(2, answer_2, (len(ids), len(W)))
assert np.allclose(one_hot @ W.astype(np.float64), x[0]), "2: the product is not the embedding of the ids"
parts = costs.parameters_by_part(presets["DeciLM-6b"])
share = (parts["embedding"] + parts["head"]) / sum(parts.values())
assert np.isclose(answers.number(3, answer_3), share), "3: not the share of embedding and head"
print(f"All right: embedding and head are {answer_3:.1%} of DeciLM-6b.")
