// What is left of a layer between products and attention.

// Sum over a block of up to 1024 threads, for every thread.
static __device__ float block_sum(float value) {
    __shared__ float of_warp[WARP];
    for (int away = WARP / 2; away; away /= 2) value += __shfl_xor_sync(EVERY_LANE, value, away);
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();
    float total = 0.f;
    for (int w = 0; w < (int)blockDim.x / WARP; w++) total += of_warp[w];
    return total;
}

// ---------------------------------------------------------------- element by element

template <typename W>
static __device__ void embedding(const W* weight, const int* ids, float* x, int E, int stride) {
    for (int e = threadIdx.x; e < E; e += blockDim.x)
        x[(long long)blockIdx.x * E + e] = widen(weight[(long long)ids[blockIdx.x] * stride + e]);
}

extern "C" __global__ void embedding_bfloat16(const bf16* weight, const int* ids, float* x, int E, int stride) {
    embedding(weight, ids, x, E, stride);
}

extern "C" __global__ void embedding_float32(const float* weight, const int* ids, float* x, int E, int stride) {
    embedding(weight, ids, x, E, stride);
}

// One block per row of (N, E).
extern "C" __global__ void rms_norm(const float* x, const float* weight, float* y, int E, float eps) {
    x += (long long)blockIdx.x * E, y += (long long)blockIdx.x * E;
    float sum = 0.f;
    for (int e = threadIdx.x; e < E; e += blockDim.x) sum += x[e] * x[e];
    const float rms = sqrtf(block_sum(sum) / E + eps);
    for (int e = threadIdx.x; e < E; e += blockDim.x) y[e] = weight[e] * (x[e] / rms);
}

// Round (N, E) to bfloat16 (N, stride), zeros beyond E; normalised first, where weights are given.
extern "C" __global__ void round_rows(const float* x, const float* weight, bf16* y, int E, int stride, float eps) {
    x += (long long)blockIdx.x * E, y += (long long)blockIdx.x * stride;
    float rms = 1.f;
    if (weight) {
        float sum = 0.f;
        for (int e = threadIdx.x; e < E; e += blockDim.x) sum += x[e] * x[e];
        rms = sqrtf(block_sum(sum) / E + eps);
    }
    for (int e = threadIdx.x; e < stride; e += blockDim.x)
        narrow(e < E ? (weight ? weight[e] : 1.f) * (x[e] / rms) : 0.f, y[e]);
}

extern "C" __global__ void swiglu(const float* gate, const float* up, float* y, long long count) {
    const long long at = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (at < count) y[at] = silu_times(gate[at], up[at]);
}

// Copy (B, heads, T, D) from one layout to another, turned by the angles of (B, T, D / 2) tables where given.
// One block per head and token.
template <typename FROM, typename TO>
static __device__ void copy_heads(const FROM* from, long long from_b, long long from_h, long long from_t, TO* to,
                                  long long to_b, long long to_h, long long to_t, const float* cos,
                                  const float* sin, int T) {
    const int h = blockIdx.y, b = blockIdx.z, t = blockIdx.x;
    from += b * from_b + h * from_h + t * from_t, to += b * to_b + h * to_h + t * to_t;
    constexpr int HALF = HEAD_DIM / 2;
    for (int i = threadIdx.x; i < HALF; i += blockDim.x) {
        const float first = widen(from[i]), second = widen(from[i + HALF]);
        const long long angle = ((long long)b * T + t) * HALF + i;
        const float c = cos ? cos[angle] : 1.f, s = cos ? sin[angle] : 0.f;
        narrow(cos ? first * c - second * s : first, to[i]);
        narrow(cos ? second * c + first * s : second, to[i + HALF]);
    }
}

#define COPY_HEADS(NAME, FROM, TO)                                                                               \
    extern "C" __global__ void NAME(const FROM* from, long long from_b, long long from_h, long long from_t,      \
                                    TO* to, long long to_b, long long to_h, long long to_t, const float* cos,    \
                                    const float* sin, int T) {                                                   \
        copy_heads(from, from_b, from_h, from_t, to, to_b, to_h, to_t, cos, sin, T);                             \
    }

COPY_HEADS(copy_float32_float32, float, float)
COPY_HEADS(copy_float32_bfloat16, float, bf16)
COPY_HEADS(copy_bfloat16_float32, bf16, float)

// ---------------------------------------------------------------- one step of decoding
//
// What changes from step to step is read from memory, so that a recorded CUDA graph can be launched again.

// x = embedding of each row's token; and note whether the token is real: one block per row.
template <typename W>
static __device__ void begin_step(const W* weight, const int* ids, const int* real, const int* length, byte* mask,
                                  float* x, int E, int stride, int max_length) {
    embedding(weight, ids, x, E, stride);
    if (threadIdx.x == 0) mask[(long long)blockIdx.x * max_length + *length] = (byte)real[blockIdx.x];
}

extern "C" __global__ void begin_step_bfloat16(const bf16* weight, const int* ids, const int* real,
                                               const int* length, byte* mask, float* x, int E, int stride,
                                               int max_length) {
    begin_step(weight, ids, real, length, mask, x, E, stride, max_length);
}

extern "C" __global__ void begin_step_float32(const float* weight, const int* ids, const int* real,
                                              const int* length, byte* mask, float* x, int E, int stride,
                                              int max_length) {
    begin_step(weight, ids, real, length, mask, x, E, stride, max_length);
}

// Turn the queries in place; turn the keys and put them and the values behind the cached ones.
// Block (b, head): H queries, K keys, K values.
template <typename C>
static __device__ void append(float* q, const float* k, const float* v, C* keys, C* values, const float* cos,
                              const float* sin, const int* length, int H, int K, int max_length) {
    constexpr int HALF = HEAD_DIM / 2;
    const long long b = blockIdx.x;
    const int head = blockIdx.y;
    const bool query = head < H, value = head >= H + K;
    const int kv = query ? 0 : (head - H) % K;
    const float* from = query ? q + (b * H + head) * HEAD_DIM : (value ? v : k) + (b * K + kv) * HEAD_DIM;
    const long long slot = ((b * K + kv) * max_length + *length) * HEAD_DIM;
    for (int i = threadIdx.x; i < HALF; i += blockDim.x) {
        float first = from[i], second = from[i + HALF];
        if (!value) {
            const float c = cos[b * HALF + i], s = sin[b * HALF + i], x = first;
            first = x * c - second * s;
            second = second * c + x * s;
        }
        if (query) {
            float* to = q + (b * H + head) * HEAD_DIM;
            to[i] = first, to[i + HALF] = second;
        } else {
            C* to = (value ? values : keys) + slot;
            narrow(first, to[i]), narrow(second, to[i + HALF]);
        }
    }
}

extern "C" __global__ void append_float32(float* q, const float* k, const float* v, float* keys, float* values,
                                          const float* cos, const float* sin, const int* length, int H, int K,
                                          int max_length) {
    append(q, k, v, keys, values, cos, sin, length, H, K, max_length);
}

extern "C" __global__ void append_bfloat16(float* q, const float* k, const float* v, bf16* keys, bf16* values,
                                           const float* cos, const float* sin, const int* length, int H, int K,
                                           int max_length) {
    append(q, k, v, keys, values, cos, sin, length, H, K, max_length);
}
