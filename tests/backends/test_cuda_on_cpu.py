"""The test tool itself: kernels compiled for the CPU do what CUDA says, and mistakes in them show."""

import ctypes
import shutil
import sys
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from tests.backends.cuda_on_cpu import compiling
from tests.backends.cuda_on_cpu import cupy as stand_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs Linux and g++"),
]

ORDERS = ["forward", "backward", 1, 2]
BF16 = ml_dtypes.bfloat16


@pytest.fixture
def run(kernels_folder):
    """Return a function that compiles a text of one kernel and launches it on arrays and ints."""

    def run(source, *arguments, grid=(1,), block=(32,), shared_bytes=0, order="forward", options=()):
        library = compiling.compile_for_cpu(source, kernels_folder, options)
        (name,) = library.kernels
        values = [
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int(a)
            for a in arguments
        ]
        library.launch(name, grid, block, values, shared_bytes, order)

    return run


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


SUM = """
extern "C" __global__ void sum(float* out, const float* x) {
    float value = x[blockIdx.x * 32 + threadIdx.x];
    for (int bits = 16; bits; bits /= 2) value += __shfl_xor_sync(0xffffffff, value, bits);
    if (threadIdx.x == 0) out[blockIdx.x] = value;
}
"""


@pytest.mark.parametrize("order", ORDERS)
def test_sum_by_shuffles(run, order):
    x, out = random(5, 32), np.zeros(5, np.float32)
    run(SUM, out, x, grid=(5,), order=order)
    np.testing.assert_allclose(out, x.sum(1), rtol=1e-5)


SHUFFLES = """
extern "C" __global__ void shuffles(int* out) {
    int lane = threadIdx.x, all = 0xffffffff;
    out[lane] = __shfl_down_sync(all, lane, 3);
    out[32 + lane] = __shfl_up_sync(all, lane, 3);
    out[64 + lane] = __shfl_sync(all, lane, 5, 8);
    out[96 + lane] = __shfl_down_sync(all, lane, 3, 8);
    out[128 + lane] = __ballot_sync(all, lane % 3 == 0);
    out[160 + lane] = __any_sync(all, lane == 7) + 2 * __all_sync(all, lane < 31);
}
"""


def test_shuffles_and_votes(run):
    out = np.zeros((6, 32), np.int32)
    run(SHUFFLES, out)
    lane = np.arange(32)
    np.testing.assert_array_equal(out[0], np.where(lane + 3 < 32, lane + 3, lane))
    np.testing.assert_array_equal(out[1], np.where(lane >= 3, lane - 3, lane))
    np.testing.assert_array_equal(out[2], lane // 8 * 8 + 5)
    np.testing.assert_array_equal(out[3], np.where(lane % 8 + 3 < 8, lane + 3, lane))
    np.testing.assert_array_equal(out[4], sum(1 << i for i in range(0, 32, 3)))
    np.testing.assert_array_equal(out[5], 1)


TRANSPOSE = """
extern "C" __global__ void transpose(float* out, const float* x, int barrier) {
    __shared__ float tile[16][17];
    int i = threadIdx.y, j = threadIdx.x, stride = gridDim.x * 16;
    tile[i][j] = x[(blockIdx.y * 16 + i) * stride + blockIdx.x * 16 + j];
    if (barrier) __syncthreads();
    out[(blockIdx.x * 16 + i) * stride + blockIdx.y * 16 + j] = tile[j][i];
}
"""


def transpose(run, barrier, order):
    x, out = random(48, 48), np.zeros((48, 48), np.float32)
    run(TRANSPOSE, out, x, barrier, grid=(3, 3), block=(16, 16), order=order)
    return np.array_equal(out, x.T)


def test_transpose_through_shared_memory(run):
    assert [transpose(run, 1, order) for order in ORDERS] == [True] * 4
    assert not any(
        transpose(run, 0, order) for order in ORDERS
    )  # what a warp reads, another has yet to write


NEIGHBOUR = """
extern "C" __global__ void neighbour(int* out, int mask, int bits, int barrier) {
    DYNAMIC_SHARED(raw);
    int* values = reinterpret_cast<int*>(raw);
    values[threadIdx.x] = threadIdx.x;
    if (barrier) __syncthreads();
    out[threadIdx.x] = values[threadIdx.x & mask | bits];
}
"""


@pytest.mark.parametrize(
    ("mask", "bits"), [(31, 0), (63, 32)]
)  # what an earlier warp wrote, what a later one
def test_some_order_shows_a_missing_barrier(run, mask, bits):
    def right(barrier, order):
        out = np.zeros(64, np.int32)
        run(NEIGHBOUR, out, mask, bits, barrier, block=(64,), shared_bytes=256, order=order)
        return np.array_equal(out, np.arange(64) & mask | bits)

    assert all(right(1, order) for order in ORDERS)
    assert sorted([right(0, "forward"), right(0, "backward")]) == [False, True]


def test_some_order_shows_blocks_that_race(run):
    def last(order):
        out = np.zeros(1, np.int32)
        run('extern "C" __global__ void last(int* out) { *out = blockIdx.x; }', out, grid=(9,), order=order)
        return int(out[0])

    assert (last("forward"), last("backward")) == (8, 0)
    assert len({last(seed) for seed in range(9)}) > 2
    assert last(3) == last(3)


@pytest.mark.parametrize(
    "shared", ["__shared__ float x[32];", "DYNAMIC_SHARED(raw); float* x = (float*)raw;"]
)
def test_unwritten_shared_memory_is_nan_in_every_block(run, shared):
    source = 'extern "C" __global__ void k(float* out) { SHARED out[blockIdx.x] = x[3]; x[3] = 1; }'
    out = np.zeros(2, np.float32)
    run(source.replace("SHARED", shared), out, grid=(2,), block=(1,), shared_bytes=128)
    assert np.isnan(out).all()


MISTAKES = {
    "if (threadIdx.x != 3) __syncthreads();": "lane 0 waits in __syncthreads, lane 3 has returned",
    "if (threadIdx.x >= 32) return; __syncthreads();": "waits for 1 warps that have returned",
    "if (threadIdx.x == 9) __syncthreads(); else __syncwarp();": "lane 9 waits in __syncthreads",
    "if (threadIdx.x == 9) __syncwarp(); else *out = __shfl_sync(~0u, 1.f, 0);": "different warp collectives",
    "__syncwarp(0xff);": "mask 000000ff",
    "float x[4]; x[n + threadIdx.x] = 0; *out = x[0];": r"kernels.cu:1: array index out of bounds",
    "((int*)dynamic)[n] = 0;": "beyond the 256 bytes of the launch",
    "*out = ((float*)dynamic)[n + 100000];": "beyond the 256 bytes of the launch",
    "dynamic[n - 65] = 0;": "wrote before dynamic shared memory",
    "*out = ((float4*)(out + n + 1))->x;": "misaligned address",
    "*out = 1 << (n - 32 + threadIdx.x);": "shift by the width",
    "*out = n / (n - 64 + (threadIdx.x ? 1 : 0));": "division by zero",
    "*(float*)(size_t)n = 0;": "touched address 0x40, where there is no memory",
    "unsigned r[4]; ldmatrix_x4(r, out);": "ldmatrix from .*: 16 aligned shared bytes",
    "cp_async16(dynamic + 8, out, true);": "cp.async to .*: 16 aligned shared bytes",
    "cp_async16(dynamic, out + 1, true);": "cp.async from .*: 16 aligned global bytes",
    "*out = __byte_perm(n, n, 0x8000);": "selector 8000",
}


WRONG = (
    'extern "C" __global__ void wrong(float* out, int n, int which) { DYNAMIC_SHARED(dynamic);'
    + "".join(f"if (which == {i}) {{ {code} }}" for i, code in enumerate(MISTAKES))
    + "}"
)


@pytest.mark.parametrize("code", MISTAKES)
def test_mistakes_are_errors(run, code):
    out = np.zeros(64, np.float32)
    with pytest.raises(compiling.LaunchError, match=r"^wrong, block \(0, 0, 0\).*" + MISTAKES[code]):
        run(WRONG, out, 64, list(MISTAKES).index(code), block=(64,), shared_bytes=256)
    run(SUM, out, random(32))  # and the next launch is none the worse


def test_endless_kernels_end(run):
    source = """
        extern "C" __global__ void wait(volatile int* flag) {
            if (blockIdx.x == 0) while (*flag == 0) {}
            *flag = 1;
        }
    """
    run(source, np.zeros(1, np.int32), grid=(2,), order="backward")  # the second block comes first
    with pytest.raises(compiling.LaunchError, match="ran for 1 seconds"):
        run(source, np.zeros(1, np.int32), grid=(2,), options=["-DCUDA_ON_CPU_SECONDS=1"])


def test_launch_bounds(run):
    source = '#define N 16\nextern "C" __global__ void __launch_bounds__(N * 2, 2) k(float* x) { *x = 1; }'
    run(source, np.zeros(1, np.float32))
    with pytest.raises(compiling.LaunchError, match="33 threads, __launch_bounds__ says 32"):
        run(source, np.zeros(1, np.float32), block=(33,))


def test_signatures():
    text = """
        typedef unsigned char byte;
        typedef byte mask;
        extern "C" __global__ void plain(const mask* __restrict x, float* y, long long n, unsigned m)
        {}
        extern "C" __global__ void __launch_bounds__(32 * (1 + 1)) bounded() {}
        extern "C" __global__ __launch_bounds__(64, 2) void before(int n) {}
    """
    kernels = compiling.find_kernels(text)
    assert [kernel.bounds for kernel in kernels.values()] == ["", "32 * (1 + 1)", "64, 2"]
    assert [(p.name, p.element, p.is_pointer) for p in kernels["plain"].parameters] == [
        ("x", "unsigned char", True),
        ("y", "float", True),
        ("n", "long long", False),
        ("m", "unsigned", False),
    ]
    with pytest.raises(compiling.CompileError, match="understood: \\[\\]"):
        compiling.find_kernels("template <int N> __global__ void f() {}")


def test_what_gpp_refuses_is_told(run):
    with pytest.raises(compiling.CompileError, match="nonsense"):
        run('extern "C" __global__ void k(float* x) { *x = nonsense; }')
    with pytest.raises(compiling.CompileError, match="INFINITY"):  # NVRTC has no headers
        run('extern "C" __global__ void k(float* x) { *x = INFINITY; }')


PRODUCT = """
// C (16, 8) = A (16, 16) B (16, 8): A and B row by row, by ldmatrix or element by element.
extern "C" __global__ void product(
    float* c, const unsigned short* a, const unsigned short* b, int by_ldmatrix) {
    __shared__ __align__(16) unsigned short rows_a[16][16], rows_b[16][8];
    int lane = threadIdx.x, group = lane / 4, t = lane % 4;
    for (int i = lane; i < 256; i += 32) rows_a[i / 16][i % 16] = a[i];
    for (int i = lane; i < 128; i += 32) rows_b[i / 8][i % 8] = b[i];
    __syncwarp();
    unsigned fa[4], fb[4];
    if (by_ldmatrix) {
        ldmatrix_x4(fa, &rows_a[lane % 16][lane / 16 * 8]);
        ldmatrix_x4_trans(fb, rows_b[lane % 16]);
    } else {
        for (int i = 0; i < 4; i++) {
            int row = group + i % 2 * 8, k = 2 * t + i / 2 * 8;
            fa[i] = rows_a[row][k] | rows_a[row][k + 1] << 16;
        }
        for (int i = 0; i < 2; i++)
            fb[i] = rows_b[2 * t + 8 * i][group] | rows_b[2 * t + 8 * i + 1][group] << 16;
    }
    float fc[4] = {1, 1, 1, 1};
    mma_bf16(fc, fa, {fb[0], fb[1]});
    for (int i = 0; i < 4; i++) c[(group + i / 2 * 8) * 8 + 2 * t + i % 2] = fc[i];
}
"""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("by_ldmatrix", [0, 1])
def test_mma(run, by_ldmatrix, order):
    a, b = random(16, 16).astype(BF16), random(16, 8).astype(BF16)
    c = np.zeros((16, 8), np.float32)
    run(PRODUCT, c, a, b, by_ldmatrix, order=order)
    expected = 1 + a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_array_equal(c, expected.astype(np.float32))


FMA = """
extern "C" __global__ void fma_each(unsigned* out, const unsigned* a, const unsigned* b, const unsigned* c) {
    int i = blockIdx.x * 32 + threadIdx.x;
    out[i] = fma_bf16x2(a[i], b[i], c[i]);
}
"""


def nearest_bf16(exact):
    """Round a fraction to the nearest bf16, ties to even, by trying the candidates."""
    middle = int(np.array(float(exact), BF16).view(np.uint16))
    sign, magnitude = middle & 0x8000, middle & 0x7FFF
    candidates = [sign | m for m in (magnitude - 1, magnitude, magnitude + 1) if 0 <= m < 0x7F80]
    return min(candidates, key=lambda bits: (abs(fraction(bits) - exact), bits % 2))


def fraction(bits):
    return Fraction(float(np.uint16(bits).view(BF16)))


def test_fma_bf16x2_rounds_once(run):
    count = 4096
    a, b, c = np.random.default_rng(0).integers(
        0x3400, 0x4C00, (3, count), np.uint16
    )  # magnitudes 1e-7 to 3e7
    a[::3] |= 0x8000
    with np.errstate(over="ignore"):
        c[::4] = (-(a.view(BF16) * b.view(BF16))).view(np.uint16)[
            ::4
        ]  # what is left is the product's own error
    a[1::8] &= 0xFF  # subnormal products
    c[1::8] = 0
    # 1.5 * (1 + 1/128) lies half-way between two bf16 numbers: what is added decides, however small.
    a[:3], b[:3], c[:3] = 0x3FC0, 0x3F81, [0x0001, 0x8001, 0x0000]
    out = np.zeros(count, np.uint16)
    run(FMA, out, a, b, c, grid=(count // 64,))
    assert out[:3].tolist() == [0x3FC2, 0x3FC1, 0x3FC2]
    expected = [
        nearest_bf16(fraction(x) * fraction(y) + fraction(z)) for x, y, z in zip(a, b, c, strict=True)
    ]
    np.testing.assert_array_equal(out & 0x7FFF, np.array(expected) & 0x7FFF)  # -0 has no fraction
    signed = out & 0x7FFF != 0
    np.testing.assert_array_equal(out[signed], np.array(expected)[signed])


def test_fma_bf16x2_of_special_values(run):
    largest, infinity, nan = 0x7F7F, 0x7F80, 0x7FFF
    a = np.array([largest, largest, infinity, infinity, infinity, 0] + [0] * 58, np.uint16)
    b = np.array([0x3F80, 0x4000, 0x3F80, 0, 0x3F80, infinity] + [0] * 58, np.uint16)
    c = np.array([0, 0, 0, 0, infinity | 0x8000, 0] + [0] * 58, np.uint16)
    out = np.zeros(64, np.uint16)
    run(FMA, out, a, b, c)
    assert out[:7].tolist() == [largest, infinity, infinity, nan, nan, nan, 0]


COPY = """
extern "C" __global__ void copy(float4* out, const float4* x, int waits) {
    __shared__ float4 two[2][32];
    int i = threadIdx.x;
    two[0][i] = two[1][i] = {7, 7, 7, 7};
    cp_async16(&two[0][i], &x[i], i != 5);
    cp_async_commit();
    cp_async16(&two[1][i], &x[i + 32], true);
    cp_async_commit();
    if (waits == 1) cp_async_wait<1>();
    if (waits == 2) cp_async_wait<0>();
    out[i] = two[0][i];
    out[i + 32] = two[1][i];
}
"""


@pytest.mark.parametrize("waits", [0, 1, 2])
def test_async_copies_are_nan_until_waited_for(run, waits):
    x, out = random(2, 32, 4), np.zeros((2, 32, 4), np.float32)
    run(COPY, out, x, waits)
    x[0, 5] = 0  # the copy that was not valid
    x[waits:] = np.nan
    np.testing.assert_array_equal(out, x)


INTRINSICS = """
extern "C" __global__ void intrinsics(unsigned* out) {
    out[0] = __byte_perm(0x33221100, 0x77665544, 0x7052);
    out[1] = __float_as_uint(1.5f);
    out[2] = __popc(0xf0f);
    out[3] = atomicMax((int*)out + 8, 5);  // by the last thread
    out[4] = __float_as_uint(fmaxf(__uint_as_float(0xffffffff), 2.f));
    out[5] = __float_as_uint(rsqrtf(4.f));
    out[6] = min(3u, 4u) + max(1, 2);
    out[7] = 0;
    __syncthreads();
    atomicAdd(&out[7], threadIdx.x);
}
"""


def test_intrinsics(run):
    out = np.array([0] * 8 + [4], np.uint32)
    run(INTRINSICS, out)
    assert out.tolist() == [0x77005522, 0x3FC00000, 8, 5, 0x40000000, 0x3F000000, 5, 31 * 16, 5]


def test_portable_fibers(run):
    x, out = random(48, 48), np.zeros((48, 48), np.float32)
    run(TRANSPOSE, out, x, 1, grid=(3, 3), block=(16, 16), options=["-DCUDA_ON_CPU_UCONTEXT"])
    np.testing.assert_array_equal(out, x.T)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvcc_tells_what_kernels_need(architecture):
    kernels = compiling.nvcc_compile(SUM + TRANSPOSE, (), architecture)
    assert kernels["transpose"].shared_bytes == 4 * 16 * 17
    assert kernels["sum"].shared_bytes == kernels["sum"].spill_bytes == 0
    assert 4 < kernels["sum"].registers < 64
    with pytest.raises(compiling.CompileError, match="nonsense"):
        compiling.nvcc_compile("nonsense;", (), architecture)


# The stand-in for CuPy.


@pytest.fixture
def cp(kernels_folder):
    with stand_in.installed(kernels_folder):
        import cupy

        yield cupy


SCALE = """
extern "C" __global__ void scale(float* out, const float* x, float factor, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = factor * x[i];
}
extern "C" __global__ void bytes(unsigned char* a, signed char* b, unsigned short* c, int* d, uint4* e) {}
extern "C" __global__ void big() { DYNAMIC_SHARED(x); x[0] = 1; }
"""


@pytest.fixture
def scale(cp):
    """Return out = factor * x on the device."""
    kernel = cp.RawModule(code=SCALE, options=("-std=c++17",), backend="nvrtc").get_function("scale")

    def scale(out, x, factor):
        kernel((-(-x.size // 32),), (32,), (out, x, np.float32(factor), np.int32(x.size)))

    return scale


def test_arrays_compute_as_numpy(cp):
    host = random(4, 6)
    x = cp.asarray(host)
    assert isinstance(x, cp.ndarray)
    assert not isinstance(x, np.ndarray)
    assert (x.shape, x.dtype, x.nbytes, len(x)) == ((4, 6), np.float32, 96, 4)
    pairs = [
        (x + 1, host + 1),
        (np.float32(2) * x, 2 * host),
        (-x[1:, ::2] / x[0, 0], -host[1:, ::2] / host[0, 0]),
        (x.T.reshape(8, 3), host.T.reshape(8, 3)),
        (x.swapaxes(0, 1)[2], host[:, 2]),
        (x.view(cp.uint16), host.view(np.uint16)),
        (x.astype(cp.int32), host.astype(np.int32)),
        (cp.concatenate([x, x[:1]]), np.concatenate([host, host[:1]])),
        (cp.argmax(x, axis=1), host.argmax(1)),
        (x[cp.asarray([2, 0])], host[[2, 0]]),
        (np.exp(x), np.exp(host)),
        (x == x, host == host),
        (cp.zeros((2, 3), cp.uint8), np.zeros((2, 3), np.uint8)),
    ]
    for device, expected in pairs:
        assert isinstance(device, cp.ndarray)
        assert device.dtype == expected.dtype
        np.testing.assert_array_equal(cp.asnumpy(device), expected)
    assert float(x[1, 2]) == host[1, 2]
    assert int(x.argmax()) == host.argmax()


def test_views_share_and_copies_do_not(cp):
    x = cp.zeros((4, 6), cp.float32)
    x[1:3, ::2] = 5
    x[0] = x[1] * 2
    x += 1
    copy, view = x.copy(), x.reshape(-1).view(cp.uint32)[6:]
    x[1] = 0
    assert copy.get()[1].tolist() == [6, 1, 6, 1, 6, 1]
    assert view.get()[:6].tolist() == [0] * 6
    assert view.data.ptr == x.data.ptr + 24
    assert np.empty_like(x).shape == x.shape
    assert isinstance(np.empty_like(x), cp.ndarray)
    assert not x.T.flags.c_contiguous
    assert cp.ascontiguousarray(x.T).flags.c_contiguous


def test_unwritten_memory_is_nan(cp):
    assert np.isnan(cp.empty((3, 4), cp.float32).get()).all()


MIXES = {
    "add": lambda cp, x, host: x + host,
    "add to the host": lambda cp, x, host: host + x,
    "assign": lambda cp, x, host: x.__setitem__(slice(None), host),
    "assign to the host": lambda cp, x, host: host.__setitem__(slice(None), x),
    "convert": lambda cp, x, host: np.asarray(x),
    "ufunc": lambda cp, x, host: np.maximum(host, x),
    "index": lambda cp, x, host: x[np.arange(2)],
    "concatenate": lambda cp, x, host: cp.concatenate([x, host]),
    "concatenate by numpy": lambda cp, x, host: np.concatenate([host, x]),
    "copy": lambda cp, x, host: cp.copyto(x, host),
    "copy by numpy": lambda cp, x, host: np.copyto(host, x),
    "into the host": lambda cp, x, host: np.add(x, x, out=host),
    "set from the device": lambda cp, x, host: x.set(x),
    "set of another dtype": lambda cp, x, host: x.set(host.astype(np.float64)),
    "in-place widening": lambda cp, x, host: x.view(cp.int32).__iadd__(0.5),
    "bf16": lambda cp, x, host: cp.asarray(host.astype(BF16)),
}


@pytest.mark.parametrize("mix", MIXES)
def test_host_and_device_do_not_mix(cp, mix):
    host = random(4)
    with pytest.raises(TypeError):
        MIXES[mix](cp, cp.asarray(host), host)


def test_unknown_names_say_what_is_missing(cp):
    with pytest.raises(AttributeError, match=r"no cupy\.einsum"):
        cp.einsum  # noqa: B018
    with pytest.raises(AttributeError, match=r"no cupy\.cuda\.runtime\.mallocAsync"):
        cp.cuda.runtime.mallocAsync  # noqa: B018
    with pytest.raises(AttributeError, match=r"no cupy\.array_equal"):
        np.array_equal(cp.zeros(1), cp.zeros(1))


def test_launch(cp, scale):
    x = cp.asarray(random(100))
    out = cp.empty(100, cp.float32)
    scale(out, x, 3)
    np.testing.assert_array_equal(out.get(), 3 * random(100))


def launch(cp, name, grid, block, args, **kwargs):
    cp.RawModule(code=SCALE).get_function(name)(grid, block, args, **kwargs)


def test_arguments_are_checked(cp):
    x, one = cp.zeros(4, cp.float32), np.float32(1)
    right = [x, x, one, np.int32(4)]
    launch(cp, "scale", (1,), (32,), right)
    launch(cp, "scale", (1,), (32,), [np.uintp(x.data.ptr), x.data, *right[2:]])
    for place, wrong, says in [
        (0, x.get(), "expected a device array, found <class 'numpy.ndarray'>"),
        (0, x.view(cp.int32), "points to float, found an array of int32"),
        (1, 7, "expected a device array"),
        (2, 1.0, r"factor is float; expected numpy\.float32"),
        (2, np.float64(1), "expected numpy.float32"),
        (3, 4, "n is int; expected numpy.int32"),
        (3, np.int64(4), "expected numpy.int32"),
        (3, x, "expected numpy.int32"),
    ]:
        with pytest.raises(TypeError, match=says):
            launch(cp, "scale", (1,), (32,), [*right[:place], wrong, *right[place + 1 :]])
    with pytest.raises(TypeError, match="takes 4 arguments, found 3"):
        launch(cp, "scale", (1,), (32,), right[:3])
    arrays = [cp.zeros(16, d) for d in (cp.uint8, cp.int8, cp.uint16, cp.int32, cp.float32)]
    launch(cp, "bytes", (1,), (1,), arrays)
    launch(cp, "bytes", (1,), (1,), [arrays[0].view(cp.bool_), *arrays[1:]])
    with pytest.raises(TypeError, match="points to unsigned char"):
        launch(cp, "bytes", (1,), (1,), arrays[::-1])
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="NOT_FOUND"):
        launch(cp, "nothing", (1,), (1,), [])


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [((1, 65536), (1,), 0), ((0,), (1,), 0), ((1,), (1025,), 0), ((1,), (32, 33), 0), ((1,), (1,), 49153)],
)
def test_launch_limits(cp, grid, block, shared):
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="INVALID_VALUE"):
        launch(cp, "big", grid, block, [], shared_mem=shared)


def test_more_shared_memory_must_be_asked_for(cp):
    function = cp.RawModule(code=SCALE).get_function("big")
    function.max_dynamic_shared_size_bytes = 163 << 10
    function((1,), (1,), (), shared_mem=163 << 10)
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="166912 are possible"):
        function.max_dynamic_shared_size_bytes = (163 << 10) + 1


def test_kernel_out_of_bounds(cp, scale):
    x = cp.zeros(4, cp.float32)
    scale(x, cp.zeros(40, cp.float32), 1)
    with pytest.raises(compiling.LaunchError, match=r"scale, block .* there is no memory"):
        cp.cuda.get_current_stream().synchronize()
    scale(x[:3], cp.zeros(4, cp.float32), 1)  # within the block
    cp.cuda.Device().synchronize()
    y = cp.zeros(3, cp.float32)
    scale(y, cp.zeros(4, cp.float32), 1)
    with pytest.raises(RuntimeError, match="something wrote beside a block of 12 bytes"):
        cp.cuda.Device().synchronize()


def test_errors_are_not_lost(kernels_folder):
    def body():
        with stand_in.installed(kernels_folder) as cp:
            launch(cp, "scale", (1,), (32,), [None, None, np.float32(1), np.int32(4)])

    with pytest.raises(compiling.LaunchError, match="touched address"):
        body()


def test_use_after_free_is_nan(cp, scale):
    x, out = cp.zeros(4, cp.float32), cp.zeros(4, cp.float32)
    stream = cp.cuda.Stream(non_blocking=True)
    cp.cuda.Device().synchronize()
    with stream:
        stream.begin_capture()
        scale(out, x, 1)
        graph = stream.end_capture()
        graph.launch()
        assert out.get().tolist() == [0] * 4
        del x
        graph.launch()
        assert np.isnan(out.get()).all()


def test_graph_sees_changed_memory_and_frozen_scalars(cp, scale):
    x, out, factor = cp.asarray(random(4)), cp.zeros(4, cp.float32), np.array(2, np.float32)
    cp.cuda.Device().synchronize()
    with cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        scale(out, x, factor)
        out[0] = 7
        graph = stream.end_capture()
        factor[...] = 3
        assert out.get().tolist() == [0] * 4  # recorded, not run
        x.fill(5)
        graph.launch()
        assert out.get().tolist() == [7, 10, 10, 10]
        out.fill(0)
        graph.launch(stream=stream)
        stream.synchronize()
    assert out.get().tolist() == [7, 10, 10, 10]


def test_what_cannot_be_captured(cp):
    x = cp.zeros(4, cp.float32)
    one = np.ones(1, np.float32).ctypes.data
    refused = cp.cuda.runtime.CUDARuntimeError
    with cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        for attempt in (
            x.get,
            lambda: x.set(random(4)),
            lambda: cp.empty(4),
            stream.synchronize,
            lambda: float(x[0]),
        ):
            with pytest.raises(refused, match="StreamCaptureUnsupported"):
                attempt()
        with pytest.raises(NotImplementedError, match="cuBLAS"):
            gemm(cp, x, x, x, 0, 0, one, one)
        with pytest.raises(NotImplementedError, match="no arithmetic"):
            x + 1
        stream.end_capture()
    with pytest.raises(RuntimeError, match="legacy"):
        cp.cuda.Stream.null.begin_capture()


def test_memory_of_a_pool_lives_as_long_as_the_pool(cp, scale):
    out, x, pool = cp.zeros(4, cp.float32), cp.asarray(random(4)), cp.cuda.MemoryPool()
    with cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        with cp.cuda.using_allocator(pool.malloc):
            between = cp.empty(4, cp.float32)
            scale(between, x, 2)
            scale(out, between, 2)
            address = between.data.ptr
            del between
            assert pool.free_bytes() == 16
            assert cp.empty(4, cp.float32).data.ptr == address  # a pool hands out again
        graph = stream.end_capture()
        graph.launch()
        np.testing.assert_array_equal(out.get(), 4 * random(4))
        del pool
        graph.launch()
        assert np.isfinite(out.get()).all()  # written and read again by the graph, in freed memory


def pinned(cp, count):
    return np.frombuffer(cp.cuda.alloc_pinned_memory(4 * count), np.float32, count)


def test_copies_of_pinned_memory_wait_for_the_stream(cp):
    x, host = cp.zeros(4, cp.float32), pinned(cp, 4)
    runtime = cp.cuda.runtime
    with cp.cuda.Stream(non_blocking=True) as stream:
        host[...] = 1
        x.set(host, stream=stream)
        host[...] = 2  # too early
        assert x.get().tolist() == [2] * 4
        runtime.memcpyAsync(host.ctypes.data, x.data.ptr, 16, runtime.memcpyDeviceToHost, stream.ptr)
        assert np.isnan(host).all()
        stream.synchronize()
        assert host.tolist() == [2] * 4
        pageable = random(4)
        x.set(pageable)
        pageable[...] = 0
        np.testing.assert_array_equal(x.get(), random(4))
        runtime.memcpyAsync(x.data.ptr + 4, host.ctypes.data, 16, runtime.memcpyHostToDevice, stream.ptr)
        with pytest.raises(RuntimeError, match=r"16 bytes at .* are not device memory"):
            stream.synchronize()


def test_streams_do_not_wait_for_each_other(cp, scale):
    x, out = cp.asarray(random(4)), cp.zeros(4, cp.float32)
    cp.cuda.Device().synchronize()
    with cp.cuda.Stream(non_blocking=True) as first:
        scale(out, x, 2)
    with cp.cuda.Stream(non_blocking=True):
        assert out.get().tolist() == [0] * 4
    first.synchronize()
    np.testing.assert_array_equal(out.get(), 2 * random(4))


def test_out_of_memory(kernels_folder):
    with stand_in.installed(kernels_folder, total_memory=stand_in.SETTINGS.total_memory) as cp:
        free, total = cp.cuda.runtime.memGetInfo()
        x = cp.zeros(1000, cp.uint8)
        assert cp.cuda.runtime.memGetInfo() == (free - 1000, total)
        with pytest.raises(cp.cuda.memory.OutOfMemoryError):
            cp.empty(free, cp.uint8)
        del x


def test_device(cp):
    properties = cp.cuda.runtime.getDeviceProperties(0)
    assert properties["name"] == b"CUDA on CPU"
    assert f"{properties['major']}{properties['minor']}" == cp.cuda.Device().compute_capability == "80"


def gemm(cp, c, a, b, transposed_a, transposed_b, one, zero, leading=None):
    """Do C = op(A) op(B), all of them row by row on the device, as cuBLAS sees the transposed product."""
    kinds = {"float32": 0, "uint16": 14}
    blas, (m, n) = cp.cuda.cublas, c.shape if c.ndim == 2 else (1, 1)
    k = a.shape[0] if transposed_a else a.shape[-1]
    blas.gemmEx(
        cp.cuda.device.get_cublas_handle(), transposed_b, transposed_a, n, m, k, one,
        b.data.ptr, kinds[b.dtype.name], leading or b.shape[-1],
        a.data.ptr, kinds[a.dtype.name], a.shape[-1],
        zero, c.data.ptr, kinds[c.dtype.name], c.shape[-1],
        blas.CUBLAS_COMPUTE_32F, blas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, BF16])
@pytest.mark.parametrize("transposed_b", [0, 1])
@pytest.mark.parametrize("transposed_a", [0, 1])
def test_gemm(cp, transposed_a, transposed_b, dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((5, 3) if transposed_a else (3, 5)).astype(dtype)
    b = rng.standard_normal((4, 5) if transposed_b else (5, 4)).astype(dtype)
    x, y = (cp.asarray(host.view(np.uint16) if dtype is BF16 else host) for host in (a, b))
    c = cp.empty((3, 4), cp.float32)  # NaN, which beta = 0 must not read
    scalars = np.array([2, 0, 1], np.float32)
    two, zero, one = (scalars[i:].ctypes.data for i in range(3))
    gemm(cp, c, x, y, transposed_a, transposed_b, two, zero)
    product = (a.T if transposed_a else a).astype(np.float64) @ (b.T if transposed_b else b).astype(
        np.float64
    )
    np.testing.assert_allclose(c.get(), 2 * product, rtol=1e-5, atol=1e-6)
    gemm(cp, c, x, y, transposed_a, transposed_b, one, one)
    np.testing.assert_allclose(c.get(), 3 * product, rtol=1e-5, atol=1e-6)
    if dtype is BF16:
        rounded = cp.empty((3, 4), cp.uint16)
        gemm(cp, rounded, x, y, transposed_a, transposed_b, one, zero)
        np.testing.assert_allclose(rounded.get().view(BF16).astype(float), product, rtol=2**-8, atol=1e-6)


def test_queued_work_keeps_its_memory(cp, scale):
    host, scalars = random(4, 4), np.array([1, 0], np.float32)
    c, out = cp.empty((4, 4), cp.float32), cp.empty(16, cp.float32)
    x = cp.asarray(host)
    gemm(cp, c, x, x, 0, 0, scalars.ctypes.data, scalars[1:].ctypes.data)
    scale(out, x.ravel(), 2)
    del x
    np.testing.assert_allclose(c.get(), host @ host, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(out.get(), 2 * host.ravel())


def test_gemm_checks_leading_dimensions(cp):
    x, scalars = cp.zeros((4, 4), cp.float32), np.zeros(1, np.float32)
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="lda 3 for 4 rows"):
        gemm(cp, x, x, x, 0, 0, scalars.ctypes.data, scalars.ctypes.data, leading=3)
    gemm(cp, x, x, x, 0, 0, scalars.ctypes.data, scalars.ctypes.data, leading=5)
    with pytest.raises(RuntimeError, match="are not device memory"):
        cp.cuda.Device().synchronize()
