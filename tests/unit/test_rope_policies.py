"""The rotary policies against their definition, written out here: one row, one token, one head at a time.

Nothing of the package but the config is used for what is expected. Rows of a batch have different lengths,
and reach M = 8 tokens in different calls or never.
"""

from itertools import pairwise

import numpy as np
import pytest

from minidecilm.backends import NUMPY
from minidecilm.config import Config, LayerConfig
from minidecilm.model import DeciLM

M, FACTOR, THETA, D = 8, 2.5, 100.0, 4
CONFIG = Config(
    20, 16, 4, D, (LayerConfig(2, 12), LayerConfig(1, 12)), M, rope_theta=THETA, rope_factor=FACTOR
)
WEIGHTS = {
    name: np.random.default_rng(number).normal(0, 0.3, shape)
    for number, (name, shape) in enumerate(CONFIG.parameter_shapes().items())
}

# 1 where a column holds a token of the row: one that never leaves M, one that is long, two that begin later,
# the second after some calls, and one that ends earlier, as rows of a batch do in generation.
MASK = np.array(
    [[0] * 18 + [1] * 6, [1] * 24, [0] * 7 + [1] * 17, [0] * 14 + [1] * 10, [0] * 4 + [1] * 13 + [0] * 7]
)
LENGTHS = MASK.sum(axis=1)
IDS = np.random.default_rng(9).integers(20, size=MASK.shape)
ORDERS = {
    "one call": [24],
    "prefill, chunk, steps": [11, 5, *[1] * 8],
    "token by token": [1] * 24,
}


def base_at(length):
    """Dynamic NTK: theta up to M, and growing beyond it."""
    return THETA if length <= M else THETA * (FACTOR * length / M - (FACTOR - 1)) ** (D / (D - 2))


def turn(vector, position, base):
    """Turn the pairs (i, i + D/2) of one head as complex numbers."""
    angles = np.array([position * base ** (-2 * i / D) for i in range(D // 2)])
    turned = (vector[: D // 2] + 1j * vector[D // 2 :]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag])


def norm(x, weight):
    return weight * x / np.sqrt(np.mean(x * x) + CONFIG.rms_norm_eps)


def by_hand(ids, call_sizes, policy, planned=None):
    """Logits (tokens, V) of one row without padding, fed in calls of these sizes."""
    keys, values = ([[] for _ in CONFIG.layers] for _ in "kv")  # per layer, per token: (K, D)
    logits = []
    for size in call_sizes:
        length = len(logits) + size  # of the row after this call
        for position in range(len(logits), length):
            base = {"reference": base_at(length), "exact": base_at(position + 1)}.get(policy, 0)
            if policy == "fixed":
                base = base_at(planned)
            x = WEIGHTS["model.embed_tokens.weight"][ids[position]]
            for layer, sizes in enumerate(CONFIG.layers):
                w = {
                    n.split(".")[-2]: v for n, v in WEIGHTS.items() if n.startswith(f"model.layers.{layer}.")
                }
                h = norm(x, w["input_layernorm"])
                q, k, v = ((w[f"{name}_proj"] @ h).reshape(-1, D) for name in "qkv")
                if policy != "exact":  # what is cached has been turned, and stays so
                    k = np.array([turn(head, position, base) for head in k])
                keys[layer].append(k)
                values[layer].append(v)
                heads = []
                for number, head in enumerate(q):
                    group = number // (len(q) // sizes.num_key_value_heads)
                    seen = [past[group] for past in keys[layer]]
                    if policy == "exact":  # turned anew for this query
                        seen = [turn(key, at, base) for at, key in enumerate(seen)]
                    shares = np.exp([turn(head, position, base) @ key / np.sqrt(D) for key in seen])
                    heads.append(shares / shares.sum() @ [past[group] for past in values[layer]])
                x = x + w["o_proj"] @ np.concatenate(heads)
                h = norm(x, w["post_attention_layernorm"])
                gate = w["gate_proj"] @ h
                x = x + w["down_proj"] @ (gate / (1 + np.exp(-gate)) * (w["up_proj"] @ h))
            logits.append(WEIGHTS["lm_head.weight"] @ norm(x, WEIGHTS["model.norm.weight"]))
    return np.array(logits)


def network(policy):
    return DeciLM(CONFIG, WEIGHTS, NUMPY, "float64", policy)


def feed(policy, chunks, planned=None):
    """Logits (B, T, V) of the batch, from a cache with this plan."""
    model = network(policy)
    cache, logits, start = model.new_cache(len(IDS), 24, planned_lengths=planned), [], 0
    for size in chunks:
        part = slice(start, start + size)
        logits.append(model(IDS[:, part], cache, MASK[:, part]))
        start += size
    return np.concatenate(logits, axis=1)


def assert_each_row(logits, chunks, policy, planned=None):
    """Compare every real token of every row with that row by hand."""
    edges = np.cumsum([0, *chunks])
    for row, real in enumerate(MASK.astype(bool)):
        sizes = [int(real[start:end].sum()) for start, end in pairwise(edges)]
        expected = by_hand(IDS[row][real], sizes, policy, None if planned is None else planned[row])
        np.testing.assert_allclose(logits[row][real], expected, rtol=0, atol=1e-11, err_msg=f"row {row}")


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("policy", ["reference", "exact"])
def test_every_row_follows_the_definition(policy, order):
    assert_each_row(feed(policy, ORDERS[order]), ORDERS[order], policy)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_fixed_takes_the_base_of_each_rows_own_plan(order):
    """Plans beyond what is fed, one that is just reached, one within M."""
    planned = [8, 40, 17, 12, 30]
    assert_each_row(feed("fixed", ORDERS[order], planned), ORDERS[order], "fixed", planned)


def test_fixed_without_a_cache_plans_each_rows_own_length():
    """Not the width of the padded batch."""
    assert_each_row(network("fixed")(IDS, attention_mask=MASK), [24], "fixed", LENGTHS)


def test_fixed_with_a_cache_and_no_plan_plans_for_a_full_cache():
    assert_each_row(feed("fixed", [24]), [24], "fixed", [24] * 5)


@pytest.mark.parametrize("row", range(5))
def test_fixed_refuses_one_row_that_outgrows_its_plan(row):
    planned = LENGTHS.copy()
    feed("fixed", [24], planned)  # all are just reached
    planned[row] -= 1
    with pytest.raises(ValueError, match=rf"planned for \[{', '.join(map(str, planned))}\] tokens a row"):
        feed("fixed", [24], planned)


def test_keys_are_cached_as_the_policy_says():
    """Turned with the base of their own call, or not at all."""
    row, calls = IDS[:1], [5, 7, 1]  # M = 8 is crossed within the second
    caches = {}
    for policy in ("reference", "exact"):
        model = network(policy)
        caches[policy] = cache = model.new_cache(1, 13)
        for end, size in zip(np.cumsum(calls), calls, strict=True):
            model(row[:, end - size : end], cache)
    w = {name: WEIGHTS[f"model.layers.0.{name}.weight"] for name in ("self_attn.k_proj", "input_layernorm")}
    lengths = [5] * 5 + [12] * 7 + [13]  # of the row, when each key was written
    for position, length in enumerate(lengths):
        h = norm(WEIGHTS["model.embed_tokens.weight"][row[0, position]], w["input_layernorm"])
        for head, key in enumerate((w["self_attn.k_proj"] @ h).reshape(2, D)):
            np.testing.assert_allclose(caches["exact"].keys[0][0, head, position], key, atol=1e-14)
            turned = turn(key, position, base_at(length))
            np.testing.assert_allclose(caches["reference"].keys[0][0, head, position], turned, atol=1e-14)
