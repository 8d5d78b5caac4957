// CUDA C++ on a CPU: what a .cu file needs to be compiled by g++ and to run, thread for thread.
//
// Every thread of a block is a fiber (a stack of its own, switched by hand); the blocks of a launch run one after
// another. A fiber runs until it must wait for others (barrier, shuffle, mma ...). Which one runs next is a setting,
// so that code that needs a synchronisation it lacks gives another result under another order.
// What the hardware leaves undefined is made visible: unwritten shared memory is NaN, a copy that was not waited
// for is NaN, a barrier that not all threads reach is an error, and so is memory out of bounds or misaligned.
//
// Not modelled: time, caches, weak memory order, blocks that wait for each other (that would never end), and the
// last bits of approximate functions such as __expf.
#pragma once

#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

// NVRTC has no C headers: names that the headers above define must not be found by the kernels.
#undef INFINITY
#undef NAN
#undef HUGE_VALF

#define CUDA_ON_CPU 1
#ifndef CUDA_ON_CPU_SECONDS
#define CUDA_ON_CPU_SECONDS 120  // of processor time, after which a launch is taken to be endless
#endif

#ifndef CUDA_ON_CPU_SIGNATURES  // compiling.py looks for these two in the preprocessed text
#define __global__
#define __launch_bounds__(...)
#endif
#define __device__
#define __host__
#define __constant__ static
#define __restrict__ __restrict
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
// Thread-local variables of this library lie in one segment of memory, which the loader tells us: that is how a
// block's static shared memory is found. Nothing else here may be thread_local.
#define __shared__ static thread_local
#define DYNAMIC_SHARED(name) unsigned char* const name = cuda_on_cpu::machine.shared_begin

#define CUDA_ON_CPU_VECTOR(type, name)                                                                      \
    struct alignas(8) name##2 { type x, y; };                                                               \
    struct alignas(16) name##4 { type x, y, z, w; };                                                        \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                        \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
CUDA_ON_CPU_VECTOR(int, int)
CUDA_ON_CPU_VECTOR(unsigned, uint)
CUDA_ON_CPU_VECTOR(float, float)

struct dim3 { unsigned x = 1, y = 1, z = 1; };
inline dim3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

namespace cuda_on_cpu {

constexpr unsigned ALL_LANES = 0xffffffff;
constexpr size_t STACK = 128 << 10;  // compiling.py refuses functions that take half of it
constexpr size_t SHARED_LIMIT = 256 << 10, PAGE = 4096, FORBIDDEN = 64 << 20;
constexpr unsigned char POISON = 0xff;  // four of them are a NaN, or -1

// ---- switching between stacks

#if defined(__x86_64__) && !defined(CUDA_ON_CPU_UCONTEXT)
// Save the registers that a function must preserve on this stack, and take up the other one where it did the same.
extern "C" void cuda_on_cpu_switch(void** save_stack, void* take_stack);
asm(R"(
    .text
    .hidden cuda_on_cpu_switch
    .globl cuda_on_cpu_switch
cuda_on_cpu_switch:
    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
    ret
)");

struct Context {
    void* stack_pointer;
    void start(unsigned char* stack, void (*entry)()) {
        void** top = reinterpret_cast<void**>(stack + STACK);
        *--top = nullptr;  // the return address of entry, which never returns
        *--top = reinterpret_cast<void*>(entry);
        stack_pointer = top - 6;  // six registers of any value
    }
    void go_to(Context& other) { cuda_on_cpu_switch(&stack_pointer, other.stack_pointer); }
};
#else
struct Context {
    ucontext_t context;
    void start(unsigned char* stack, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = STACK;
        makecontext(&context, entry, 0);
    }
    void go_to(Context& other) { swapcontext(&context, &other.context); }
};
#endif

// ---- the state of one launch

enum class State { collective, barrier, returned };
constexpr const char* STATE[] = {"waits in a warp collective", "waits in __syncthreads", "has returned"};

using Resolve = void (*)(void** operands_of_lanes);  // what a warp collective does once every lane has come

struct Copy { void* shared; const void* global; bool valid; unsigned group; };

struct Fiber {
    Context context;
    State state;
    Resolve resolve;
    void* operands;
    dim3 index;
    std::vector<Copy> copies;  // cp.async that are under way
    unsigned group;            // the commit group that the next copy joins
};

enum Order { forward, backward, shuffled };

struct Machine {
    const char* kernel;
    void (*body)(void** arguments);
    void** arguments;
    Order order;
    std::mt19937_64 random;
    Context scheduler;
    Fiber* current;  // null while the scheduler runs
    std::vector<Fiber> fibers;
    unsigned char* stacks = nullptr;
    unsigned char *shared_region = nullptr, *shared_begin, *static_begin;
    size_t shared_bytes, static_bytes;
    sigjmp_buf give_up;
    pthread_t os_thread;
    char error[512];

    void arrange(std::vector<unsigned>& items, unsigned count) {
        items.resize(count);
        for (unsigned i = 0; i < count; i++) items[i] = order == backward ? count - 1 - i : i;
        if (order == shuffled)
            for (unsigned i = count; i > 1; i--) std::swap(items[i - 1], items[random() % i]);
    }
};
inline Machine machine;
inline thread_local unsigned char first_shared_byte;  // there is a segment to find even without __shared__

// End the launch with an error. Fibers are left as they are: kernels own nothing that would need a destructor.
[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
    int n = snprintf(machine.error, sizeof machine.error, "%s, block (%u, %u, %u)", machine.kernel, blockIdx.x,
                     blockIdx.y, blockIdx.z);
    if (machine.current)
        n += snprintf(machine.error + n, sizeof machine.error - n, ", thread (%u, %u, %u)", threadIdx.x,
                      threadIdx.y, threadIdx.z);
    n += snprintf(machine.error + n, sizeof machine.error - n, ": ");
    va_list values;
    va_start(values, format);
    vsnprintf(machine.error + n, sizeof machine.error - n, format, values);
    va_end(values);
    siglongjmp(machine.give_up, 1);
}

inline bool is_shared(const void* address, size_t bytes) {
    auto within = [&](const unsigned char* begin, size_t size) {
        auto p = static_cast<const unsigned char*>(address);
        return p >= begin && p + bytes <= begin + size;
    };
    return within(machine.shared_begin, machine.shared_bytes) || within(machine.static_begin, machine.static_bytes);
}

// Dynamic shared memory ends at pages that cannot be touched (a launch ends there with an error), and begins after
// a page that must still be poison when the block has ended.
inline void find_shared_memory(size_t bytes) {
    if (!machine.shared_region) {
        void* region = mmap(nullptr, SHARED_LIMIT + FORBIDDEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        machine.shared_region = static_cast<unsigned char*>(region);
        mprotect(region, SHARED_LIMIT, PROT_READ | PROT_WRITE);
    }
    machine.shared_bytes = bytes;
    machine.shared_begin = machine.shared_region + SHARED_LIMIT - (bytes + 15) / 16 * 16;

    static_cast<volatile unsigned char&>(first_shared_byte) = POISON;  // makes the loader allocate the segment
    dl_iterate_phdr(
        [](dl_phdr_info* library, size_t, void*) {
            for (int i = 0; i < library->dlpi_phnum; i++) {
                auto& header = library->dlpi_phdr[i];
                auto begin = static_cast<unsigned char*>(library->dlpi_tls_data);
                if (header.p_type != PT_TLS || !begin) continue;
                if (&first_shared_byte < begin || &first_shared_byte >= begin + header.p_memsz) continue;
                machine.static_begin = begin;
                machine.static_bytes = header.p_memsz;
                return 1;
            }
            return 0;
        },
        nullptr);
}

inline void poison_shared_memory() {
    memset(machine.static_begin, POISON, machine.static_bytes);
    unsigned char* page_before = machine.shared_begin - PAGE;
    memset(page_before, POISON, machine.shared_region + SHARED_LIMIT - page_before);
}

inline void check_shared_bounds() {
    auto untouched = [](const unsigned char* from, const unsigned char* to) {
        return std::all_of(from, to, [](unsigned char byte) { return byte == POISON; });
    };
    if (!untouched(machine.shared_begin - PAGE, machine.shared_begin)) fail("wrote before dynamic shared memory");
    if (!untouched(machine.shared_begin + machine.shared_bytes, machine.shared_region + SHARED_LIMIT))
        fail("wrote beyond the %zu bytes of dynamic shared memory", machine.shared_bytes);
}

// ---- running a block

inline void wait_as(State state) {
    machine.current->state = state;
    machine.current->context.go_to(machine.scheduler);
}

inline void run_thread() {
    machine.body(machine.arguments);
    wait_as(State::returned);
}

inline void resume(Fiber& fiber) {
    machine.current = &fiber;
    threadIdx = fiber.index;
    machine.scheduler.go_to(fiber.context);
    machine.current = nullptr;
}

// Run the lanes of a warp to where each must wait; true if that was a warp collective, so that they can go on.
inline bool advance(unsigned warp, unsigned threads) {
    static std::vector<unsigned> lanes;
    unsigned first = warp * warpSize, count = std::min<unsigned>(warpSize, threads - first);
    machine.arrange(lanes, count);
    for (unsigned lane : lanes) resume(machine.fibers[first + lane]);

    Fiber& lane0 = machine.fibers[first];
    void* operands[warpSize];
    for (unsigned lane = 0; lane < count; lane++) {
        Fiber& fiber = machine.fibers[first + lane];
        if (fiber.state != lane0.state)
            fail("threads of warp %u part: lane 0 %s, lane %u %s", warp, STATE[int(lane0.state)], lane,
                 STATE[int(fiber.state)]);
        if (fiber.state == State::collective && fiber.resolve != lane0.resolve)
            fail("threads of warp %u part: lanes 0 and %u wait in different warp collectives", warp, lane);
        operands[lane] = fiber.operands;
    }
    if (lane0.state != State::collective) return false;
    if (count < warpSize) fail("a warp collective in warp %u, which has %u lanes", warp, count);
    lane0.resolve(operands);
    return true;
}

inline void run_block(unsigned threads) {
    static std::vector<unsigned> runnable;
    poison_shared_memory();
    for (unsigned i = 0; i < threads; i++) {
        Fiber& fiber = machine.fibers[i];
        fiber.context.start(machine.stacks + i * STACK, run_thread);
        fiber.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        fiber.copies.clear();
        fiber.group = 0;
    }
    unsigned warps = (threads + warpSize - 1) / warpSize;
    for (unsigned returned = 0; returned < warps;) {
        machine.arrange(runnable, warps);
        while (!runnable.empty()) {
            size_t pick = machine.order == shuffled ? machine.random() % runnable.size() : 0;
            if (!advance(runnable[pick], threads)) runnable.erase(runnable.begin() + pick);
        }
        returned = 0;
        for (unsigned warp = 0; warp < warps; warp++)
            returned += machine.fibers[warp * warpSize].state == State::returned;
        if (returned && returned < warps) fail("__syncthreads waits for %u warps that have returned", returned);
    }
    check_shared_bounds();
}

inline void on_timer(int) {
    if (!pthread_equal(pthread_self(), machine.os_thread)) {
        pthread_kill(machine.os_thread, SIGVTALRM);
        return;
    }
    fail("ran for %d seconds: does it wait for another block, or for a thread without a barrier?",
         CUDA_ON_CPU_SECONDS);
}

inline void on_fault(int, siginfo_t* info, void*) {
    auto address = static_cast<unsigned char*>(info->si_addr);
    size_t beyond = address - (machine.shared_region + SHARED_LIMIT);
    if (beyond < FORBIDDEN)
        fail("dynamic shared memory beyond the %zu bytes of the launch", machine.shared_bytes);
    fail("touched address %p, where there is no memory (freed, out of bounds or a host pointer)", info->si_addr);
}

inline int launch(const char* kernel, void (*body)(void**), void** arguments, int most_threads,
                  const unsigned (&shape)[6], unsigned shared_bytes, int order, unsigned long long seed) {
    machine.kernel = kernel;
    machine.body = body;
    machine.arguments = arguments;
    machine.order = Order(order);
    machine.random.seed(seed);
    machine.current = nullptr;
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    blockIdx = {0, 0, 0};
    unsigned threads = blockDim.x * blockDim.y * blockDim.z, blocks = gridDim.x * gridDim.y * gridDim.z;

    struct sigaction fault = {}, timer = {}, old_segv, old_bus, old_timer;
    fault.sa_sigaction = on_fault;
    fault.sa_flags = SA_SIGINFO;
    timer.sa_handler = on_timer;
    sigaction(SIGSEGV, &fault, &old_segv);
    sigaction(SIGBUS, &fault, &old_bus);
    sigaction(SIGVTALRM, &timer, &old_timer);
    machine.os_thread = pthread_self();
    itimerval limit = {{}, {CUDA_ON_CPU_SECONDS, 0}}, none = {};
    setitimer(ITIMER_VIRTUAL, &limit, nullptr);
    int failed = sigsetjmp(machine.give_up, 1);
    if (!failed) {
        if (threads > unsigned(most_threads)) fail("%u threads, __launch_bounds__ says %d", threads, most_threads);
        if (!machine.stacks)
            machine.stacks = static_cast<unsigned char*>(mmap(nullptr, 1024 * STACK, PROT_READ | PROT_WRITE,
                                                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        machine.fibers.resize(1024);
        find_shared_memory(shared_bytes);
        static std::vector<unsigned> numbers;
        machine.arrange(numbers, blocks);
        for (unsigned i : numbers) {
            blockIdx = {i % gridDim.x, i / gridDim.x % gridDim.y, i / gridDim.x / gridDim.y};
            run_block(threads);
        }
    }
    setitimer(ITIMER_VIRTUAL, &none, nullptr);
    sigaction(SIGVTALRM, &old_timer, nullptr);
    sigaction(SIGSEGV, &old_segv, nullptr);
    sigaction(SIGBUS, &old_bus, nullptr);
    return failed;
}

// ---- collectives of a warp: each lane hands in its operands and waits; the last one's arrival resolves them all

template <class Operands>
void collective(Operands& mine, Resolve resolve) {
    machine.current->operands = &mine;
    machine.current->resolve = resolve;
    wait_as(State::collective);
}

inline void whole_warp(unsigned mask) {
    if (mask != ALL_LANES) fail("a warp collective with mask %08x: only the whole warp is supported", mask);
}

inline int this_lane() { return (machine.current - machine.fibers.data()) % warpSize; }

template <class T>
struct Shuffle { T value; int source; T result; };

template <class T>
T shuffle(unsigned mask, T value, int source) {
    static_assert(std::is_arithmetic<T>::value && sizeof(T) >= 4, "shuffles take int, unsigned, float");
    whole_warp(mask);
    Shuffle<T> mine{value, source, T()};
    collective(mine, [](void** lanes) {
        auto shuffles = reinterpret_cast<Shuffle<T>**>(lanes);
        for (int lane = 0; lane < warpSize; lane++) shuffles[lane]->result = shuffles[shuffles[lane]->source]->value;
    });
    return mine.result;
}

// The lane to read from, or the own one where the other lies outside the lane's group of `width`.
inline int source_lane(int target, int width) {
    int lane = this_lane(), group = lane / width * width;
    return target >= group && target < group + width ? target : lane;
}

struct Vote { bool yes; unsigned ballot; };

inline void resolve_vote(void** lanes) {
    auto votes = reinterpret_cast<Vote**>(lanes);
    unsigned ballot = 0;
    for (int lane = 0; lane < warpSize; lane++) ballot |= unsigned(votes[lane]->yes) << lane;
    for (int lane = 0; lane < warpSize; lane++) votes[lane]->ballot = ballot;
}

// ---- bf16

inline float wide(unsigned bf16) {
    bf16 <<= 16;
    float value;
    memcpy(&value, &bf16, 4);
    return value;
}

// Rounding to odd (inexact results get an odd last bit), so that a second rounding to fewer bits is right.
template <class Bits, class T>
T to_odd(T nearest, bool is_larger, bool is_smaller) {
    Bits bits;
    memcpy(&bits, &nearest, sizeof bits);
    if ((!is_larger && !is_smaller) || bits & 1) return nearest;
    constexpr T infinity = __builtin_huge_val();
    return std::nextafter(nearest, is_larger ? infinity : -infinity);
}

inline unsigned fma_bf16(float a, float b, float c) {
    double product = double(a) * b, sum = product + c;  // the product is exact, the sum is not always
    if (std::isnan(sum)) return 0x7fff;
    float value = float(sum);
    if (std::isfinite(sum)) {
        double rest = sum - product, error = (product - (sum - rest)) + (c - rest);  // two-sum: exact - sum
        sum = to_odd<uint64_t>(sum, error > 0, error < 0);
        value = to_odd<uint32_t>(float(sum), sum > float(sum), sum < float(sum));
    }
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

struct Mma { float (&c)[4]; const unsigned (&a)[4]; const unsigned (&b)[2]; };

// D = A B + C, rows of A and columns of B over the lanes as PTX lays them out. Summed in double, rounded once.
inline void resolve_mma(void** lanes) {
    auto mma = reinterpret_cast<Mma**>(lanes);
    float a[16][16], b[16][8];
    for (int lane = 0; lane < warpSize; lane++)
        for (int i = 0; i < 8; i++) {  // i counts a lane's elements of A; its first four are those of B too
            int group = lane / 4, k = lane % 4 * 2 + (i & 1);
            a[group + (i & 2 ? 8 : 0)][k + (i & 4 ? 8 : 0)] = wide(mma[lane]->a[i / 2] >> (i & 1) * 16 & 0xffff);
            if (i < 4) b[k + (i & 2 ? 8 : 0)][group] = wide(mma[lane]->b[i / 2] >> (i & 1) * 16 & 0xffff);
        }
    for (int lane = 0; lane < warpSize; lane++)
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + (i & 2 ? 8 : 0), column = lane % 4 * 2 + (i & 1);
            double sum = mma[lane]->c[i];
            for (int k = 0; k < 16; k++) sum += double(a[row][k]) * b[k][column];
            mma[lane]->c[i] = float(sum);
        }
}

struct Ldmatrix { unsigned (&r)[4]; const void* row; };

// Lane i names row i % 8 of matrix i / 8; lane l gets elements 2 (l % 4) and the next of row l / 4 of each matrix.
template <bool transposed>
void ldmatrix(unsigned (&r)[4], const void* row) {
    if (uintptr_t(row) % 16 || !is_shared(row, 16)) fail("ldmatrix from %p: 16 aligned shared bytes are needed", row);
    Ldmatrix mine{r, row};
    collective(mine, [](void** lanes) {
        auto all = reinterpret_cast<Ldmatrix**>(lanes);
        for (int lane = 0; lane < warpSize; lane++)
            for (int matrix = 0; matrix < 4; matrix++) {
                unsigned both = 0;
                for (int i = 0; i < 2; i++) {
                    int line = lane / 4, column = lane % 4 * 2 + i;
                    if (transposed) std::swap(line, column);
                    auto elements = static_cast<const unsigned short*>(all[matrix * 8 + line]->row);
                    both |= unsigned(elements[column]) << 16 * i;
                }
                all[lane]->r[matrix] = both;
            }
    });
}

// ---- what g++ -fsanitize=alignment,bounds,... calls; the file is then not linked to the sanitizer's own library

struct SourceLine { const char* file; unsigned line, column; };
#define CUDA_ON_CPU_SANITIZER(name, says, ...)                                                              \
    extern "C" inline __attribute__((used)) void __ubsan_handle_##name(SourceLine* at, __VA_ARGS__) {       \
        fail("%s:%u: %s", at->file, at->line, says);                                                        \
    }
CUDA_ON_CPU_SANITIZER(type_mismatch_v1, "misaligned address", void*)
CUDA_ON_CPU_SANITIZER(out_of_bounds, "array index out of bounds", void*)
CUDA_ON_CPU_SANITIZER(shift_out_of_bounds, "shift by the width of the type or more", void*, void*)
CUDA_ON_CPU_SANITIZER(divrem_overflow, "integer division by zero", void*, void*)

template <class To, class From>
To as(From from) {
    static_assert(sizeof(To) == sizeof(From), "same bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

template <class T>
T exchange(T* address, T value) {
    T old = *address;
    *address = value;
    return old;
}

}  // namespace cuda_on_cpu

// ---- CUDA's functions. Kernels run one fiber at a time, so atomics and caches are plain reads and writes.

inline void __syncthreads() { cuda_on_cpu::wait_as(cuda_on_cpu::State::barrier); }
inline void __syncwarp(unsigned mask = cuda_on_cpu::ALL_LANES) {
    cuda_on_cpu::whole_warp(mask);
    cuda_on_cpu::collective(mask, [](void**) {});
}
inline void __threadfence() {}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize) {
    return cuda_on_cpu::shuffle(mask, value, cuda_on_cpu::this_lane() / width * width + (lane & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize) {
    if (bits < 0 || bits >= width) cuda_on_cpu::fail("__shfl_xor_sync of %d in groups of %d lanes", bits, width);
    return cuda_on_cpu::shuffle(mask, value, cuda_on_cpu::this_lane() ^ bits);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = warpSize) {
    return cuda_on_cpu::shuffle(mask, value, cuda_on_cpu::source_lane(cuda_on_cpu::this_lane() + distance, width));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = warpSize) {
    return cuda_on_cpu::shuffle(mask, value, cuda_on_cpu::source_lane(cuda_on_cpu::this_lane() - distance, width));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    cuda_on_cpu::whole_warp(mask);
    cuda_on_cpu::Vote mine{predicate != 0, 0};
    cuda_on_cpu::collective(mine, cuda_on_cpu::resolve_vote);
    return mine.ballot;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

inline float __uint_as_float(unsigned x) { return cuda_on_cpu::as<float>(x); }
inline float __int_as_float(int x) { return cuda_on_cpu::as<float>(x); }
inline unsigned __float_as_uint(float x) { return cuda_on_cpu::as<unsigned>(x); }
inline int __float_as_int(float x) { return cuda_on_cpu::as<int>(x); }
inline float __expf(float x) { return expf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return float(1 / std::sqrt(double(x))); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    if (selector & 0x8888) cuda_on_cpu::fail("__byte_perm with selector %x: bits 3, 7, 11 and 15 are not for it", selector);
    uint64_t bytes = uint64_t(y) << 32 | x;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) result |= unsigned(bytes >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
    return result;
}

#define CUDA_ON_CPU_MIN_MAX(type)                                  \
    inline type min(type a, type b) { return b < a ? b : a; }      \
    inline type max(type a, type b) { return a < b ? b : a; }
CUDA_ON_CPU_MIN_MAX(int)
CUDA_ON_CPU_MIN_MAX(unsigned)
CUDA_ON_CPU_MIN_MAX(long long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

template <class T> T __ldg(const T* address) { return *address; }
template <class T> T __ldcs(const T* address) { return *address; }

inline int atomicAdd(int* address, int value) { return cuda_on_cpu::exchange(address, *address + value); }
inline unsigned atomicAdd(unsigned* address, unsigned value) { return cuda_on_cpu::exchange(address, *address + value); }
inline float atomicAdd(float* address, float value) { return cuda_on_cpu::exchange(address, *address + value); }
inline int atomicMax(int* address, int value) { return cuda_on_cpu::exchange(address, max(*address, value)); }

// ---- what kernels.cu writes in PTX for a GPU

inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    cuda_on_cpu::Mma mine{c, a, b};
    cuda_on_cpu::collective(mine, cuda_on_cpu::resolve_mma);
}
inline void ldmatrix_x4(unsigned (&r)[4], const void* shared_row) { cuda_on_cpu::ldmatrix<false>(r, shared_row); }
inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* shared_row) { cuda_on_cpu::ldmatrix<true>(r, shared_row); }

inline unsigned fma_bf16x2(unsigned a, unsigned b, unsigned c) {
    using namespace cuda_on_cpu;
    return fma_bf16(wide(a & 0xffff), wide(b & 0xffff), wide(c & 0xffff)) |
           fma_bf16(wide(a >> 16), wide(b >> 16), wide(c >> 16)) << 16;
}

// From here until the wait that covers it the target is NaN: neither the old bytes nor the new ones may be counted on.
inline void cp_async16(void* shared, const void* global, bool valid) {
    using namespace cuda_on_cpu;
    if (uintptr_t(shared) % 16 || !is_shared(shared, 16))
        fail("cp.async to %p: 16 aligned shared bytes are needed", shared);
    if (valid && (uintptr_t(global) % 16 || is_shared(global, 1)))
        fail("cp.async from %p: 16 aligned global bytes are needed", global);
    memset(shared, POISON, 16);
    machine.current->copies.push_back({shared, global, valid, machine.current->group});
}
inline void cp_async_commit() { cuda_on_cpu::machine.current->group++; }
template <int N>
void cp_async_wait() {
    using namespace cuda_on_cpu;
    Fiber& me = *machine.current;
    auto covered = [&](const Copy& copy) { return copy.group + N < me.group; };
    for (const Copy& copy : me.copies) {
        if (!covered(copy)) continue;
        if (copy.valid)
            memcpy(copy.shared, copy.global, 16);
        else
            memset(copy.shared, 0, 16);
    }
    me.copies.erase(std::remove_if(me.copies.begin(), me.copies.end(), covered), me.copies.end());
}
