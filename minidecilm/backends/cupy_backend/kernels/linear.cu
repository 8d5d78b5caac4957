// ---------------------------------------------------------------- y = x @ weight.T for few tokens
//
// Weights are read once, straight from memory into the registers of tensor cores; x comes from the cache.
// A block takes 2 tiles of 16 weight rows (blockIdx.y) and 8 * TILES tokens (blockIdx.x: blocks that read the
// same weights run side by side, so that only the first of them reads memory). Its 8 warps share the columns: 32
// of them are a unit, of which lane (g, t) reads columns 8t .. 8t + 7 of weight rows g and g + 8 and of token g.
// Within a unit the order of the columns is free, since both sides keep the same one.

#define UNIT 32
#define FEW_WARPS 8
#define ROWS 16     // of a tile: also the panel of packed.py

// 16 rows of a matrix, as they lie in the file.
struct Tile {
    const void* weight;  // bfloat16 (out, stride), or a panel's codes
    const bf16* scales;  // of the panel: (groups, 16)
    float* y;            // (N, out)
    int row, out;        // first row; rows of the matrix
};

struct Matrix {
    const void* weight;
    const bf16* scales;
    float* y;
    int out;
};

static __device__ __forceinline__ int units_of(int columns) { return (columns + UNIT - 1) / UNIT; }

static __device__ Tile tile_of(const Matrix& matrix, int tile, int in) {
    Tile found = {matrix.weight, matrix.scales, matrix.y, tile * ROWS, matrix.out};
    const long long groups = (in + GROUP - 1) / GROUP;
    const long long words = (in + 7) / 8 * (STORAGE == INT8 ? 2 : 1);  // of 4 bytes, per row of a panel
    if (STORAGE != BFLOAT16 && tile * ROWS < matrix.out) {
        found.weight = (const unsigned*)matrix.weight + tile * words * ROWS;
        found.scales = matrix.scales + tile * groups * ROWS;
    }
    return found;
}

// What one lane reads of a unit: 8 columns of rows g and g + 8.
struct Raw {
    uint4 rows[2];  // int8 uses x, y; int4 uses x
};

static __device__ __forceinline__ Raw read_unit(const Tile& tile, int unit, int in, int stride) {
    Raw raw;
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    for (int half = 0; half < 2; half++) {
        const int row = g + 8 * half;
        uint4 value = make_uint4(0, 0, 0, 0);
        if (STORAGE == INT4) value.x = 0x88888888u;  // zero
        const int column = unit * UNIT + 8 * t;
        if (column < in && tile.row + row < tile.out) {
            if (STORAGE == BFLOAT16) {
                const bf16* at = (const bf16*)tile.weight + (long long)(tile.row + row) * stride + column;
                value = __ldcs((const uint4*)at);
            } else {
                const unsigned* words = (const unsigned*)tile.weight + row;
                if (STORAGE == INT8) {
                    value.x = __ldcs(words + (column / 4) * ROWS);
                    value.y = __ldcs(words + (column / 4 + 1) * ROWS);
                } else {
                    value.x = __ldcs(words + (column / 8) * ROWS);
                }
            }
        }
        raw.rows[half] = value;
    }
    return raw;
}

// What a tile's rows g and g + 8 are scaled by in one group of columns, as a pair of bfloat16.
static __device__ __forceinline__ unsigned read_scales(const Tile& tile, int group) {
    if (STORAGE == BFLOAT16 || tile.row >= tile.out) return 0;
    const bf16* scales = tile.scales + (long long)group * ROWS + threadIdx.x % WARP / 4;
    return scales[0] | (unsigned)scales[8] << 16;
}

// Four int8 codes as two pairs of bfloat16, exactly.
static __device__ __forceinline__ uint2 widen_int8(unsigned codes) {
    codes ^= 0x80808080u;  // 0 .. 255; put below the exponent of 2^23 it is 2^23 + code
    float f[4];
    f[0] = __uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7440)) - 8388736.f;
    f[1] = __uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7441)) - 8388736.f;
    f[2] = __uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7442)) - 8388736.f;
    f[3] = __uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7443)) - 8388736.f;
    return make_uint2(__byte_perm(__float_as_uint(f[0]), __float_as_uint(f[1]), 0x7632),
                      __byte_perm(__float_as_uint(f[2]), __float_as_uint(f[3]), 0x7632));
}

// Two int4 codes, 16 bits apart, as a pair of bfloat16: 0x4300 | code is 128 + code.
static __device__ __forceinline__ unsigned widen_int4(unsigned codes) {
    return fma_bf16x2((codes & 0x000f000fu) | 0x43004300u, 0x3f803f80u, 0xc308c308u);  // * 1 - 136
}

// One row's four pairs of columns, in the order of COLUMN.
static __device__ __forceinline__ uint4 pairs_of(uint4 raw) {
    if (STORAGE == BFLOAT16) return raw;
    if (STORAGE == INT8) {
        const uint2 first = widen_int8(raw.x), second = widen_int8(raw.y);
        return make_uint4(first.x, first.y, second.x, second.y);
    }
    return make_uint4(widen_int4(raw.x), widen_int4(raw.x >> 4), widen_int4(raw.x >> 8), widen_int4(raw.x >> 12));
}

static __device__ __forceinline__ void fragments_of(const Raw& raw, unsigned (&a)[2][4]) {
    const uint4 upper = pairs_of(raw.rows[0]), lower = pairs_of(raw.rows[1]);
    a[0][0] = upper.x, a[0][1] = lower.x, a[0][2] = upper.y, a[0][3] = lower.y;
    a[1][0] = upper.z, a[1][1] = lower.z, a[1][2] = upper.w, a[1][3] = lower.w;
}

static __device__ __forceinline__ void read_columns(const float* x, int column, int in, float (&values)[8]) {
    if (in % 4 == 0 && column + 8 <= in) {
        const float4 a = *(const float4*)(x + column), b = *(const float4*)(x + column + 4);
        values[0] = a.x, values[1] = a.y, values[2] = a.z, values[3] = a.w;
        values[4] = b.x, values[5] = b.y, values[6] = b.z, values[7] = b.w;
    } else {
        for (int i = 0; i < 8; i++) values[i] = column + i < in ? x[column + i] : 0.f;
    }
}

// pairs_of() puts neighbouring columns together, but of int4 those that lie 16 bits apart. Activations follow it.

// Take the next bfloat16 part of 8 columns, and leave the rest of them.
static __device__ __forceinline__ void next_part(float (&values)[8], unsigned (&b)[2][2]) {
    constexpr int FIRST[4] = {0, STORAGE == INT4 ? 4 : 2, STORAGE == INT4 ? 1 : 4, STORAGE == INT4 ? 5 : 6};
    constexpr int AWAY = STORAGE == INT4 ? 2 : 1;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float &low = values[FIRST[i]], &high = values[FIRST[i] + AWAY];
        const unsigned pair = pack_bf16x2(low, high);
        b[i / 2][i % 2] = pair;
        low -= low_of(pair);
        high -= high_of(pair);
    }
}

// The same of 8 columns that are rounded already.
static __device__ __forceinline__ void only_part(uint4 x, unsigned (&b)[2][2]) {
    if (STORAGE == INT4) {
        b[0][0] = __byte_perm(x.x, x.y, 0x5410), b[0][1] = __byte_perm(x.z, x.w, 0x5410);
        b[1][0] = __byte_perm(x.x, x.y, 0x7632), b[1][1] = __byte_perm(x.z, x.w, 0x7632);
    } else {
        b[0][0] = x.x, b[0][1] = x.y, b[1][0] = x.z, b[1][1] = x.w;
    }
}

// c += both halves of the unit, for both tiles.
static __device__ __forceinline__ void multiply_unit(float (&upper)[4], float (&lower)[4], const unsigned (&a)[2][2][4],
                                                     const unsigned (&b)[2][2]) {
    mma_bf16(upper, a[0][0], b[0]);
    mma_bf16(lower, a[1][0], b[0]);
    mma_bf16(upper, a[0][1], b[1]);
    mma_bf16(lower, a[1][1], b[1]);
}

// Multiply the block's two tiles; leave the sums in shared memory: (2, 16, 8 * TILES) float32, scaled by
// 1 / rms(x) where norm weights are given: RMSNorm costs no pass of its own, since
// W @ (norm * x / rms) = (W @ (norm * x)) / rms. Of many tokens x is given as bfloat16, where it is rounded anyway:
// every block reads all of it, from the cache, whose bandwidth would else be the limit.
template <int TILES, typename X>
static __device__ float* multiply_few(const Tile (&tile)[2], const X* x, const float* norm, float eps, int N,
                                      int in, int stride) {
    constexpr int TOKENS = 8 * TILES;
    constexpr int UNITS = STORAGE == BFLOAT16 ? 2 : GROUP / UNIT;  // read together
    // Steps that are asked for before they are needed: the narrower the weights, the more of them it takes to
    // keep the memory busy. Of many tokens the registers are needed for sums.
    constexpr int AHEAD = STORAGE == BFLOAT16 || TILES > 1 ? 1 : STORAGE == INT8 ? 2 : 4;
    __shared__ float sums[FEW_WARPS / 2][2][ROWS][TOKENS];
    __shared__ float squares[FEW_WARPS][TOKENS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    const int first = blockIdx.x * TOKENS;
    const int steps = (units_of(in) + UNITS - 1) / UNITS;

    float sum[2][TILES][4] = {};
    float square[TILES] = {};
    Raw ring[AHEAD + 1][2][UNITS];
    for (int ahead = 0; ahead < AHEAD; ahead++)
        for (int i = 0; i < 2; i++)
            for (int u = 0; u < UNITS; u++)
                ring[ahead][i][u] = read_unit(tile[i], (warp + ahead * FEW_WARPS) * UNITS + u, in, stride);

    for (int step = warp; step < steps; step += FEW_WARPS) {
        // Of packed weights a step is a group. Its scales are asked for here, not where they are needed.
        const unsigned scales[2] = {read_scales(tile[0], step), read_scales(tile[1], step)};
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int u = 0; u < UNITS; u++)
                ring[AHEAD][i][u] = read_unit(tile[i], (step + AHEAD * FEW_WARPS) * UNITS + u, in, stride);
        float part[2][TILES][4] = {};  // sum of one group, not yet scaled
#pragma unroll
        for (int u = 0; u < UNITS; u++) {
            unsigned a[2][2][4];
            fragments_of(ring[0][0][u], a[0]);
            fragments_of(ring[0][1][u], a[1]);
            const int column = (step * UNITS + u) * UNIT + 8 * t;
            float scale[8];
            if (norm) read_columns(norm, column, in, scale);
#pragma unroll
            for (int n = 0; n < TILES; n++) {
                float(&upper)[4] = STORAGE == BFLOAT16 ? sum[0][n] : part[0][n];
                float(&lower)[4] = STORAGE == BFLOAT16 ? sum[1][n] : part[1][n];
                const int token = first + 8 * n + g;
                const bool inside = token < N && column < in;
                unsigned b[2][2];
                if constexpr (sizeof(X) == sizeof(bf16)) {
                    const bf16* from = x + (long long)token * ((in + 7) / 8 * 8) + column;
                    only_part(inside ? *(const uint4*)from : make_uint4(0, 0, 0, 0), b);
                    multiply_unit(upper, lower, a, b);
                } else {
                    float values[8] = {};
                    if (inside) read_columns(x + (long long)token * in, column, in, values);
                    if (norm) {
                        for (int i = 0; i < 8; i++) square[n] += values[i] * values[i], values[i] *= scale[i];
                    }
#pragma unroll
                    for (int p = 0; p < PARTS; p++) {
                        next_part(values, b);
                        multiply_unit(upper, lower, a, b);
                    }
                }
            }
        }
        if (STORAGE != BFLOAT16) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const float upper = low_of(scales[i]), lower = high_of(scales[i]);
#pragma unroll
                for (int n = 0; n < TILES; n++) {
                    sum[i][n][0] += upper * part[i][n][0], sum[i][n][1] += upper * part[i][n][1];
                    sum[i][n][2] += lower * part[i][n][2], sum[i][n][3] += lower * part[i][n][3];
                }
            }
        }
#pragma unroll
        for (int ahead = 0; ahead < AHEAD; ahead++)
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int u = 0; u < UNITS; u++) ring[ahead][i][u] = ring[ahead + 1][i][u];
    }

    for (int n = 0; norm && n < TILES; n++) {
        square[n] += __shfl_xor_sync(EVERY_LANE, square[n], 1);
        square[n] += __shfl_xor_sync(EVERY_LANE, square[n], 2);
        if (t == 0) squares[warp][8 * n + g] = square[n];
    }
    // The upper half of the warps hands its sums to the lower half, until one warp has all.
    for (int half = FEW_WARPS / 2; half >= 1; half /= 2) {
        const int to = warp - half;
        if (to >= 0 && to < half)
            for (int i = 0; i < 2; i++)
                for (int n = 0; n < TILES; n++)
                    for (int c = 0; c < 4; c++)
                        sums[to][i][g + 8 * (c / 2)][8 * n + 2 * t + c % 2] = sum[i][n][c];
        __syncthreads();
        if (warp < half)
            for (int i = 0; i < 2; i++)
                for (int n = 0; n < TILES; n++)
                    for (int c = 0; c < 4; c++)
                        sum[i][n][c] += sums[warp][i][g + 8 * (c / 2)][8 * n + 2 * t + c % 2];
        __syncthreads();
    }
    if (warp == 0)
        for (int n = 0; n < TILES; n++)
            for (int c = 0; c < 4; c++) {
                const int token = 8 * n + 2 * t + c % 2;
                float factor = 1.f;
                if (norm) {
                    float total = 0.f;
                    for (int w = 0; w < FEW_WARPS; w++) total += squares[w][token];
                    factor = 1.f / sqrtf(total / in + eps);
                }
                for (int i = 0; i < 2; i++) sums[0][i][g + 8 * (c / 2)][token] = sum[i][n][c] * factor;
            }
    __syncthreads();
    return &sums[0][0][0][0];
}

// Up to three matrices side by side (queries, keys, values); y += residual where one is given.
template <int TILES, typename X>
static __device__ void linear_few(const Matrix (&matrices)[3], const X* x, const float* norm, float eps,
                                  const float* residual, int N, int in, int stride) {
    Tile tile[2];
    for (int i = 0; i < 2; i++) {
        int left = 2 * blockIdx.y + i, m = 0;
        while (m < 2 && left >= (matrices[m].out + ROWS - 1) / ROWS) left -= (matrices[m++].out + ROWS - 1) / ROWS;
        tile[i] = tile_of(matrices[m], left, in);
    }
    const float* sums = multiply_few<TILES>(tile, x, norm, eps, N, in, stride);
    for (int at = threadIdx.x; at < 2 * ROWS * 8 * TILES; at += FEW_WARPS * WARP) {
        const int r = at % ROWS, i = at / ROWS % 2, n = at / (2 * ROWS);
        const int row = tile[i].row + r, token = blockIdx.x * 8 * TILES + n;
        if (row >= tile[i].out || token >= N) continue;
        const long long to = (long long)token * tile[i].out + row;
        const float value = sums[(i * ROWS + r) * 8 * TILES + n];
        tile[i].y[to] = residual ? residual[to] + value : value;
    }
}

// y = silu(gate(x)) * up(x): a block takes the same 16 rows of both matrices.
template <int TILES, typename X>
static __device__ void gated_few(const Matrix& gate, const Matrix& up, const X* x, const float* norm, float eps,
                                 int N, int in, int stride) {
    const Tile tile[2] = {tile_of(gate, blockIdx.y, in), tile_of(up, blockIdx.y, in)};
    const float* sums = multiply_few<TILES>(tile, x, norm, eps, N, in, stride);
    for (int at = threadIdx.x; at < ROWS * 8 * TILES; at += FEW_WARPS * WARP) {
        const int r = at % ROWS, n = at / ROWS;
        const int row = tile[0].row + r, token = blockIdx.x * 8 * TILES + n;
        if (row >= gate.out || token >= N) continue;
        gate.y[(long long)token * gate.out + row] =
            silu_times(sums[r * 8 * TILES + n], sums[(ROWS + r) * 8 * TILES + n]);
    }
}

#if PARTS == 1
typedef bf16 many_x;  // of more than 8 tokens: (N, in rounded up to 8)
#else
typedef float many_x;
#endif

#define FEW(TILES, X)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(FEW_WARPS* WARP) linear_##TILES(                                  \
        const byte* w0, const bf16* s0, float* y0, int out0, const byte* w1, const bf16* s1, float* y1, int out1,  \
        const byte* w2, const bf16* s2, float* y2, int out2, const X* x, const float* norm, float eps,             \
        const float* residual, int N, int in, int stride) {                                                        \
        const Matrix matrices[3] = {{w0, s0, y0, out0}, {w1, s1, y1, out1}, {w2, s2, y2, out2}};                   \
        linear_few<TILES>(matrices, x, norm, eps, residual, N, in, stride);                                        \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(FEW_WARPS* WARP) gated_##TILES(                                   \
        const byte* gate, const bf16* gate_scales, const byte* up, const bf16* up_scales, float* y, int out,       \
        const X* x, const float* norm, float eps, int N, int in, int stride) {                                     \
        gated_few<TILES>({gate, gate_scales, y, out}, {up, up_scales, y, out}, x, norm, eps, N, in, stride);       \
    }

FEW(1, float)
FEW(4, many_x)
FEW(8, many_x)

// ---------------------------------------------------------------- for cuBLAS

// Split x (N, in) into PARTS bfloat16 matrices, the largest first: (PARTS, N, stride), zeros beyond `in`. One row
// per blockIdx.x.
extern "C" __global__ void split(const float* x, bf16* parts, int N, int in, int stride) {
    const int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= stride) return;
    const long long row = blockIdx.x, at = row * stride + column;
    float rest = column < in ? x[row * in + column] : 0.f;
    for (int p = 0; p < PARTS; p++) {
        const unsigned part = pack_bf16x2(rest, 0.f);
        parts[(long long)p * N * stride + at] = (bf16)part;
        rest -= low_of(part);
    }
}

#if STORAGE != BFLOAT16

// Values of a packed matrix, rounded to bfloat16: (out, stride). One row per blockIdx.x.
extern "C" __global__ void dequantize(const byte* codes, const bf16* scales, bf16* values, int in, int stride) {
    const int row = blockIdx.x, column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= stride) return;
    const long long panel = row / ROWS, r = row % ROWS, eights = (in + 7) / 8;
    int code = 0;
    if (column < in && STORAGE == INT8)
        code = ((const int8*)codes)[((panel * 2 * eights + column / 4) * ROWS + r) * 4 + column % 4];
    if (column < in && STORAGE == INT4) {
        const byte two = codes[((panel * eights + column / 8) * ROWS + r) * 4 + column % 4];
        code = (column % 8 < 4 ? two & 15 : two >> 4) - 8;
    }
    const int groups = (in + GROUP - 1) / GROUP, group = column < in ? column / GROUP : 0;
    narrow(code * widen(scales[(panel * groups + group) * ROWS + r]), values[(long long)row * stride + column]);
}

#endif
