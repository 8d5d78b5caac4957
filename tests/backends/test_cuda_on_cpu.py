"""The test tool itself: kernels compiled for the CPU do what CUDA says, and mistakes in them show."""

import ctypes
import shutil
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from tests.backends.cuda_on_cpu import compiling

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

ORDERS = ["forward", "backward", 1, 2]
BF16 = ml_dtypes.bfloat16


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "kernels"


@pytest.fixture
def run(folder):
    """Return a function that compiles a text of one kernel and launches it on arrays and ints."""

    def run(source, *arguments, grid=(1,), block=(32,), shared_bytes=0, order="forward"):
        library = compiling.compile_for_cpu(source, folder)
        (name,) = library.kernels
        values = [
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int(a) for a in arguments
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
extern "C" __global__ void transpose(float* out, const float* x) {
    __shared__ float tile[16][17];
    int i = threadIdx.y, j = threadIdx.x, stride = gridDim.x * 16;
    tile[i][j] = x[(blockIdx.y * 16 + i) * stride + blockIdx.x * 16 + j];
    BARRIER
    out[(blockIdx.x * 16 + i) * stride + blockIdx.y * 16 + j] = tile[j][i];
}
"""


def transpose(run, barrier, order):
    x, out = random(48, 48), np.zeros((48, 48), np.float32)
    run(TRANSPOSE.replace("BARRIER", barrier), out, x, grid=(3, 3), block=(16, 16), order=order)
    return np.array_equal(out, x.T)


def test_transpose_through_shared_memory(run):
    assert [transpose(run, "__syncthreads();", order) for order in ORDERS] == [True] * 4
    assert not any(transpose(run, "", order) for order in ORDERS)  # what a warp reads, another has yet to write


NEIGHBOUR = """
extern "C" __global__ void neighbour(int* out) {
    DYNAMIC_SHARED(raw);
    int* values = reinterpret_cast<int*>(raw);
    values[threadIdx.x] = threadIdx.x;
    BARRIER
    out[threadIdx.x] = values[threadIdx.x OTHER];
}
"""


@pytest.mark.parametrize("other", ["& ~32", "| 32"])  # reads what an earlier, a later warp has written
def test_some_order_shows_a_missing_barrier(run, other):
    def right(barrier, order):
        out = np.zeros(64, np.int32)
        source = NEIGHBOUR.replace("BARRIER", barrier).replace("OTHER", other)
        run(source, out, block=(64,), shared_bytes=256, order=order)
        return np.array_equal(out, eval(f"np.arange(64) {other}"))

    assert all(right("__syncthreads();", order) for order in ORDERS)
    assert sorted([right("", "forward"), right("", "backward")]) == [False, True]


def test_some_order_shows_blocks_that_race(run):
    source = 'extern "C" __global__ void last(int* out) { *out = blockIdx.x; }'
    seen = set()
    for order in ("forward", "backward"):
        out = np.zeros(1, np.int32)
        run(source, out, grid=(9,), order=order)
        seen.add(int(out[0]))
    assert seen == {8, 0}


@pytest.mark.parametrize("shared", ["__shared__ float x[32];", "DYNAMIC_SHARED(raw); float* x = (float*)raw;"])
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


@pytest.mark.parametrize("code", MISTAKES)
def test_mistakes_are_errors(run, code):
    source = f'extern "C" __global__ void wrong(float* out, int n) {{ DYNAMIC_SHARED(dynamic); {code} }}'
    out = np.zeros(64, np.float32)
    with pytest.raises(compiling.LaunchError, match=r"^wrong, block \(0, 0, 0\).*" + MISTAKES[code]):
        run(source, out, 64, block=(64,), shared_bytes=256)
    run(SUM, out, random(32))  # and the next launch is none the worse


def test_launch_bounds(run):
    source = '#define N 16\nextern "C" __global__ void __launch_bounds__(N * 2, 2) k(float* x) { *x = 1; }'
    run(source, np.zeros(1, np.float32))
    with pytest.raises(compiling.LaunchError, match="33 threads, __launch_bounds__ says 32"):
        run(source, np.zeros(1, np.float32), block=(33,))


def test_signatures():
    text = """
        extern "C" __global__ void plain(const unsigned char* __restrict x, float* y, long long n, unsigned m) {}
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
extern "C" __global__ void product(float* c, const unsigned short* a, const unsigned short* b, int by_ldmatrix) {
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
    a, b, c = np.random.default_rng(0).integers(0x3400, 0x4C00, (3, count), np.uint16)  # magnitudes 1e-7 to 3e7
    a[::3] |= 0x8000
    with np.errstate(over="ignore"):
        c[::4] = (-(a.view(BF16) * b.view(BF16))).view(np.uint16)[::4]  # what is left is the product's own error
    a[1::8] &= 0xFF  # subnormal products
    c[1::8] = 0
    # 1.5 * (1 + 1/128) lies half-way between two bf16 numbers: what is added decides, however small.
    a[:3], b[:3], c[:3] = 0x3FC0, 0x3F81, [0x0001, 0x8001, 0x0000]
    out = np.zeros(count, np.uint16)
    run(FMA, out, a, b, c, grid=(count // 64,))
    assert out[:3].tolist() == [0x3FC2, 0x3FC1, 0x3FC2]
    expected = [nearest_bf16(fraction(x) * fraction(y) + fraction(z)) for x, y, z in zip(a, b, c, strict=True)]
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
extern "C" __global__ void copy(float4* out, const float4* x) {
    __shared__ float4 two[2][32];
    int i = threadIdx.x;
    two[0][i] = two[1][i] = {7, 7, 7, 7};
    cp_async16(&two[0][i], &x[i], i != 5);
    cp_async_commit();
    cp_async16(&two[1][i], &x[i + 32], true);
    cp_async_commit();
    WAIT
    out[i] = two[0][i];
    out[i + 32] = two[1][i];
}
"""


@pytest.mark.parametrize("wait", ["", "cp_async_wait<1>();", "cp_async_wait<0>();"])
def test_async_copies_are_nan_until_waited_for(run, wait):
    x, out = random(2, 32, 4), np.zeros((2, 32, 4), np.float32)
    run(COPY.replace("WAIT", wait), out, x)
    x[0, 5] = 0  # the copy that was not valid
    if not wait:
        x[0] = np.nan
    if "0" not in wait:
        x[1] = np.nan
    np.testing.assert_array_equal(out, x)


INTRINSICS = """
extern "C" __global__ void intrinsics(unsigned* out) {
    out[0] = __byte_perm(0x33221100, 0x77665544, 0x7052);
    out[1] = __float_as_uint(1.5f);
    out[2] = __popc(0xf0f);
    out[3] = __dp4a(0x01ff0203, 0x02030405, 10);
    out[4] = __float_as_uint(fmaxf(__uint_as_float(0xffffffff), 2.f));
    out[5] = __float_as_uint(rsqrtf(4.f));
    out[6] = min(3u, 4u) + max(1, 2);
    out[7] = 0;
    __syncthreads();
    atomicAdd(&out[7], threadIdx.x);
}
"""


def test_intrinsics(run):
    out = np.zeros(8, np.uint32)
    run(INTRINSICS, out)
    dot = 1 * 2 + -1 * 3 + 2 * 4 + 3 * 5 + 10
    assert out.tolist() == [0x77005522, 0x3FC00000, 8, dot, 0x40000000, 0x3F000000, 5, 31 * 16]


def test_portable_fibers(run, monkeypatch):
    monkeypatch.setattr(compiling, "FLAGS", (*compiling.FLAGS, "-DCUDA_ON_CPU_UCONTEXT"))
    assert transpose(run, "__syncthreads();", "backward")
    x, out = random(5, 32), np.zeros(5, np.float32)
    run(SUM, out, x, grid=(5,))
    np.testing.assert_allclose(out, x.sum(1), rtol=1e-5)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvcc_tells_what_kernels_need(architecture):
    kernels = compiling.nvcc_compile(SUM + TRANSPOSE.replace("BARRIER", ""), (), architecture)
    assert kernels["transpose"].shared_bytes == 4 * 16 * 17
    assert kernels["sum"].shared_bytes == kernels["sum"].spill_bytes == 0
    assert 4 < kernels["sum"].registers < 64
    with pytest.raises(compiling.CompileError, match="nonsense"):
        compiling.nvcc_compile("nonsense;", (), architecture)
