"""Matrix products of every backend and storage against float64, at sizes that no tile divides."""

import ml_dtypes
import numpy as np
import pytest

from minidecilm import ops
from minidecilm.backends import numba_backend
from minidecilm.weights.packed import PackedWeight
from tests.backends import kernels

FLOATS = ("float32", "float64", "bfloat16", "float16")
PACKED = tuple((bits, group) for bits in (8, 4) for group in (32, 64, 128))
SHAPES = [(1, 2), (5, 7), (37, 50), (64, 128), (33, 520)]  # (out, in)
TOKENS = (1, 2, 3, 4, 5, 9, 23, 24, 31)  # around what tiles take, and where many begin

# Sums of float32 products: what rounding may cost, as a share of the sum of their sizes.
ROUNDING = 1e-6


@pytest.fixture(scope="module", params=kernels.NAMES)
def backend(request):
    return kernels.make_on_host(request.param)


def random_x(tokens, columns):
    return np.random.default_rng([tokens, columns]).standard_normal((tokens, columns), np.float32)


def stored_weight(shape, storage):
    values = np.random.default_rng(shape).standard_normal(shape)
    return values.astype(ml_dtypes.bfloat16 if storage == "bfloat16" else storage)


def packed_weight(shape, bits, group):
    generator = np.random.default_rng([*shape, bits, group])
    low, high = (-127, 128) if bits == 8 else (-8, 8)
    codes = generator.integers(low, high, shape)
    scales = generator.uniform(-2, 2, (shape[0], -(-shape[1] // group)))
    return PackedWeight.from_codes(codes, scales, bits, group)


def rounded(x, group):
    """Activations as packed kernels take them: int8 times one float32 scale per group of columns."""
    taken = np.empty(x.shape, np.float64)
    for start in range(0, x.shape[1], group):
        part = x[:, start : start + group]
        peak = np.abs(part).max(axis=1, keepdims=True)
        codes = np.rint(part * (np.float32(127) / peak))
        taken[:, start : start + group] = codes * (peak / np.float32(127)).astype(np.float64)
    return taken


def in_bfloat16(x):
    """Activations as dtype="bfloat16" multiplies them."""
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def assert_product(y, x, weight):
    """Assert y = x @ weight.T but for the rounding of float32 sums."""
    x, weight = x.astype(np.float64), np.asarray(weight, np.float64)
    allowed = ROUNDING * (np.abs(x) @ np.abs(weight).T)
    assert y.dtype == np.float32
    assert y.shape == allowed.shape
    excess = np.abs(y - x @ weight.T) - allowed
    assert excess.max() <= 0, f"off by {excess.max():.2g} more than rounding, at {np.argmax(excess)}"


def packed_product(backend, x, weight):
    """Multiply a packed weight; return the product, and the activations that the kernel takes."""
    return backend.linear(x, weight), rounded(x, weight.group) if backend.name == "numba" else x


@pytest.mark.parametrize("storage", FLOATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stored(backend, shape, storage):
    weight = stored_weight(shape, storage)
    if storage == "float64" and backend.name == "cupy":
        with pytest.raises(ValueError, match="weights of float64: the cupy backend stores float32"):
            backend.linear(random_x(1, shape[1]), weight)
        return
    for tokens in TOKENS:
        x = random_x(tokens, shape[1])
        assert_product(backend.linear(x, weight), x, weight)


@pytest.mark.parametrize("name", kernels.NUMBA)
@pytest.mark.parametrize("storage", FLOATS)
def test_activations_rounded_to_bfloat16(name, storage):
    """The name means one thing, whichever instruction multiplies; packed weights round to int8 as ever."""
    backend, exact = kernels.make(name, "bfloat16"), kernels.make(name)
    for shape in SHAPES:
        weight = stored_weight(shape, storage)
        for tokens in TOKENS:
            x = random_x(tokens, shape[1])
            y = backend.linear(x, weight)
            assert_product(y, in_bfloat16(x), weight)
            with pytest.raises(AssertionError):
                assert_product(exact.linear(x, weight), in_bfloat16(x), weight)
    packed = packed_weight((37, 50), 8, 32)
    np.testing.assert_array_equal(*(b.linear(random_x(3, 50), packed) for b in (backend, exact)))


@pytest.mark.parametrize("name", kernels.NUMBA)
def test_what_bfloat16_cannot_hold_becomes_infinite(name):
    backend, weight = kernels.make(name, "bfloat16"), np.ones((5, 64), ml_dtypes.bfloat16)
    for tokens in (3, 30):
        x = np.ones((tokens, 64), np.float32)
        x[1, 40], x[2, 7] = np.finfo(np.float32).max, np.nan
        with np.errstate(over="ignore"):
            y = backend.linear(x, weight)
        assert np.isposinf(y[1]).all()
        assert np.isnan(y[2]).all()
        np.testing.assert_array_equal(np.delete(y, (1, 2), axis=0), 64)


@pytest.mark.parametrize("name", kernels.NUMBA)
def test_products_in_one_go_are_those_of_each_weight(name):
    """Of like and of unlike weights; every bit the same."""
    backend = kernels.make(name)
    shapes = ((37, 50), (16, 50), (1, 50))
    stored = [stored_weight(shape, "bfloat16") for shape in shapes]
    packed = [packed_weight(shape, 4, 32) for shape in shapes]
    grouped = [packed_weight((16, 128), 8, group) for group in (32, 64, 128)]
    mixed = [stored[0], packed[1], packed_weight((5, 50), 4, 64), stored_weight((3, 50), "float32")]
    for tokens in (1, 5, 30):
        x = random_x(tokens, 50).reshape(1, tokens, 50)
        for weights in (stored[:1], stored[:2], stored, packed, mixed):
            found = backend.linears(x, *weights)
            assert len(found) == len(weights)
            for y, weight in zip(found, weights, strict=True):
                np.testing.assert_array_equal(y, backend.linear(x, weight))
        x = random_x(tokens, 128)
        for y, weight in zip(backend.linears(x, *grouped), grouped, strict=True):
            np.testing.assert_array_equal(y, backend.linear(x, weight))


@pytest.mark.parametrize("name", ["numba-explicit", "numba-portable"])
def test_no_storage_is_left_to_numpy(name, monkeypatch):
    """The definition widens a matrix for every token: many times slower, and nothing would say so."""
    backend = kernels.make(name)

    def definition(*arguments):
        raise AssertionError("ops.linear was called")

    monkeypatch.setattr(ops, "linear", definition)
    x = random_x(2, 64)
    for weight in (
        *(stored_weight((5, 64), s) for s in FLOATS),
        *(packed_weight((5, 64), *p) for p in PACKED),
    ):
        assert backend.linear(x, weight).shape == (2, 5)
    with pytest.raises(
        ValueError, match=r"dtype int16: .* float32, float64, .*: load with weights='float32'"
    ):
        backend.linear(x, np.ones((5, 64), np.int16))


@pytest.mark.parametrize("instruction", [True, False])
def test_every_float16_is_widened_exactly(instruction):
    """Subnormal numbers, infinities, NaN and both zeros; on CPUs that have an instruction for it, or not."""
    kernels.make("numba-explicit")
    cpu = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+avx2,+fma" + ",+f16c" * instruction}
    found = kernels.run_apart("every_float16", **cpu)
    assert (found.returncode, found.stdout) == (0, f"exact {instruction}\n"), found.stderr


@pytest.mark.parametrize(("bits", "group"), PACKED)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_packed(backend, shape, bits, group):
    weight = packed_weight(shape, bits, group)
    for tokens in TOKENS:
        y, x = packed_product(backend, random_x(tokens, shape[1]), weight)
        assert_product(y, x, weight[:])


def test_shape_of_the_input_is_kept(backend):
    x, weight = random_x(6, 50).reshape(2, 3, 50), stored_weight((37, 50), "bfloat16")
    y = backend.linear(x, weight)
    assert y.shape == (2, 3, 37)
    assert_product(y.reshape(6, 37), x.reshape(6, 50), weight)
    strided = random_x(4, 100)[:, ::2]
    assert_product(backend.linear(strided, weight), strided, weight)


def test_misaligned_weights(backend):
    weight = stored_weight((5, 7), "bfloat16")
    raw = np.frombuffer(b"\0" + weight.tobytes(), np.uint8)[1:].view(ml_dtypes.bfloat16).reshape(5, 7)
    assert not raw.flags.aligned
    for tokens in (2, 30):
        x = random_x(tokens, 7)
        assert_product(backend.linear(x, raw), x, weight)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("tokens", [3, 30])
def test_nan_reaches_every_row_of_its_token_and_of_no_other(backend, wrong, tokens):
    x = random_x(tokens, 100)
    x[1, 70] = wrong
    stored = stored_weight((33, 100), "bfloat16")
    with np.errstate(invalid="ignore"):
        for weight in (stored, packed_weight((33, 100), 8, 32), packed_weight((33, 100), 4, 64)):
            finite = np.isfinite(backend.linear(x, weight))
            assert not finite[1].any()
            assert np.delete(finite, 1, axis=0).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_wrong_scale_in_the_last_partial_group_is_caught(backend, bits):
    weight = packed_weight((37, 50), bits, 32)
    right = weight[:]
    weight.scales[-1, -1, 4] *= 2  # of the last row: 37 = 2 * 16 + 5
    y, x = packed_product(backend, random_x(2, 50), weight)
    with pytest.raises(AssertionError, match="more than rounding"):
        assert_product(y, x, right)


@pytest.mark.parametrize("mistake", [lambda y: y[:, [1, 0, *range(2, 37)]], lambda y: y * 1.00001])
def test_assert_product_can_fail(mistake):
    weight, x = stored_weight((37, 50), "float32"), random_x(3, 50)
    y = ops.linear(x, weight)
    assert_product(y, x, weight)
    with pytest.raises(AssertionError):
        assert_product(mistake(y).astype(np.float32), x, weight)


def check_shares(share_of):
    """Every item belongs to exactly one thread."""
    for threads in (1, 2, 3, 7):
        for count in (0, 1, 4, 15, 16, 17, 100):
            for step in (1, 4, 16):
                owned = [i for t in range(threads) for i in range(*share_of(t, threads, count, step))]
                assert owned == list(range(count)), (threads, count, step)


def test_threads_share_rows_without_overlap():
    share_of = pytest.importorskip("minidecilm.backends.numba_backend.linear").share_of

    def overlapping(thread, threads, count, step):
        start, stop = share_of(thread, threads, count, step)
        return max(start - 1, 0), stop

    check_shares(share_of)
    with pytest.raises(AssertionError):  # two threads write one row
        check_shares(overlapping)


def test_result_does_not_depend_on_the_number_of_threads():
    import numba

    backend, most = kernels.make("numba-explicit"), numba.get_num_threads()
    if most == 1:
        pytest.skip("there is one thread only")
    try:
        for weight in (stored_weight((130, 50), "bfloat16"), packed_weight((130, 50), 4, 32)):
            for tokens in (1, 5, 30):
                x = random_x(tokens, 50)
                numba.set_num_threads(1)
                alone = backend.linear(x, weight)
                numba.set_num_threads(most)
                np.testing.assert_array_equal(backend.linear(x, weight), alone)
    finally:
        numba.set_num_threads(most)


def test_result_does_not_depend_on_how_weights_are_read(monkeypatch):
    """Streams side by side whose lengths differ, odd panels, last tokens: every bit as one by one."""
    backend = kernels.make("numba-explicit")
    from minidecilm.backends.numba_backend import choosing

    for rows in (1, 2, 3, 4, 15, 16, 17, 33, 75, 130):
        shape = (rows, 100)
        weights = (stored_weight(shape, "bfloat16"), packed_weight(shape, 8, 32), packed_weight(shape, 4, 64))
        for weight in weights:
            for tokens in (1, 2, 5):
                x, found = random_x(tokens, 100), []
                for choice in choosing.CANDIDATES:
                    monkeypatch.setattr(numba_backend, "chosen", lambda kind, choice=choice: choice)
                    found.append(backend.linear(x, weight))
                for y in found[1:]:
                    np.testing.assert_array_equal(y, found[0])


EXTREMES = {8: (-128, -127, 127), 4: (-8, 7)}


def check_extremes(backend, bits, group, token_counts=(1, 5)):
    """All weights and activations as large as can be, of equal and of changing sign: no sum may overflow."""
    columns = 2 * group
    alternating = np.where(np.arange(columns) % 2, -1, 1).astype(np.float32)
    for code in EXTREMES[bits]:
        codes = np.full((17, columns), code, np.int8)
        weight = PackedWeight.from_codes(codes, np.ones((17, 2)), bits, group)
        for tokens in token_counts:
            for x in (np.ones(columns, np.float32), -np.ones(columns, np.float32), alternating):
                y, taken = packed_product(backend, np.tile(x, (tokens, 1)), weight)
                assert_product(y, taken, weight[:])


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("group", [64, 128])
def test_extreme_codes_and_activations(backend, bits, group):
    check_extremes(backend, bits, group)


def test_no_tokens(backend):
    for weight in (stored_weight((5, 7), "bfloat16"), packed_weight((5, 7), 8, 32)):
        assert backend.linear(np.zeros((1, 0, 7), np.float32), weight).shape == (1, 0, 5)
