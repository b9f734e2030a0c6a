// The parts of CUDA C++ that CuPy's kernels use. Each kernel includes this header before its first line.
#pragma once

#include <cassert>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>

#include "device.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static
// Shared variables are in one section, which is overwritten before each block runs.
#define __shared__ static __attribute__((section("simulated_shared")))

struct dim3 {
  unsigned x, y, z;
};
typedef dim3 uint3;

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

namespace simulated {

static const Launch *launch;
alignas(16) static char dynamic_shared[49152];

inline void barrier(bool of_block) {
  uint3 own = threadIdx;  // other threads run meanwhile
  launch->barrier(of_block);
  threadIdx = own;
}

// Values that the threads of a warp exchange.
static uint64_t exchanged[1024];

template <class T> inline T shuffle(T value, unsigned source_lane) {
  unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  memcpy(&exchanged[thread], &value, sizeof value);
  barrier(false);
  T result;
  memcpy(&result, &exchanged[thread / 32 * 32 + source_lane], sizeof result);
  barrier(false);
  return result;
}

extern "C" {
extern char __start_simulated_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_simulated_shared[] __attribute__((weak, visibility("hidden")));
}

template <class... A, size_t... I>
inline void call(void (*kernel)(A...), void **parameters, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_reference_t<A> *>(parameters[I])...);
}

template <bool barriers, class... A>
inline bool run(void (*kernel)(A...), const Launch *given) {
  struct Work {
    void (*kernel)(A...);
    void **parameters;
  } work{kernel, given->parameters};
  auto one_thread = [](unsigned i, void *data) {
    Work *work = static_cast<Work *>(data);
    threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    call(work->kernel, work->parameters, std::index_sequence_for<A...>());
  };
  launch = given;
  gridDim = {given->grid[0], given->grid[1], given->grid[2]};
  blockDim = {given->block[0], given->block[1], given->block[2]};
  unsigned n_blocks = gridDim.x * gridDim.y * gridDim.z, n = blockDim.x * blockDim.y * blockDim.z;
  for (unsigned b = 0; b < n_blocks; b++) {
    unsigned block = given->reversed ? n_blocks - 1 - b : b;
    blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
    if (__start_simulated_shared)
      memset(__start_simulated_shared, 0xff, __stop_simulated_shared - __start_simulated_shared);
    memset(dynamic_shared, 0xff, given->shared_bytes);
    if (!barriers)
      for (unsigned i = 0; i < n; i++) one_thread(given->reversed ? n - 1 - i : i, &work);
    else if (!given->run_threads(n, given->reversed, one_thread, &work))
      return false;
  }
  return true;
}

}  // namespace simulated

#define SIMULATED_KERNEL(name, barriers, ...) \
  extern "C" bool simulated_run_##name(const Launch *launch) { return simulated::run<barriers>(__VA_ARGS__, launch); }

inline void __syncthreads() { simulated::barrier(true); }
inline void __syncwarp(unsigned = 0xffffffff) { simulated::barrier(false); }
template <class T> inline T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
  return simulated::shuffle(value, threadIdx.x % 32 ^ mask);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// Bits

inline int __float_as_int(float x) { int y; memcpy(&y, &x, 4); return y; }
inline unsigned __float_as_uint(float x) { unsigned y; memcpy(&y, &x, 4); return y; }
inline float __int_as_float(int x) { float y; memcpy(&y, &x, 4); return y; }
inline float __uint_as_float(unsigned x) { float y; memcpy(&y, &x, 4); return y; }
inline long long __double_as_longlong(double x) { long long y; memcpy(&y, &x, 8); return y; }
inline double __longlong_as_double(long long x) { double y; memcpy(&y, &x, 8); return y; }
inline int __double2hiint(double x) { return __double_as_longlong(x) >> 32; }
inline int __double2loint(double x) { return __double_as_longlong(x); }
inline double __hiloint2double(int high, int low) {
  return __longlong_as_double((long long)high << 32 | (unsigned)low);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }

// Half precision, with the compiler's _Float16

inline unsigned short __float2half_rn(float x) {
  _Float16 half = x;
  unsigned short bits;
  memcpy(&bits, &half, 2);
  return bits;
}
inline float __half2float(unsigned short bits) {
  _Float16 half;
  memcpy(&half, &bits, 2);
  return half;
}
struct half;
unsigned short __half_as_ushort(half x);
half __ushort_as_half(unsigned short x);

// Functions of numbers

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;
template <class T> inline const T &min(const T &a, const T &b) { return b < a ? b : a; }
template <class T> inline const T &max(const T &a, const T &b) { return a < b ? b : a; }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
template <class T> inline T __ldg(const T *x) { return *x; }

// Threads run in turn, so atomic operations are ordinary operations here.

template <class T, class F> inline T simulated_atomic(T *address, F next) {
  T old = *address;
  *address = next(old);
  return old;
}
#define SIMULATED_ATOMIC(name, T, expression) \
  inline T name(T *address, T value) { return simulated_atomic(address, [=](T old) -> T { return expression; }); }
#define SIMULATED_ATOMICS(T) \
  SIMULATED_ATOMIC(atomicAdd, T, old + value) \
  SIMULATED_ATOMIC(atomicExch, T, value)
#define SIMULATED_WHOLE_ATOMICS(T) \
  SIMULATED_ATOMICS(T) \
  SIMULATED_ATOMIC(atomicMin, T, min(old, value)) \
  SIMULATED_ATOMIC(atomicMax, T, max(old, value)) \
  SIMULATED_ATOMIC(atomicAnd, T, old & value) \
  SIMULATED_ATOMIC(atomicOr, T, old | value) \
  SIMULATED_ATOMIC(atomicXor, T, old ^ value) \
  inline T atomicCAS(T *address, T compare, T value) { \
    return simulated_atomic(address, [=](T old) { return old == compare ? value : old; }); \
  }
SIMULATED_ATOMICS(float)
SIMULATED_ATOMICS(double)
SIMULATED_WHOLE_ATOMICS(int)
SIMULATED_WHOLE_ATOMICS(unsigned)
SIMULATED_WHOLE_ATOMICS(unsigned long long)

#include <cupy/carray.cuh>
#include <cupy/complex.cuh>
#include <cupy/atomics.cuh>
#include <cupy/float16.cuh>

inline unsigned short __half_as_ushort(half x) { return __half_raw(x).x; }
inline half __ushort_as_half(unsigned short x) { return half(__half_raw{x}); }
