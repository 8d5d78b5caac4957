"""What is the CuPy backend's own: recorded steps, rounding, the memory plan, its kernels' discipline.

Without a GPU the kernels run on a CPU: see cuda_on_cpu/README.md for what that shows and what it does not.
"""

import gc
import re
import subprocess
import sys
from contextlib import nullcontext

import ml_dtypes
import numpy as np
import pytest

import minidecilm
from minidecilm import costs
from minidecilm.backends import create_backend
from minidecilm.backends.host import on_host
from minidecilm.config import Config, LayerConfig
from minidecilm.model import DeciLM
from minidecilm.observe import Recorder
from minidecilm.ops import Visible
from tests import checks
from tests.backends import kernels
from tests.backends.cuda_on_cpu import compiling
from tests.backends.cuda_on_cpu.settings import SETTINGS
from tests.backends.test_attention import causal, expected_of, make_case
from tests.backends.test_linear import assert_product, packed_weight, random_x, stored_weight
from tests.backends.test_network import relative_error

EXACT, ROUNDED = "float32", "bfloat16"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("cupy", marks=pytest.mark.gpu),
        pytest.param(kernels.ON_CPU, marks=pytest.mark.slow),
    ],
)
def name(request):
    kernels.make(request.param)
    return request.param


@pytest.fixture(scope="module")
def on_cpu():
    kernels.make(kernels.ON_CPU)


def demo_model(name, dtype=EXACT, weights="stored", **options):
    lm = minidecilm.load("demo", weights=weights, backend="numpy")
    return DeciLM(lm.config, lm.model.weights, kernels.make(name, dtype), dtype, **options)


def demo_logits(ids, weights="stored"):
    lm = minidecilm.load("demo", weights=weights, backend="numpy")
    return DeciLM(lm.config, lm.model.weights, kernels.make("numpy"), "float64")(ids)


IDS = np.array([[1, 400, 500, 17, 3, 255, 900], [2, 8, 1000, 41, 77, 5, 6]])


def fed_by_step(model, ids, mask=None, first=3, **cache_options):
    cache = model.new_cache(*ids.shape, **cache_options)
    chunks = [slice(0, first), *(slice(t, t + 1) for t in range(first, ids.shape[1]))]
    logits = [on_host(model(ids[:, c], cache, None if mask is None else mask[:, c])) for c in chunks]
    return np.concatenate(logits, axis=1)


# What rounding activations to bfloat16 costs, as a share of the logits' root mean square. One rounding is at
# most 2^-9. Measured with the demo model: 0.003 to 0.005.
ROUNDING = 2**-7


@pytest.mark.parametrize("weights", ["stored", "int8", "int4"])
@pytest.mark.parametrize("dtype", [EXACT, ROUNDED])
def test_recorded_steps_equal_the_definition(name, weights, dtype):
    """bfloat16 and packed weights; the first row begins with padding; the steps are recorded."""
    model, mask = demo_model(name, dtype, weights), np.ones(IDS.shape, int)
    mask[0, :2] = 0
    lm = minidecilm.load("demo", weights=weights, backend="numpy")
    exact = DeciLM(lm.config, lm.model.weights, kernels.make("numpy"), "float64")
    expected = exact(IDS, attention_mask=mask)
    assert model.decodes_in_one_go
    found = fed_by_step(model, IDS, mask)
    error = relative_error(found[mask == 1], expected[mask == 1])
    if dtype == EXACT:
        assert error < 1e-5
    else:
        assert 1e-4 < error < ROUNDING


@pytest.mark.parametrize("dtype", [EXACT, ROUNDED])
def test_a_step_of_a_long_cache_uses_the_splits_it_fills(name, dtype):
    """Blocks are planned for the whole cache; from step to step more of them have something to do."""
    model, ids = demo_model(name, dtype), np.random.default_rng(0).integers(3, 2000, (1, 131))
    cache, first = model.new_cache(1, 400), 62
    found = [on_host(model(ids[:, :first], cache))]
    for t in (*range(first, 66), 126, 127, 128, 129, 130):
        if t == 126:
            found.append(on_host(model(ids[:, 66:t], cache)))
        found.append(on_host(model(ids[:, t : t + 1], cache)))
    [step] = model._decode._steps.values()
    [rooms] = [part for part in step.arrays if isinstance(part, list)]
    assert max(room.grid[2] for _, room in rooms) > 1
    assert relative_error(np.concatenate(found, axis=1), demo_logits(ids)) < (
        1e-5 if dtype == EXACT else ROUNDING
    )


@pytest.mark.parametrize("odd", ["k_proj", "up_proj"])
def test_storages_that_differ_within_a_layer(name, odd):
    """One launch reads matrices of one storage: the operations are called one by one instead."""
    full, packed = (minidecilm.load("demo", weights=w, backend="numpy") for w in ("stored", "int8"))
    weights = {n: (full if odd in n else packed).model.weights[n] for n in full.model.weights}
    model = DeciLM(full.config, weights, kernels.make(name))
    assert not model.decodes_in_one_go
    expected = DeciLM(full.config, weights, kernels.make("numpy"), "float64")(IDS)
    assert relative_error(fed_by_step(model, IDS), expected) < 1e-5


def test_a_step_is_recorded_once_and_forgotten_with_its_cache(name):
    model = demo_model(name)
    cache = model.new_cache(1, 6)
    model(IDS[:1, :2], cache)
    steps = model._decode._steps
    model(IDS[:1, 2:3], cache)
    [recorded] = steps.values()
    model(IDS[:1, 3:4], cache)
    assert [*steps.values()] == [recorded]
    del cache, recorded
    gc.collect()
    assert len(steps) == 0


def test_steps_calls_and_caches_may_alternate(name):
    """A recorded step reads what the cache holds now, whoever wrote it; two caches do not meet."""
    model, expected = demo_model(name), demo_logits(IDS[:1])
    one, other = model.new_cache(1, 7), model.new_cache(1, 7)
    model(IDS[:1, :2], one)
    model(IDS[1:, :1], other)
    found = []
    for part in (slice(2, 3), slice(3, 5), slice(5, 6), slice(6, 7)):  # step, call of two, steps
        found.append(on_host(model(IDS[:1, part], one)))
        model(IDS[1:, part], other)
    assert relative_error(np.concatenate(found, axis=1), expected[:, 2:]) < 1e-5


def test_a_recorded_step_sees_that_slots_were_forgotten(name):
    """What was padding in them holds tokens now, although as many slots are in use as before."""
    model, alone = demo_model(name), demo_model(name)
    cache, expected = model.new_cache(2, 7), alone.new_cache(2, 7)
    model(IDS[:, :2], cache)
    alone(IDS[:, :2], expected)
    model(IDS[:, 2:3], cache, np.array([[1], [0]]))  # recorded; its mask is right about 3 slots
    cache.trim(1)
    expected.trim(1)
    for one, its_cache in ((model, cache), (alone, expected)):
        one(IDS[:, 3:5], its_cache)
    assert cache.length == 3
    found, right = (on_host(m(IDS[:, 5:6], c)) for m, c in ((model, cache), (alone, expected)))
    np.testing.assert_array_equal(found, right)


def test_a_saved_cache_is_the_same_file_on_a_gpu(name, tmp_path):
    """bfloat16 is kept there as its bits; what is read back goes on bit for bit, and on the CPU as well."""
    model = demo_model(name, kv_cache="bfloat16")
    cache = model.new_cache(2, 7)
    model(IDS[:, :4], cache)
    cache.save(tmp_path / "a.cache")
    host = minidecilm.load("demo", backend="numpy", kv_cache="bfloat16").model
    found, on_cpu = (m.load_cache(tmp_path / "a.cache", 7) for m in (model, host))
    on_cpu.save(tmp_path / "b.cache")
    assert (tmp_path / "a.cache").read_bytes() == (tmp_path / "b.cache").read_bytes()
    for one in (found, cache.fork([0, 1])):
        checks.same_state(one, cache)
    logits = [on_host(model(IDS[:, 4:5], one)) for one in (cache.fork(), found, cache)]
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])
    assert relative_error(logits[0], host(IDS[:, 4:5], on_cpu)) < 1e-2


def test_logits_outlive_the_next_step(name):
    model = demo_model(name)
    cache = model.new_cache(1, 3)
    first = model(IDS[:1, :1], cache)
    second = model(IDS[:1, 1:2], cache)
    before = [on_host(logits).copy() for logits in (first, second)]
    model(IDS[:1, 2:3], cache)
    np.testing.assert_array_equal(on_host(first), before[0])
    np.testing.assert_array_equal(on_host(second), before[1])


def test_an_observed_step_is_computed_operation_by_operation(name):
    """Against float64, by the size of a stage: how NumPy rounds float32 depends on the CPU."""
    model, expected = demo_model(name), demo_model("numpy", "float64")
    seen, reference = Recorder(), Recorder()
    for network, recorder in ((model, seen), (expected, reference)):
        cache = network.new_cache(2, 4)
        network(IDS[:, :3], cache)
        network(IDS[:, 3:4], cache, observer=recorder)
    assert seen.values.keys() == reference.values.keys()
    for key, value in reference.values.items():
        assert isinstance(seen.values[key], np.ndarray), key
        size = np.sqrt(np.mean(value**2))
        np.testing.assert_allclose(seen.values[key], value, rtol=0, atol=6e-6 * size, err_msg=str(key))


def test_generation_and_a_bfloat16_cache(name):
    """The whole road: prompt of unequal rows, sampling on the host, rows that end."""
    lm = minidecilm.load("demo", backend="numpy")
    model = demo_model(name)
    prompts = [[1, 300, 301], [1, 400]]
    options = {"max_new_tokens": 5, "temperature": 0.8, "seed": 3}
    expected = minidecilm.generate_tokens(lm.model, prompts, **options)
    for found, row in zip(minidecilm.generate_tokens(model, prompts, **options), expected, strict=True):
        np.testing.assert_array_equal(found, row)
    half = demo_model(name, ROUNDED)
    assert half.kv_cache == "bfloat16"
    assert half.new_cache(1, 10).nbytes * 2 == model.new_cache(1, 10).nbytes


@pytest.mark.parametrize("dtype", [EXACT, ROUNDED])
def test_tied_head_and_odd_sizes(name, dtype):
    """No size is a multiple of a tile, layers differ in query heads, the head is the embedding; nine rows."""
    layers = (LayerConfig(2, 50, 6), LayerConfig(3, 42, 3), LayerConfig(1, 70, 4))
    config = Config(45, 36, 6, 10, layers, max_position_embeddings=32, tie_word_embeddings=True)
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(0, 0.3, shape).astype(ml_dtypes.bfloat16)
        for name, shape in config.parameter_shapes().items()
    }
    ids = generator.integers(45, size=(9, 12))
    expected = DeciLM(config, weights, kernels.make("numpy"), "float64")(ids)
    model = DeciLM(config, weights, kernels.make(name, dtype), dtype)
    assert model.decodes_in_one_go
    error = relative_error(fed_by_step(model, ids), expected)
    assert error < (1e-5 if dtype == EXACT else 4 * ROUNDING)  # random weights: rounding costs more


# ---------------------------------------------------------------- products and attention that round


@pytest.mark.parametrize("tokens", [3, 40, 70])
@pytest.mark.parametrize("storage", ["bfloat16", 8, 4])
def test_rounded_products(name, tokens, storage):
    """Exactly the product of rounded activations; of many tokens, packed weights are rounded as well."""
    backend = kernels.make(name, ROUNDED)
    weight = (
        stored_weight((37, 96), storage) if storage == "bfloat16" else packed_weight((37, 96), storage, 32)
    )
    x = random_x(tokens, 96)
    found = on_host(backend.linear(backend.device.array(x), backend.device.matrix(weight)))
    values = weight if storage == "bfloat16" else weight[:]
    if tokens > 64:
        values = values.astype(ml_dtypes.bfloat16)
    assert_product(found, x.astype(ml_dtypes.bfloat16), values)


@pytest.mark.parametrize(
    "shape", [(1, 4, 8, 1, 300, 128), (2, 1, 32, 1, 200, 16), (1, 2, 5, 33, 257, 128)], ids=str
)
def test_rounded_attention(name, shape):
    """Few rows share out the keys among warps and blocks, many rows the rows: (16 | 32 | 64) rows a block."""
    backend = kernels.make(name, ROUNDED)
    q, k, v = make_case(*shape, ml_dtypes.bfloat16)
    device = backend.device
    assert backend.attention.__self__.fast(device.array(k.view(np.uint16)))
    keys, values = (device.array(np.ascontiguousarray(a).view(np.uint16)) for a in (k, v))
    visible = causal(shape[0], *shape[3:5])
    for mask in (visible, Visible(np.ones((shape[0], shape[4]), bool), shape[3])):
        found = on_host(backend.attention(device.array(q), keys, values, mask))
        expected = expected_of(q, k, v, np.asarray(mask))
        assert 1e-4 < np.abs(found - expected).max() < 0.02  # values are of size 1 .. 4


@pytest.mark.slow
def test_a_packed_matrix_of_many_rows(on_cpu):
    """A grid has fewer blocks in its second direction than a vocabulary may have tokens."""
    backend, weight = kernels.make(kernels.ON_CPU, ROUNDED), packed_weight((1 << 16, 32), 8, 32)
    x = random_x(65, 32)
    found = backend.linear(backend.device.array(x), backend.device.matrix(weight))
    part = slice((1 << 16) - 16, None)
    assert_product(
        on_host(found)[:, part], x.astype(ml_dtypes.bfloat16), weight[part].astype(ml_dtypes.bfloat16)
    )


# ---------------------------------------------------------------- memory


@pytest.fixture
def small_gpu(name, monkeypatch):
    if name != kernels.ON_CPU:
        pytest.skip("a GPU's memory has the size it has")

    def of(nbytes):
        monkeypatch.setattr(SETTINGS, "total_memory", nbytes)

    return of


def test_weights_that_do_not_fit(small_gpu):
    """Refused before anything is copied, with the storages that would fit."""
    config = minidecilm.preset("decilm-6b")
    device = kernels.make(kernels.ON_CPU).device
    small_gpu(8_000_000_000)
    whole = {
        name: np.broadcast_to(ml_dtypes.bfloat16(0), shape)
        for name, shape in config.parameter_shapes().items()
    }
    with pytest.raises(
        ValueError, match=r"weights take 11\.43 GB .* has 8\.00 GB of 8\.00 GB free: .*int8 .* or int4"
    ):
        device.place(config, whole)
    small_gpu(2_000_000_000)
    with pytest.raises(ValueError, match="use another backend"):
        device.place(config, whole)


def test_cache_that_does_not_fit(small_gpu):
    """The message names what would fit, and that does fit."""
    device = kernels.make(kernels.ON_CPU).device
    config = minidecilm.preset("decilm-6b")
    small_gpu(2_000_000_000)
    with pytest.raises(ValueError, match=r"takes 3\.36 GB .* 2\.00 GB free: at most .* fit$") as refused:
        device.check_cache(config, 32, 4096, "bfloat16")
    rows, tokens = map(
        int, re.search(r"at most (\d+) rows of 4096 .* 32 rows of (\d+)", str(refused.value)).groups()
    )
    for more in (0, 1):
        for size in ((rows + more, 4096), (32, tokens + more)):
            with pytest.raises(ValueError, match="at most") if more else nullcontext():
                device.check_cache(config, *size, "bfloat16")
    with pytest.raises(ValueError, match=r"or kv_cache='bfloat16'$"):
        device.check_cache(config, rows, 4096, "float32")
    with pytest.raises(ValueError, match="the kernels take 65535 at once: at most 16383 rows"):
        device.check_cache(config, 16_384, 1, "bfloat16")
    model = demo_model(kernels.ON_CPU)
    with pytest.raises(ValueError, match="a cache of 4096 x 4096 tokens in float32"):
        model.new_cache(4096, 4096)


def test_a_step_fits_beside_the_largest_cache(small_gpu, monkeypatch):
    """What a step allocates besides the cache is in the plan."""
    from minidecilm.backends.cupy_backend import device

    model, B, S = demo_model(kernels.ON_CPU, ROUNDED), 16, 8
    monkeypatch.setattr(device, "RESERVED", 1 << 16)  # the inputs of a step, its mask, sums of splits
    free, total = device.free_bytes()
    cache = costs.kv_cache_bytes(model.config, B, S, "bfloat16")
    small_gpu(total - free + device.RESERVED + cache + B * device.step_bytes(model.config))
    with pytest.raises(ValueError, match=f"at most {B} rows of {S} tokens"):
        model.new_cache(B + 1, S)
    step = model.new_cache(B, S)
    assert on_host(model(np.full((B, 1), 7), step)).shape == (B, 1, model.config.vocab_size)


def test_activations_that_do_not_fit(small_gpu):
    from minidecilm.backends.cupy_backend import device

    model = demo_model(kernels.ON_CPU)
    small_gpu(10_000_000)
    with pytest.raises(
        ValueError, match=r"activations of 2048 new tokens take .* feed at most \d+ tokens at"
    ):
        model.backend.device.check_call(model.config, 2048, 2048)
    with pytest.raises(ValueError, match=r"of it for cached keys that rope='exact' turns, the GPU has"):
        model.backend.device.check_call(model.config, 1, 1, 1 << 20)
    small_gpu(device.KEPT + 10_000_000)
    model.backend.device.check_call(model.config, 16, 1)


def test_keys_to_turn_that_do_not_fit(small_gpu):
    """Refused with what takes the room, before CuPy would run out of it."""
    from minidecilm.backends.cupy_backend import device

    model = demo_model(kernels.ON_CPU, ROUNDED, rope_policy="exact")
    cache = model.new_cache(64, 512)
    model(np.full((64, 1), 7), cache)
    free, total = device.free_bytes()
    small_gpu(total - free + device.KEPT + 1_000_000)
    cache.length = 400
    with pytest.raises(ValueError, match="cached keys that rope='exact' turns"):
        model(np.full((64, 1), 7), cache)


def test_storage_that_no_kernel_reads(name):
    with pytest.raises(ValueError, match="weights of float64: the cupy backend stores float32, bfloat16"):
        demo_model(name, weights="float64")


# ---------------------------------------------------------------- without a GPU


LOAD = """
import minidecilm
try:
    minidecilm.load("demo", backend="cupy")
except ValueError as problem:
    print(problem)
"""


def run_without(code):
    """Run Python in a process in which importing cupy does as `code` says."""
    return subprocess.run(
        [sys.executable, "-c", code + LOAD], capture_output=True, text=True, check=True
    ).stdout


def test_without_cupy_one_line_says_what_to_install():
    found = run_without("import sys; sys.modules['cupy'] = None")
    assert re.fullmatch(
        r"backend 'cupy': CuPy cannot be imported \(.*\): pip install '\.\[cuda13\]' in a clone.*\n", found
    )


STAND_IN = """
import sys, types
cupy = sys.modules["cupy"] = types.ModuleType("cupy")
class CUDARuntimeError(RuntimeError): pass
def count():
    {count}
cupy.cuda = types.SimpleNamespace(
    runtime=types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=count),
    Device=lambda: types.SimpleNamespace(compute_capability="75"),
)
"""


def test_without_a_driver_or_with_an_old_gpu_one_line_says_so():
    found = run_without(STAND_IN.format(count="raise CUDARuntimeError('no CUDA-capable device is detected')"))
    assert found == "backend 'cupy': no usable CUDA device: no CUDA-capable device is detected\n"
    found = run_without(STAND_IN.format(count="return 1"))
    assert re.fullmatch(r"backend 'cupy': needs compute capability 8\.0 .*, this GPU has 7\.5\n", found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "problem",
    [RuntimeError('Failure finding "libnvrtc.so.13"\nNo such file'), ImportError("libcublas.so.13")],
)
def test_without_the_libraries_of_cuda_one_line_says_so(on_cpu, monkeypatch, problem):
    from minidecilm.backends.cupy_backend import kernels as cuda

    def fails():
        raise problem

    monkeypatch.setattr(cuda, "check_compiler", fails)
    with pytest.raises(
        ValueError, match=r"cannot be used \([^\n]*lib[a-z]+\.so\.13[^\n]*\): pip install [^\n]*$"
    ):
        create_backend("cupy")


# ---------------------------------------------------------------- the kernels' discipline


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [EXACT, ROUNDED])
def test_the_order_of_threads_does_not_matter(on_cpu, dtype, monkeypatch):
    """A missing barrier would show as a different result: bitwise the same in every order."""
    found = []
    for order in ("forward", "backward", 1, 2):
        monkeypatch.setattr(SETTINGS, "order", order)
        model = demo_model(kernels.ON_CPU, dtype)
        found.append(fed_by_step(model, IDS[:, :5]))
    for logits in found[1:]:
        np.testing.assert_array_equal(logits, found[0])


def mutate(monkeypatch, file, old, new, count=1):
    """Let kernels be compiled from a text in which something is wrong."""
    from minidecilm.backends.cupy_backend import kernels as cuda

    text = cuda.source(file)
    assert old in text
    sources = {name: cuda.source(name) for name in cuda.FILES} | {file: text.replace(old, new, count)}
    monkeypatch.setattr(cuda, "source", sources.__getitem__)
    for cached in (cuda._module, cuda._kernel):
        cached.cache_clear()


@pytest.fixture
def forget():
    yield
    from minidecilm.backends.cupy_backend import kernels as cuda

    for cached in (cuda._module, cuda._kernel):
        cached.cache_clear()


def attention_error():
    """Largest error of both kernels: splits of a long context, tiles of many rows, padding."""
    worst = []
    SETTINGS.multiprocessors = 16  # more splits
    for dtype, storage in ((EXACT, np.float32), (ROUNDED, ml_dtypes.bfloat16)):
        backend = kernels.make(kernels.ON_CPU, dtype)
        array = backend.device.array
        for shape in ((2, 2, 4, 1, 300, 16), (2, 2, 40, 2, 150, 16)):
            q, k, v = make_case(*shape, storage)
            q *= 4  # scores that differ much
            keys, values = (np.ascontiguousarray(a) for a in (k, v))
            if dtype == ROUNDED:
                keys, values = keys.view(np.uint16), values.view(np.uint16)
            real = np.ones((shape[0], shape[4]), bool)
            real[-1, :100] = False
            visible = Visible(real, shape[3])
            found = on_host(backend.attention(array(q), array(keys), array(values), visible))
            worst.append(np.abs(found - expected_of(q, k, v, np.asarray(visible))).max())
    return np.array(worst)


def network_error():
    """Relative error of a prompt and three recorded steps of the network with many sizes, one row padded."""
    lm = minidecilm.load(checks.GOLDEN, weights="bfloat16", backend="numpy")
    ids = checks.golden_data()["short.input_ids"][:, :9]
    mask = np.ones(ids.shape, int)
    mask[0, :2] = 0
    expected = DeciLM(lm.config, lm.model.weights, kernels.make("numpy"), "float64")(ids, attention_mask=mask)
    model = DeciLM(lm.config, lm.model.weights, kernels.make(kernels.ON_CPU))
    found = fed_by_step(model, ids, mask, first=6)
    return np.array([relative_error(found[mask == 1], expected[mask == 1])])


SOUND = {attention_error: np.array([4e-6, 4e-6, 0.04, 0.04]), network_error: np.array([1e-5])}
MISTAKES = {
    "no causal mask": ("attention", "(a.ordered ? block.S - a.T + t + 1 : block.S)", "block.S"),
    "no padding mask": ("attention", "return !a.mask || ", "return true || "),
    "softmax not rescaled": ("attention", "sum[n][c] *= factor[c / 2]", "sum[n][c] *= 1.f"),
    "splits forget their peaks": ("attention", "share[r][p] - finite_peak(peak)", "share[r][p] - 0.f"),
    "two KV heads swapped": ("attention", "block.k * a.kv_h", "(block.k ^ 1) * a.kv_h"),
    "values not waited for": ("attention", "cp_async_wait<1>();  // the values are there", ""),
    "keys overwritten too early": (
        "attention", "        __syncthreads();\n        fetch_tile(key_tile", "        fetch_tile(key_tile"
    ),
    "splits merged too early": ("attention", "(finished < (unsigned)", "(finished + 1 < (unsigned)"),
    "peaks not waited for": ("attention", "PART + HEAD_DIM];\n    __syncthreads();", "PART + HEAD_DIM];"),
    "interleaved rotation": (
        "layer", "first = from[i], second = from[i + HALF]", "first = from[2 * i], second = from[2 * i + 1]"
    ),
    "gate is up": ("linear", "silu_times(sums[r * 8", "silu_times(sums[(ROWS + r) * 8"),
    "mean forgotten": ("linear", "sqrtf(total / in + eps)", "sqrtf(total + eps)"),
    "rows of a fragment swapped": (
        "linear", "a[0][0] = upper.x, a[0][1] = lower.x", "a[0][0] = lower.x, a[0][1] = upper.x"
    ),
    "half of the warps lost": ("linear", "half >= 1; half /= 2", "half > 1; half /= 2"),
    "no barrier between sums": (
        "linear", "        __syncthreads();\n        if (warp < half)", "        if (warp < half)"
    ),
    "residual forgotten": ("linear", "residual ? residual[to] + value : value", "value"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("error", SOUND)
def test_kernels_are_sound(on_cpu, error):
    assert (error() <= SOUND[error]).all()


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistake_is_noticed(on_cpu, mistake, monkeypatch, forget):
    """Some order of threads shows it, in what the test before this one measures."""
    mutate(monkeypatch, *MISTAKES[mistake])
    error = attention_error if MISTAKES[mistake][0] == "attention" else network_error
    noticed = False
    for order in ("forward", "backward"):
        monkeypatch.setattr(SETTINGS, "order", order)
        try:
            noticed = noticed or not (error() <= SOUND[error]).all()
        except compiling.LaunchError:
            noticed = True
    assert noticed


LINEAR = [{"storage": s, "parts": p} for s in ("bfloat16", "int8", "int4") for p in (1, 3)]
COMPILATIONS = [
    *(("linear", macros, "sm_80") for macros in LINEAR),
    *((file, {"head_dim": 128}, "sm_80") for file in ("attention", "layer")),
    ("attention", {"head_dim": 128}, "sm_90"),
    ("linear", LINEAR[0], "sm_90"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "macros", "architecture"), COMPILATIONS, ids=str)
def test_nvcc_compiles_without_spilling(on_cpu, file, macros, architecture):
    """Compiled for A100/A10 and H100, not run: every kernel keeps its numbers in registers."""
    from minidecilm.backends.cupy_backend import kernels as cuda

    try:
        found = compiling.nvcc_compile(cuda.source(file), cuda.options(**macros)[1:], architecture)
    except FileNotFoundError as problem:
        pytest.skip(str(problem))
    assert found
    for kernel, needs in found.items():
        assert needs.spill_bytes == 0, kernel
        assert needs.registers <= 255, kernel
        assert needs.shared_bytes <= 48 * 1024, kernel


def test_backend_name_and_kernels(name):
    assert (kernels.make(name).kernels, kernels.make(name, ROUNDED).kernels) == ("exact", "rounded")
    with pytest.raises(ValueError, match="dtype 'float64': the cupy backend computes in float32 or bfloat16"):
        demo_model(name, "float64")
    assert create_backend("auto", 10**12).name == "numba"  # a GPU is never taken unasked
