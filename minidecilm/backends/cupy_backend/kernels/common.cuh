// What every file of this folder begins with: it is put before each of them, and compiled with
//   HEAD_DIM  D
//   STORAGE   of weights: BFLOAT16, INT8 or INT4
//   GROUP     columns that share a scale in int8 and int4 weights
//   PARTS     bfloat16 numbers that an activation is split into before tensor cores multiply it:
//             3 keep all 24 bits of a float32; 1 rounds
//
// Shape letters as in ops.py; N rows (tokens) of a product. Activations are float32 in memory. A bfloat16 is kept as
// its bits, the upper half of a float32. No CUDA header is needed.

typedef unsigned char byte;
typedef signed char int8;
typedef unsigned short bf16;

#define BFLOAT16 0
#define INT8 1
#define INT4 2

#define WARP 32
#define EVERY_LANE 0xffffffffu
#define NEVER (-__int_as_float(0x7f800000))  // minus infinity

// ---------------------------------------------------------------- what C++ has no word for

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) byte name[]
#endif

#ifndef CUDA_ON_CPU

// c += a @ b for a 16 x 16, b 16 x 8. Lane = 4g + t holds of a rows g and g + 8, of b column g, of c rows g
// and g + 8: a[0], a[1] and b[0] at k = 2t, 2t + 1; a[2], a[3] and b[1] at k = 2t + 8, 2t + 9; c at columns
// 2t, 2t + 1. (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".)
static __device__ __forceinline__ void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ unsigned shared_address(const void* p) {
    return (unsigned)__cvta_generic_to_shared(p);
}

// Four 8 x 8 matrices of 16-bit values; lane 8i + j gives the address of row j of matrix i.
static __device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

static __device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

static __device__ __forceinline__ unsigned fma_bf16x2(unsigned a, unsigned b, unsigned c) {
    unsigned d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// Copies 16 bytes to shared memory in the background, or fills with zeros.
static __device__ __forceinline__ void cp_async16(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 ::"r"(shared_address(shared)), "l"(global), "r"(valid ? 16 : 0) : "memory");
}

static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N>
static __device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

static __device__ __forceinline__ unsigned pack_bf16x2(float low, float high) {
    unsigned d;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}

#else

static unsigned round_to_bf16(float x) {
    unsigned u = __float_as_uint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;  // NaN
    return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

static unsigned pack_bf16x2(float low, float high) { return round_to_bf16(low) | round_to_bf16(high) << 16; }

#endif

static __device__ __forceinline__ float low_of(unsigned pair) { return __uint_as_float(pair << 16); }
static __device__ __forceinline__ float high_of(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

static __device__ __forceinline__ float widen(float x) { return x; }
static __device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((unsigned)x << 16); }
static __device__ __forceinline__ void narrow(float x, float& to) { to = x; }
static __device__ __forceinline__ void narrow(float x, bf16& to) { to = (bf16)pack_bf16x2(x, 0.f); }

static __device__ __forceinline__ float silu_times(float gate, float up) { return gate / (1.f + expf(-gate)) * up; }
