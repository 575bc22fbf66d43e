// The numbers of one lane: what recurrence.h asks for, with V = float, one channel a lane.
//
// Where a machine instruction does it at once, it is written out; beside it stands the same
// in plain C++, which an emulation of the thread model on a CPU runs.
#pragma once

#include "constants.h"

#if defined(__CUDACC__)
#define RWKV_INLINE static __device__ __forceinline__
extern __shared__ double rwkv_shared[];
#else
#define RWKV_INLINE static inline
#endif

namespace rwkv {

using V = float;

#if defined(__CUDA_ARCH__)
RWKV_INLINE int bits_of(float a) { return __float_as_int(a); }
RWKV_INLINE float float_of(int bits) { return __int_as_float(bits); }

// 2 ulp, where exp2f takes several instructions for the second of them.
RWKV_INLINE V exp2_normal(V a) {
  V c;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(c) : "f"(a));
  return c;
}

// The same number, which the compiler takes for another: so that it computes products with
// it anew instead of keeping them in registers.
RWKV_INLINE V unrelated(V a) {
  asm volatile("" : "+f"(a));
  return a;
}

RWKV_INLINE unsigned unrelated(unsigned a) {
  asm volatile("" : "+r"(a));
  return a;
}

// What is read from shared memory after this is not read before. Compilers would, for the
// sake of speed, and then run out of registers.
RWKV_INLINE void read_shared_anew() { __syncwarp(); }
#else
RWKV_INLINE void read_shared_anew() {}
RWKV_INLINE V unrelated(V a) { return a; }
RWKV_INLINE unsigned unrelated(unsigned a) { return a; }

RWKV_INLINE int bits_of(float a) {
  int bits;
  memcpy(&bits, &a, sizeof bits);
  return bits;
}

RWKV_INLINE float float_of(int bits) {
  float a;
  memcpy(&a, &bits, sizeof a);
  return a;
}

RWKV_INLINE V exp2_normal(V a) { return exp2f(a); }
#endif

// The instructions that pass a NaN on came with compute capability 8.0.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
RWKV_INLINE V larger(V a, V b) {
  V c;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
  return c;
}

RWKV_INLINE V smaller(V a, V b) {
  V c;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
  return c;
}
#else
RWKV_INLINE V larger(V a, V b) { return a != a || a > b ? a : b; }
RWKV_INLINE V smaller(V a, V b) { return a != a || a < b ? a : b; }
#endif

RWKV_INLINE V spread(float x) { return x; }
RWKV_INLINE V magnitude(V a) { return fabsf(a); }
RWKV_INLINE V mul_add(V a, V b, V c) { return fmaf(a, b, c); }
RWKV_INLINE V nearest(V a) { return rintf(a); }
RWKV_INLINE V leading_bits(V a) { return float_of(bits_of(a) & ~0xfff); }

// Adding 2^23 makes a small integer the last bits of a float: no conversion is needed,
// which would take four times an addition.
constexpr float kMagic = 8388608.0f + 127.0f;

RWKV_INLINE V power_of_two(V a) {
  return float_of(int(unsigned(bits_of(larger(-126.0f, a) + kMagic)) << 23));
}

RWKV_INLINE V scaled(V a, V n) { return a * power_of_two(n); }

RWKV_INLINE V exponent(V a) {
  return float_of(0x4b000000 | ((bits_of(a) >> 23) & 0xff)) - kMagic;
}

RWKV_INLINE V exp2_weight(V a) { return exp2_normal(larger(-126.0f, a)); }

RWKV_INLINE void exp2_weights(V* a) {
  for (int i = 0; i < kGroup; ++i) a[i] = exp2_weight(a[i]);
}

RWKV_INLINE V quotient(V a, V b) { return a / b; }  // 2 ulp, by the compilers' option

#include "recurrence.h"

}  // namespace rwkv
