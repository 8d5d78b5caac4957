// Grouped-query attention over a cache. The G query heads of a KV head read the same keys, so they are rows of
// one matrix: row = t * G + g. Keys are read once for all of them, tile by tile, with a running softmax: no
// T x S matrix is ever in memory.
//
// Grid: (tiles of rows, B * K, splits). A long context with few rows is split among blocks; each leaves
// unnormalised sums, and the block that finishes last puts them together.

#define THREADS 128
#define MAX_SPLITS 64
#define PART (HEAD_DIM + 2)  // of a row: weighted sum of values, largest score, sum of weights

struct Attention {
    const float* q;  // (B, H, T, D), any strides
    long long q_b, q_h, q_t;
    long long kv_b, kv_h;  // strides of keys and values; a token's is D
    const byte* mask;      // whether token t may see slot s; or none
    long long mask_b, mask_t;
    int ordered;        // token t sees no slot after its own, S - T + t
    const int* length;  // S - T, where it changes from launch to launch
    float* out;         // (B, T, H, D)
    float* partial;     // (blocks, splits, rows of a tile, PART)
    unsigned* counter;  // (blocks,): splits that have finished; 0 before and after
    int H, K, T, S;
};

// What a block works on; nothing, if its split has no slots.
struct Block {
    int b, k, G, S, row, rows;  // first row of the tile; rows of the whole matrix
    int begin, end;             // slots
    int splits;                 // that have slots
};

static __device__ Block block_of(const Attention& a, int tile_rows, int tile_keys) {
    Block block;
    block.b = blockIdx.y / a.K, block.k = blockIdx.y % a.K;
    block.G = a.H / a.K;
    block.S = a.length ? *a.length + a.T : a.S;
    block.row = blockIdx.x * tile_rows, block.rows = block.G * a.T;
    const int share = (block.S + gridDim.z - 1) / gridDim.z;
    const int chunk = (share + tile_keys - 1) / tile_keys * tile_keys;
    const int last_token = min(block.row + tile_rows, block.rows) - 1;
    const int seen = a.ordered ? block.S - a.T + last_token / block.G + 1 : block.S;
    block.begin = blockIdx.z * chunk;
    block.end = min(min(block.begin + chunk, block.S), seen);
    block.splits = (min(block.S, seen) + chunk - 1) / chunk;
    return block;
}

static __device__ __forceinline__ bool visible(const Attention& a, const Block& block, int row, int slot) {
    const int t = row / block.G;
    if (row >= block.rows || slot >= (a.ordered ? block.S - a.T + t + 1 : block.S)) return false;
    return !a.mask || a.mask[block.b * a.mask_b + t * a.mask_t + slot];
}

static __device__ __forceinline__ const float* query_of(const Attention& a, const Block& block, int row) {
    return a.q + block.b * a.q_b + (block.k * block.G + row % block.G) * a.q_h + row / block.G * a.q_t;
}

// A row that has seen nothing has peak -inf and no weights: any finite number will do for it.
static __device__ __forceinline__ float finite_peak(float peak) { return peak == NEVER ? 0.f : peak; }

template <bool BASE2>
static __device__ __forceinline__ float power(float x) { return BASE2 ? exp2f(x) : expf(x); }

// Put together `count` parts of ROWS_ rows each: (count, ROWS_, PART), `stride` apart. Writes the result as one
// more part, or, where `part` is null, divided by its weights to `out`.
template <bool BASE2, int TILE_ROWS>
static __device__ void merge(const Attention& a, const Block& block, const float* parts, int count, int stride,
                             float* part) {
    __shared__ float share[TILE_ROWS][(TILE_ROWS > 32 ? 1 : MAX_SPLITS) + 2];  // of every part; then peak, total
    const int rows = min(TILE_ROWS, block.rows - block.row);
    // One block merges for all: what counts is how many reads are under way.
    for (int at = threadIdx.x; at < rows * count; at += THREADS)
        share[at % rows][at / rows] = parts[at / rows * stride + at % rows * PART + HEAD_DIM];
    __syncthreads();
    for (int r = threadIdx.x; r < rows; r += THREADS) {
        float peak = NEVER, total = 0.f;
        for (int p = 0; p < count; p++) peak = fmaxf(peak, share[r][p]);
#pragma unroll 16
        for (int p = 0; p < count; p++) {
            share[r][p] = power<BASE2>(share[r][p] - finite_peak(peak));
            total += share[r][p] * parts[p * stride + r * PART + HEAD_DIM + 1];
        }
        share[r][count] = peak, share[r][count + 1] = total;
    }
    __syncthreads();
    for (int at = threadIdx.x; at < rows * PART; at += THREADS) {
        const int r = at / PART, d = at % PART, row = block.row + r;
        float value = 0.f;
        if (d < HEAD_DIM) {
#pragma unroll 16
            for (int p = 0; p < count; p++) value += share[r][p] * parts[p * stride + r * PART + d];
        } else {
            value = share[r][count + d - HEAD_DIM];
        }
        const float total = share[r][count + 1];
        const int t = row / block.G, h = block.k * block.G + row % block.G;
        if (part)
            part[at] = value;
        else if (d < HEAD_DIM)
            a.out[(((long long)block.b * a.T + t) * a.H + h) * HEAD_DIM + d] = value / (total > 0.f ? total : 1.f);
    }
    __syncthreads();
}

// Write what the block found, given as parts in shared memory; the last of all splits merges them.
template <bool BASE2, int TILE_ROWS>
static __device__ void finish(const Attention& a, const Block& block, const float* parts, int count) {
    if (block.splits == 1) return merge<BASE2, TILE_ROWS>(a, block, parts, count, TILE_ROWS * PART, nullptr);
    const int id = blockIdx.y * gridDim.x + blockIdx.x;
    float* of_block = a.partial + (long long)id * gridDim.z * TILE_ROWS * PART;
    merge<BASE2, TILE_ROWS>(a, block, parts, count, TILE_ROWS * PART, of_block + blockIdx.z * TILE_ROWS * PART);
    __shared__ unsigned finished;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) finished = atomicAdd(&a.counter[id], 1u) + 1;
    __syncthreads();
    if (finished < (unsigned)block.splits) return;
    __threadfence();
    merge<BASE2, TILE_ROWS>(a, block, of_block, block.splits, TILE_ROWS * PART, nullptr);
    if (threadIdx.x == 0) a.counter[id] = 0;
}

// ---------------------------------------------------------------- exact: everything in float32

#define EXACT_ROWS 16
#define EXACT_KEYS 32

// Shared memory: queries (ROWS, D), keys and then values (KEYS, D + 1), scores (ROWS, KEYS), factors (ROWS,).
template <typename C>
static __device__ void attention_exact(const Attention& a, const C* keys, const C* values) {
    constexpr int D = HEAD_DIM, WIDE = (D + THREADS - 1) / THREADS;
    DYNAMIC_SHARED(memory);
    float* query = (float*)memory;
    float* tile = query + EXACT_ROWS * D;
    float* score = tile + EXACT_KEYS * (D + 1);
    float* shrink = score + EXACT_ROWS * EXACT_KEYS;
    const Block block = block_of(a, EXACT_ROWS, EXACT_KEYS);
    if (block.begin >= block.end) return;
    const long long head = block.b * a.kv_b + block.k * a.kv_h;
    const float scale = 1.f / sqrtf((float)D);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

    for (int at = threadIdx.x; at < EXACT_ROWS * D; at += THREADS) {
        const int row = block.row + at / D;
        query[at] = row < block.rows ? query_of(a, block, row)[at % D] : 0.f;
    }
    float sum[EXACT_ROWS][WIDE] = {};              // of this thread's d = threadIdx.x + THREADS * w
    float peak = NEVER, total = 0.f;               // of row threadIdx.x / 8
    const int row = threadIdx.x / 8, eighth = threadIdx.x % 8;

    for (int begin = block.begin; begin < block.end; begin += EXACT_KEYS) {
        const int count = min(EXACT_KEYS, block.end - begin);
        for (int at = threadIdx.x; at < EXACT_KEYS * D; at += THREADS)
            tile[at / D * (D + 1) + at % D] = at / D < count ? widen(keys[head + (long long)begin * D + at]) : 0.f;
        __syncthreads();
        // warp w: rows 4w .. 4w + 3, lane: a key
        float dot[4] = {};
        for (int d = 0; d < D; d++)
            for (int r = 0; r < 4; r++) dot[r] += query[(4 * warp + r) * D + d] * tile[lane * (D + 1) + d];
        for (int r = 0; r < 4; r++)
            score[(4 * warp + r) * EXACT_KEYS + lane] =
                lane < count && visible(a, block, block.row + 4 * warp + r, begin + lane) ? dot[r] * scale : NEVER;
        __syncthreads();
        // eight threads share a row
        float* mine = score + row * EXACT_KEYS + eighth;
        const float before = peak;
        for (int i = 0; i < EXACT_KEYS; i += 8) peak = fmaxf(peak, mine[i]);
        for (int away = 4; away; away /= 2) peak = fmaxf(peak, __shfl_xor_sync(EVERY_LANE, peak, away));
        const float factor = expf(before - finite_peak(peak));
        float weights = 0.f;
        for (int i = 0; i < EXACT_KEYS; i += 8) weights += mine[i] = expf(mine[i] - finite_peak(peak));
        for (int away = 4; away; away /= 2) weights += __shfl_xor_sync(EVERY_LANE, weights, away);
        total = total * factor + weights;
        if (eighth == 0) shrink[row] = factor;
        for (int at = threadIdx.x; at < EXACT_KEYS * D; at += THREADS)
            tile[at / D * (D + 1) + at % D] = at / D < count ? widen(values[head + (long long)begin * D + at]) : 0.f;
        __syncthreads();
        for (int w = 0; w < WIDE; w++) {
            const int d = threadIdx.x + THREADS * w;
            if (d >= D) break;
            for (int r = 0; r < EXACT_ROWS; r++) sum[r][w] *= shrink[r];
            for (int key = 0; key < count; key++)
                for (int r = 0; r < EXACT_ROWS; r++)
                    sum[r][w] += score[r * EXACT_KEYS + key] * tile[key * (D + 1) + d];
        }
        __syncthreads();
    }
    __syncthreads();
    float* part = (float*)memory;  // over queries and keys, which are no longer needed
    for (int w = 0; w < WIDE; w++)
        if (threadIdx.x + THREADS * w < D)
            for (int r = 0; r < EXACT_ROWS; r++) part[r * PART + threadIdx.x + THREADS * w] = sum[r][w];
    if (eighth == 0) part[row * PART + D] = peak, part[row * PART + D + 1] = total;
    __syncthreads();
    finish<false, EXACT_ROWS>(a, block, part, 1);
}

// ---------------------------------------------------------------- fast: bfloat16 on tensor cores

#define FAST_KEYS 64
#define PADDED ((HEAD_DIM + 31) / 32 * 32)  // D as fragments take it
#define PITCH (PADDED + 8)                  // of a row in shared memory: no two of 8 rows share a bank

// Bring a tile of keys or values to shared memory in the background; zeros beyond the last slot and beyond D.
static __device__ void fetch_tile(bf16* tile, const bf16* from, int begin, int end) {
    constexpr int PIECES = PADDED / 8;  // of 16 bytes
    for (int at = threadIdx.x; at < FAST_KEYS * PIECES; at += THREADS) {
        const int key = at / PIECES, d = at % PIECES * 8;
        const bool valid = begin + key < end && d < HEAD_DIM;
        cp_async16(tile + key * PITCH + d, valid ? from + (long long)(begin + key) * HEAD_DIM + d : from, valid);
    }
    cp_async_commit();
}

// Each of 4 warps takes 16 rows and a share of every tile's keys: many rows are shared out among warps (4, 1),
// few rows leave keys to share (1, 4).
template <int ROW_WARPS, int KEY_WARPS>
static __device__ void attention_fast(const Attention& a, const bf16* keys, const bf16* values) {
    constexpr int D = HEAD_DIM, KEYS = FAST_KEYS / KEY_WARPS, TILE_ROWS = 16 * ROW_WARPS;
    DYNAMIC_SHARED(memory);
    bf16* key_tile = (bf16*)memory;
    bf16* value_tile = key_tile + FAST_KEYS * PITCH;
    const Block block = block_of(a, TILE_ROWS, FAST_KEYS);
    if (block.begin >= block.end) return;
    const long long head = block.b * a.kv_b + block.k * a.kv_h;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    const int row = block.row + warp % ROW_WARPS * 16 + g;  // and row + 8
    const int first_key = warp / ROW_WARPS * KEYS;          // in the tile

    // Scores are powers of two: log2(e) goes into the scale.
    const float scale = 1.4426950408889634f / sqrtf((float)D);
    unsigned query[PADDED / 16][4];
    for (int s = 0; s < PADDED / 16; s++)
        for (int i = 0; i < 4; i++) {
            const int r = row + 8 * (i % 2), d = 16 * s + 8 * (i / 2) + 2 * t;
            const bool inside = r < block.rows && d < D;
            const float* from = query_of(a, block, inside ? r : 0);
            query[s][i] = inside ? pack_bf16x2(from[d] * scale, from[d + 1] * scale) : 0u;
        }

    float sum[PADDED / 8][4] = {};
    float peak[2] = {NEVER, NEVER}, total[2] = {};  // of rows g and g + 8; totals of this lane's keys only
    fetch_tile(key_tile, keys + head, block.begin, block.end);
    for (int begin = block.begin; begin < block.end; begin += FAST_KEYS) {
        fetch_tile(value_tile, values + head, begin, block.end);
        cp_async_wait<1>();  // the keys are there
        __syncthreads();
        float score[KEYS / 8][4] = {};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int s = 0; s < PADDED / 32; s++) {
                unsigned b[4];
                ldmatrix_x4(b, key_tile + (first_key + 8 * n + lane % 8) * PITCH + 32 * s + lane / 8 * 8);
                mma_bf16(score[n], query[2 * s], {b[0], b[1]});
                mma_bf16(score[n], query[2 * s + 1], {b[2], b[3]});
            }
        __syncthreads();
        fetch_tile(key_tile, keys + head, begin + FAST_KEYS, block.end);

        const float before[2] = {peak[0], peak[1]};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int c = 0; c < 4; c++) {
                const int slot = begin + first_key + 8 * n + 2 * t + c % 2;
                if (slot >= block.end || !visible(a, block, row + 8 * (c / 2), slot)) score[n][c] = NEVER;
                peak[c / 2] = fmaxf(peak[c / 2], score[n][c]);
            }
        float factor[2];
        for (int i = 0; i < 2; i++) {
            peak[i] = fmaxf(peak[i], __shfl_xor_sync(EVERY_LANE, peak[i], 1));
            peak[i] = fmaxf(peak[i], __shfl_xor_sync(EVERY_LANE, peak[i], 2));
            factor[i] = exp2f(before[i] - finite_peak(peak[i]));
            total[i] *= factor[i];
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int c = 0; c < 4; c++) {
                score[n][c] = exp2f(score[n][c] - finite_peak(peak[c / 2]));
                total[c / 2] += score[n][c];
            }
#pragma unroll
        for (int n = 0; n < PADDED / 8; n++)
            for (int c = 0; c < 4; c++) sum[n][c] *= factor[c / 2];

        cp_async_wait<1>();  // the values are there
        __syncthreads();
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            const unsigned weight[4] = {
                pack_bf16x2(score[2 * j][0], score[2 * j][1]), pack_bf16x2(score[2 * j][2], score[2 * j][3]),
                pack_bf16x2(score[2 * j + 1][0], score[2 * j + 1][1]),
                pack_bf16x2(score[2 * j + 1][2], score[2 * j + 1][3])};
#pragma unroll
            for (int n = 0; n < PADDED / 16; n++) {
                unsigned b[4];
                ldmatrix_x4_trans(b, value_tile + (first_key + 16 * j + lane % 16) * PITCH + 16 * n + lane / 16 * 8);
                mma_bf16(sum[2 * n], weight, {b[0], b[1]});
                mma_bf16(sum[2 * n + 1], weight, {b[2], b[3]});
            }
        }
        __syncthreads();
    }
    cp_async_wait<0>();
    __syncthreads();

    float* part = (float*)memory + (warp / ROW_WARPS * TILE_ROWS + warp % ROW_WARPS * 16 + g) * PART;
    for (int i = 0; i < 2; i++) {
        total[i] += __shfl_xor_sync(EVERY_LANE, total[i], 1);
        total[i] += __shfl_xor_sync(EVERY_LANE, total[i], 2);
        for (int n = 0; n < PADDED / 8; n++)
            for (int c = 0; c < 2; c++) {
                const int d = 8 * n + 2 * t + c;
                if (d < D) part[8 * i * PART + d] = sum[n][2 * i + c];
            }
        if (t == 0) part[8 * i * PART + D] = peak[i], part[8 * i * PART + D + 1] = total[i];
    }
    __syncthreads();
    finish<true, TILE_ROWS>(a, block, (float*)memory, KEY_WARPS);
}

#define ATTENTION(NAME, C, BODY)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) NAME(                                                   \
        const float* q, long long q_b, long long q_h, long long q_t, const C* keys, const C* values,              \
        long long kv_b, long long kv_h, const byte* mask, long long mask_b, long long mask_t, int ordered,        \
        const int* length, float* out, float* partial, unsigned* counter, int H, int K, int T, int S) {           \
        const Attention a = {q,       q_b,    q_h, q_t,     kv_b,    kv_h, mask, mask_b, mask_t,                  \
                             ordered, length, out, partial, counter, H,    K,    T,      S};                      \
        BODY(a, keys, values);                                                                                    \
    }

ATTENTION(attention_exact_float32, float, attention_exact)
ATTENTION(attention_exact_bfloat16, bf16, attention_exact)
ATTENTION(attention_fast_16, bf16, (attention_fast<1, 4>))
ATTENTION(attention_fast_32, bf16, (attention_fast<2, 2>))
ATTENTION(attention_fast_64, bf16, (attention_fast<4, 1>))
