"""Attention kernels of both kinds and both cache storages against the definition in float64."""

from functools import partial

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minidecilm import ops
from minidecilm.backends.numba_backend import portable_attention, tasks
from tests.backends import kernels

STORAGES = pytest.mark.parametrize("storage", [np.float32, ml_dtypes.bfloat16], ids=["float32", "bfloat16"])


@pytest.fixture(scope="module", params=[name for name in kernels.NAMES if name != "numpy"])
def backend(request):
    return kernels.make_on_host(request.param)


@pytest.fixture(scope="module")
def attention(backend):
    return backend.attention


@pytest.fixture(scope="module", params=kernels.NUMBA)
def of_numba(request):
    return kernels.make(request.param).attention


def make_case(B, K, G, T, S, D, storage=np.float32, seed=0):
    """Return q, and k and v as views of a longer cache whose unused slots hold NaN."""
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((B, T, K * G, D), np.float32).swapaxes(1, 2)  # (B, H, T, D), strided
    cache = rng.standard_normal((2, B, K, S + 3, D), np.float32)
    cache[:, :, :, S:] = np.nan
    k, v = cache.astype(storage)
    return 2 * q, k[:, :, :S], v[:, :, :S]


def causal(B, T, S):
    """Make a mask as a cache makes it, the last row of the batch padded on the left: (B, T, S)."""
    visible = np.broadcast_to(np.tri(T, S, k=S - T, dtype=bool), (B, T, S)).copy()
    visible[-1, :, : S // 3] = False
    return visible


def holes(B, T, S):
    """Make a mask without order, in which the first query sees nothing."""
    visible = np.random.default_rng(T * S).random((B, T, S)) < 0.6
    visible[0, 0] = False
    return visible


def expected_of(q, k, v, visible):
    return ops.attention(*(a.astype(np.float64) for a in (q, k, v)), visible)


def assert_attention(found, expected):
    """Float32 rounding of sums whose weights add up to 1, of values of size 1 .. 4."""
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6)


#: B, K, G, T, S, D: one KV head and H of them, odd groups, one token and many, no size a multiple of a tile.
SHAPES = [
    (1, 4, 8, 1, 300, 128),
    (1, 1, 32, 1, 513, 128),
    (2, 5, 1, 1, 1, 16),
    (1, 2, 3, 2, 131, 24),
    (2, 1, 5, 7, 129, 10),
    (1, 2, 5, 33, 257, 128),
    (1, 1, 32, 130, 130, 16),
    (2, 3, 3, 33, 40, 2),
    (1, 2, 300, 2, 50, 16),
    (9, 2, 2, 3, 5, 16),
]


@STORAGES
@pytest.mark.parametrize("mask", [causal, holes])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_definition(attention, shape, mask, storage):
    q, k, v = make_case(*shape, storage)
    visible = mask(shape[0], *shape[3:5])
    assert_attention(attention(q, k, v, visible), expected_of(q, k, v, visible))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    B=st.integers(1, 3),
    K=st.integers(1, 4),
    G=st.integers(1, 9),
    T=st.integers(1, 20),
    past=st.integers(0, 300),
    half=st.integers(1, 40),
    mask=st.sampled_from([causal, holes]),
    storage=st.sampled_from([np.float32, ml_dtypes.bfloat16]),
)
def test_any_shape(backend, B, K, G, T, past, half, mask, storage):
    S = past + T
    # CUDA kernels are compiled for one head size.
    D = kernels.HEAD_DIMS[half % len(kernels.HEAD_DIMS)] if backend.name == "cupy" else 2 * half
    q, k, v = make_case(B, K, G, T, S, D, storage)
    visible = mask(B, T, S)
    assert_attention(backend.attention(q, k, v, visible), expected_of(q, k, v, visible))


def test_query_that_sees_nothing_gives_zeros(attention):
    for T in (1, 70):
        q, k, v = make_case(1, 2, 4, T, 300, 32)
        visible = causal(1, T, 300)
        visible[0, -1] = False
        found = attention(q, k, v, visible)
        assert not found[:, :, -1].any()
        assert found[:, :, :-1].all()


def nan_reaches_whoever_sees_it(attention, T, place, storage):
    """A NaN score is not larger than any other: a careless maximum swallows it."""
    G, S = 4, 200
    q, k, v = make_case(1, 2, G, T, S, 32, storage)
    visible = causal(1, T, S)
    sound = attention(q, k, v, visible)
    affected = np.zeros(sound.shape, bool)
    token = S - T // 2 - 1  # seen by the later half of the queries
    if place == "key":
        k[0, 1, token, 3] = np.nan
        affected[0, G:] = visible[0, :, token, None]
    elif place == "value":
        v[0, 1, token, 3] = np.nan
        affected[0, G:, :, 3] = visible[0, :, token]
    else:
        q[0, 5, T // 2, 3] = np.nan
        affected[0, 5, T // 2] = True
    found = attention(q, k, v, visible)
    assert affected.any()
    assert np.isnan(found[affected]).all()
    # Zero times NaN is NaN in the definition, so a hidden value may spread; a hidden key may not.
    if place != "value":
        np.testing.assert_array_equal(found[~affected], sound[~affected])


@STORAGES
@pytest.mark.parametrize("place", ["key", "value", "query"])
@pytest.mark.parametrize("T", [1, 40])
def test_nan_reaches_whoever_sees_it(attention, T, place, storage):
    nan_reaches_whoever_sees_it(attention, T, place, storage)


def test_every_score_nan_is_not_taken_for_nothing_visible(attention):
    for T in (1, 40):
        q, k, v = make_case(1, 1, 4, T, 300, 32)
        assert np.isnan(attention(q, k * np.float32("nan"), v, causal(1, T, 300))).all()


@pytest.mark.parametrize("T", [1, 40])
@pytest.mark.parametrize("slope", [300, -300])
def test_huge_scores_are_stable(attention, T, slope):
    """Scores rise or fall far along the keys; integers, so that the scores themselves are exact."""
    S = 500
    q, k, v = make_case(1, 2, 4, T, S, 16)
    q, k = np.rint(q), np.rint(k)
    q[..., 0], k[..., 0] = 4, slope * np.arange(S)
    visible = causal(1, T, S)
    assert_attention(attention(q, k, v, visible), expected_of(q, k, v, visible))
    q[..., 0] *= 2**100
    assert_attention(attention(q, k, v, visible), expected_of(q, k, v, visible))


def test_inputs_are_left_alone_and_masks_may_be_strided(attention):
    q, k, v = make_case(2, 2, 3, 9, 60, 16)
    wide = causal(2, 18, 120)[:, ::2, ::2]
    before = [a.copy() for a in (q, k, v, wide)]
    found = attention(q, k, v, wide)
    for a, b in zip((q, k, v, wide), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found, attention(*before))


@pytest.fixture
def four_threads(monkeypatch):
    """More workers than this machine may have: how the work is divided follows their number."""
    monkeypatch.setattr(tasks.numba, "get_num_threads", lambda: 4)


def few_tokens_are_right(attention):
    """One token of a few KV heads: its keys are shared out in chunks."""
    for K, G in ((1, 6), (2, 3), (3, 2)):
        q, k, v = make_case(1, K, G, 1, 1000, 16)
        visible = causal(1, 1, 1000)
        assert_attention(attention(q, k, v, visible), expected_of(q, k, v, visible))


def test_few_tokens_are_right_in_chunks(of_numba, four_threads, monkeypatch):
    chunks = []
    monkeypatch.setattr(
        tasks, "combine", lambda mixed, *rest: (chunks.append(len(mixed)), combine(mixed, *rest))
    )
    few_tokens_are_right(of_numba)
    assert chunks == [4, 2, 4]


combine = tasks.combine


def one_chunk_missing(mixed, peaks, totals):
    combine(mixed[:-1], peaks[:-1], totals[:-1])


def chunks_averaged(mixed, peaks, totals):
    mixed[0] = mixed.mean(axis=0)


def peaks_forgotten(mixed, peaks, totals):
    combine(mixed, np.zeros_like(peaks), totals)


@pytest.mark.parametrize("broken", [one_chunk_missing, chunks_averaged, peaks_forgotten])
def test_chunks_put_together_wrongly_are_caught(of_numba, four_threads, broken, monkeypatch):
    monkeypatch.setattr(tasks, "combine", broken)
    with pytest.raises(AssertionError):
        few_tokens_are_right(of_numba)


def tiled_heads(q, k, v, visible):
    groups = q.shape[1] // k.shape[1]
    return sound_attention(q, np.tile(k, (1, groups, 1, 1)), np.tile(v, (1, groups, 1, 1)), visible)


def sees_one_key_less(q, k, v, visible):
    return sound_attention(q, k, v, visible & np.roll(visible, -1, axis=2))


def sees_one_key_more(q, k, v, visible):
    return sound_attention(q, k, v, visible | np.roll(visible, -1, axis=2))


def no_scale(q, k, v, visible):
    return sound_attention(q * np.float32(q.shape[-1] ** 0.5), k, v, visible)


sound_attention = partial(tasks.attend_in_tasks, portable_attention.attend)


@pytest.mark.parametrize("broken", [tiled_heads, sees_one_key_less, sees_one_key_more, no_scale])
def test_planted_mistake_is_caught(broken):
    with pytest.raises(AssertionError):
        few_tokens_are_right(broken)


def test_swallowed_nan_is_caught():
    def swallows_nan(q, k, v, visible):
        return sound_attention(np.nan_to_num(q), np.nan_to_num(k), v, visible)

    for place in ("key", "query"):
        with pytest.raises(AssertionError):
            nan_reaches_whoever_sees_it(swallows_nan, 1, place, np.float32)
