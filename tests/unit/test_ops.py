"""Each operation against plain loops in float64."""

import math
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from minidecilm import ops


def rms_norm_casts_before_the_weight(rms_norm, dtype):
    """In a narrow dtype, casting before or after the weight rounds differently: Llama casts before."""
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(8, 64)).astype(dtype), rng.normal(size=64).astype(dtype)
    found = rms_norm(x, weight, 1e-5)
    assert found.dtype == dtype
    for row, result in zip(x.astype(np.float32), found, strict=True):
        normalised = (row / np.sqrt(np.mean(row * row, dtype=np.float32) + np.float32(1e-5))).astype(dtype)
        expected = weight * normalised  # one rounding for the cast, one for the product
        np.testing.assert_array_equal(result.astype(np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16], ids=["bfloat16", "float16"])
def test_rms_norm_casts_before_the_weight(dtype):
    rms_norm_casts_before_the_weight(ops.rms_norm, dtype)


@pytest.mark.parametrize("storage", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("compute", [np.float64, np.float32])
@pytest.mark.parametrize("lead", [(1,), (3,), (2, 5), (2, 1, 4)])
def test_linear_widens_any_storage(storage, compute, lead, monkeypatch):
    monkeypatch.setattr(ops, "_TILE", 30)  # several tiles, the last one ragged
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(*lead, 8)).astype(compute), rng.normal(size=(11, 8)).astype(storage)
    y = ops.linear(x, weight)
    assert y.dtype == compute
    assert y.shape == (*lead, 11)
    tolerance = 1e-13 if compute == np.float64 else 1e-5
    np.testing.assert_allclose(
        y, np.einsum("...i,oi->...o", x, weight.astype(compute)), rtol=0, atol=tolerance
    )


def test_linear_never_widens_the_whole_weight():
    weight = np.ones((16_384, 1024), ml_dtypes.bfloat16)  # 64 MiB once wide
    x = np.ones((1, 1024), np.float32)
    tracemalloc.start()
    ops.linear(x, weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 2**20


@pytest.mark.parametrize("kv_heads", [1, 2, 3, 6])
def test_attention_is_grouped_in_neighbours(kv_heads):
    B, H, T, S, D = 2, 6, 3, 5, 4
    rng = np.random.default_rng(2)
    q = rng.normal(size=(B, H, T, D))
    k, v = rng.normal(size=(2, B, kv_heads, S, D))
    visible = rng.random((B, T, S)) < 0.7
    visible[0, 0] = False  # a query that sees nothing, as padding does
    found, weights = ops.attention(q, k, v, visible), ops.attention_weights(q, k, visible)
    for b in range(B):
        for h in range(H):
            g = h // (H // kv_heads)
            for t in range(T):
                seen = np.flatnonzero(visible[b, t])
                expected, shares = np.zeros(D), np.zeros(S)
                if len(seen):
                    scores = [q[b, h, t] @ k[b, g, s] / math.sqrt(D) for s in seen]
                    shares[seen] = np.exp(scores) / sum(np.exp(scores))
                    expected = sum(shares[s] * v[b, g, s] for s in seen)
                np.testing.assert_allclose(weights[b, h, t], shares, rtol=0, atol=1e-14)
                np.testing.assert_allclose(found[b, h, t], expected, rtol=0, atol=1e-14)


def test_attention_in_blocks_is_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    q, k, v = rng.normal(size=(1, 4, 9, 2)), rng.normal(size=(1, 2, 9, 2)), rng.normal(size=(1, 2, 9, 2))
    visible = np.tri(9, dtype=bool)[None]
    whole = ops.attention(q, k, v, visible)
    monkeypatch.setattr(ops, "_SCORES", 4 * 9 * 2)  # two queries at a time
    np.testing.assert_allclose(ops.attention(q, k, v, visible), whole, rtol=0, atol=1e-14)


def test_attention_never_holds_all_scores(monkeypatch):
    monkeypatch.setattr(ops, "_SCORES", 2**16)
    q, k = np.ones((1, 8, 512, 2), np.float32), np.ones((1, 2, 512, 2), np.float32)
    visible = np.tri(512, dtype=bool)[None]
    tracemalloc.start()
    ops.attention(q, k, k, visible)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 512 * 512 * 4 / 4  # a quarter of what all of them take


@pytest.mark.parametrize("storage", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_embedding_comes_in_the_compute_dtype(storage):
    weight = np.arange(12).reshape(4, 3).astype(storage)
    found = ops.embedding(weight, np.array([[3, 0]]), np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[[9, 10, 11], [0, 1, 2]]])


def test_rotate_pairs_the_halves():
    angle = 0.3
    x = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)
    cos, sin = np.full((1, 1, 1, 2), math.cos(angle)), np.full((1, 1, 1, 2), math.sin(angle))
    turned = ops.rotate(x, cos, sin).ravel()
    for i, j in ((0, 2), (1, 3)):  # pairs of the half-split layout
        pair = complex(x.ravel()[i], x.ravel()[j]) * complex(math.cos(angle), math.sin(angle))
        assert turned[i] == pytest.approx(pair.real)
        assert turned[j] == pytest.approx(pair.imag)


def test_heads_split_and_merge_undo_each_other():
    x = np.arange(2 * 3 * 8.0).reshape(2, 3, 8)
    heads = ops.split_heads(x, 4)
    assert heads.shape == (2, 2, 3, 4)
    np.testing.assert_array_equal(heads[1, 1, 2], x[1, 2, 4:])
    np.testing.assert_array_equal(ops.merge_heads(heads), x)


def test_swiglu_has_no_overflow_and_is_exact():
    gate = np.array([-1e4, -90.0, -1.0, 0.0, 1.0, 90.0, 1e4], np.float32)
    found = ops.swiglu(gate, np.full_like(gate, 2))
    expected = [2 * g / (1 + math.exp(min(-g, 700))) for g in gate.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-30)


def test_softmax_survives_large_scores():
    found = ops.softmax(np.array([[1e30, 1e30, -1e30]]), np.array([[True, True, True]]))
    np.testing.assert_allclose(found, [[0.5, 0.5, 0.0]])
