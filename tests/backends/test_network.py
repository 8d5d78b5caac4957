"""The whole network on every Numba kernel: Deci's golden numbers, other storages, other CPUs."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import minidecilm
from minidecilm.backends import AUTO_PARAMETERS, create_backend, numba_backend
from minidecilm.backends.host import on_host
from minidecilm.config import Config, LayerConfig
from minidecilm.model import DeciLM
from tests import checks
from tests.backends import kernels

AVX512 = "+avx2,+fma,+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni,+avx512bf16"


@pytest.fixture(scope="module")
def data():
    return checks.golden_data()


@pytest.fixture(scope="module", params=kernels.NAMES)
def backend(request):
    return kernels.make(request.param)


class HostFacing(DeciLM):
    """Gives logits on the host, wherever they are computed."""

    def __call__(self, *arguments, **options):
        return on_host(super().__call__(*arguments, **options))


def golden_model(backend, weights="stored", **options):
    lm = minidecilm.load(checks.GOLDEN, weights=weights, backend="numpy")
    return HostFacing(lm.config, lm.model.weights, backend, **options)


@pytest.mark.parametrize("check", checks.REFERENCE, ids=lambda check: check.__name__)
def test_golden(check, backend, data):
    check(golden_model(backend), data)


@pytest.mark.parametrize("policy", ["fixed", "exact"])
def test_rotary_policies(policy, backend, data):
    """Both agree with NumPy in float64 beyond the context, fed whole and in pieces."""
    ids = data["long.input_ids"]
    expected = checks.golden_model("float64", policy)(ids)
    model = golden_model(backend, rope_policy=policy)
    checks.assert_close(model(ids), expected, model)
    checks.assert_close(checks.feed(model, ids, [ids.shape[1] - 3, 1, 2]), expected, model)


def test_layers_that_differ_in_query_heads(backend):
    """Groups of 3, 1 and 4 queries per KV head; against NumPy in float64."""
    layers = (LayerConfig(2, 96), LayerConfig(3, 80, 3), LayerConfig(1, 64, 4))
    config = Config(40, 64, 6, 16, layers, max_position_embeddings=32)
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in config.parameter_shapes().items()
    }
    ids = generator.integers(40, size=(2, 24))
    expected = DeciLM(config, weights, kernels.make("numpy"), "float64")(ids)
    model = HostFacing(config, weights, backend)
    checks.assert_close(model(ids), expected, model)
    checks.assert_close(checks.feed(model, ids, [20, 1, 1, 2]), expected, model)


# The largest share of the logits' root mean square that their error may have: what rounding activations to
# int8 costs in this model of random weights, and what rounding cached keys and values to bfloat16 costs.
# Measured: half of it. What they cost a trained model is in benchmarks/accuracy.py.
ACTIVATIONS, BFLOAT16_CACHE = 0.16, 0.03


def relative_error(found, expected):
    return np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))


@pytest.mark.parametrize("weights", ["float32", "int8", "int4"])
def test_storage(weights, backend, data):
    """Against float64 with the same weights, so that the error of rounding those does not count."""
    ids = data["short.input_ids"]
    expected = golden_model(kernels.make("numpy"), weights, dtype="float64")(ids)
    model = golden_model(backend, weights)
    if weights == "float32" or backend.name != "numba":
        checks.assert_close(model(ids), expected, model)
    else:
        assert 0 < relative_error(model(ids), expected) < ACTIVATIONS


@pytest.mark.parametrize("storage", ["float16", "float64"])
def test_storages_of_checkpoints_that_others_write(storage, backend, data):
    """float16 as many fine-tunes are, float64 as some scripts leave them: for the CPU."""
    if backend.name == "cupy":
        pytest.skip("the CuPy backend widens float16 and refuses float64")
    ids = data["short.input_ids"]
    model = golden_model(backend)
    weights = {name: weight.astype(storage) for name, weight in model.weights.items()}
    expected = DeciLM(model.config, weights, kernels.make("numpy"), "float64")(ids)
    model = DeciLM(model.config, weights, backend)
    checks.assert_close(model(ids), expected, model)
    checks.assert_close(checks.feed(model, ids, [ids.shape[1] - 1, 1]), expected, model)


def test_bfloat16_cache(backend, data):
    ids = data["short.input_ids"]
    model = golden_model(backend, kv_cache="bfloat16")
    half, full = model.new_cache(*ids.shape), golden_model(backend).new_cache(*ids.shape)
    assert half.nbytes * 2 == full.nbytes
    error = relative_error(model(ids, half), data["short.logits.f64"])
    assert half.keys[0].dtype == (np.uint16 if backend.name == "cupy" else ml_dtypes.bfloat16)
    assert 1e-4 < error < BFLOAT16_CACHE


def test_unknown_cache_storage_is_refused():
    with pytest.raises(ValueError, match="kv_cache 'float8': choose from compute, float32, bfloat16"):
        minidecilm.load("demo", kv_cache="float8")


def test_a_wrong_kernel_is_noticed(data):
    """The checks that hold for these kernels fail once two query heads are swapped."""
    backend = kernels.make("numba-explicit")

    def swapped(q, k, v, visible):
        return backend.attention(q, k, v, visible)[:, [1, 0, *range(2, q.shape[1])]]

    with pytest.raises(AssertionError):
        checks.short(golden_model(replace(backend, attention=swapped)), data)


def test_auto_takes_numba_where_it_pays():
    assert create_backend("auto", AUTO_PARAMETERS - 1).name == "numpy"
    assert create_backend("auto", AUTO_PARAMETERS).name == "numba"
    assert create_backend("auto", AUTO_PARAMETERS, "float64").name == "numpy"
    assert minidecilm.load("demo").backend.name == "numpy"


def test_what_numba_cannot_do_is_one_line(monkeypatch):
    said = "dtype 'float64': the numba backend computes in float32 or bfloat16"
    with pytest.raises(ValueError, match=said):
        minidecilm.load("demo", backend="numba", dtype="float64")
    monkeypatch.setenv(numba_backend.KERNELS_VARIABLE, "fast")
    with pytest.raises(ValueError, match="MINIDECILM_KERNELS='fast': choose from explicit, portable"):
        minidecilm.load("demo", backend="numba")
    for threads in ("0", "40000", "9" * 5000, "-1", "two"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        said = rf"NUMBA_NUM_THREADS='{threads[:20]}': expected an integer from 1 to \d+$"
        with pytest.raises(ValueError, match=said):
            minidecilm.load("demo", backend="numba")


def test_threads_that_generate_side_by_side(backend, data):
    if backend.name == "cupy" and not kernels.has_gpu():
        pytest.skip("the stand-in for CuPy is for one thread")
    model, prompt = golden_model(backend), data["greedy.prompt_ids"]

    def generate(seed):
        return minidecilm.generate_tokens(model, prompt, max_new_tokens=8, seed=seed)[0].tolist()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(generate, range(3))) == [generate(seed) for seed in range(3)]


@pytest.mark.parametrize("kind", ["explicit", "portable"])
def test_a_threading_layer_that_allows_one_call_at_a_time(kind):
    """Without OpenMP and TBB Numba takes its workqueue, which ends a process whose threads use it at once."""
    kernels.make(f"numba-{kind}")
    environment = {numba_backend.KERNELS_VARIABLE: kind, "NUMBA_NUM_THREADS": "2"}
    found = kernels.run_apart("workqueue", NUMBA_THREADING_LAYER="workqueue", **environment)
    assert (found.returncode, found.stdout) == (0, "workqueue\n"), found.stderr


def test_without_compiling():
    """NUMBA_DISABLE_JIT=1: the portable kernels are plain Python."""
    found = kernels.run_apart("plain_python", NUMBA_DISABLE_JIT="1")
    assert (found.returncode, found.stdout) == (0, "portable\n"), found.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)  # compiles every kernel anew
def test_sixteen_lanes(tmp_path):
    """The AVX-512 VNNI kernels with their one special instruction written out: they run on any AVX2 CPU."""
    kernels.make("numba-explicit")
    sooner = {"NUMBA_OPT": "0"}  # compiled, but slow: that is enough here
    found = kernels.run_apart("sixteen_lanes", NUMBA_CACHE_DIR=str(tmp_path), **sooner)
    assert (found.returncode, found.stdout) == (0, "16 lanes\n"), found.stderr


@pytest.mark.slow
def test_the_cpu_s_own_dot_products_are_compiled(tmp_path):
    """For a CPU that has them: 512-bit registers, vpdpbusd and vdpbf16ps. Compiled here, not run."""
    kernels.make("numba-explicit")
    cpu = {"NUMBA_CPU_NAME": "cooperlake", "NUMBA_CPU_FEATURES": AVX512}
    found = kernels.run_apart("vnni_assembly", **cpu, NUMBA_CACHE_DIR=str(tmp_path))
    assert found.returncode == 0, found.stderr
    *compiled, rest = found.stdout.split(kernels.SEPARATOR)
    instructions = ("vpdpbusd", "vpdpbusd", "vdpbf16ps", "vdpbf16ps")
    for assembly, instruction in zip(compiled, instructions, strict=True):
        assert len(re.findall(rf"\b{instruction}\b.*%zmm", assembly)) >= 16  # those of a tile, side by side
    assert rest == ""
