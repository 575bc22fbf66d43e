// V: as many channels as one register of this instruction set holds, and its arithmetic.
//
// Compiled several times, once per instruction set, each in a namespace of its own
// (RWKV_TARGET), so that the linker never mixes code of different sets. GCC and Clang
// have vectors as a language extension; elsewhere a plain array does, which the
// optimiser turns into vectors as well as it can (RWKV_PLAIN_VECTORS asks for it).
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>
#endif

#include "../constants.h"

#if defined(_MSC_VER)
#define RWKV_INLINE __forceinline
#define RWKV_COLD inline
#else
#define RWKV_INLINE inline __attribute__((always_inline))
#define RWKV_COLD inline __attribute__((noinline, cold))
#endif

#define RWKV_TEXT(x) #x
#if defined(__clang__)
#define RWKV_UNROLL(n) _Pragma(RWKV_TEXT(unroll n))
#elif defined(__GNUC__)
#define RWKV_UNROLL(n) _Pragma(RWKV_TEXT(GCC unroll n))
#else
#define RWKV_UNROLL(n)
#endif

#if defined(__GNUC__)
#define RWKV_PREFETCH(address, is_write) \
  __builtin_prefetch(reinterpret_cast<const void*>(address), is_write)
#else
#define RWKV_PREFETCH(address, is_write) (void)(address)
#endif

#if !defined(RWKV_TARGET)
#define RWKV_TARGET baseline
#endif

#if defined(__AVX512F__)
#define RWKV_WIDTH 16
#elif defined(__AVX__)
#define RWKV_WIDTH 8
#else
#define RWKV_WIDTH 4
#endif

#if defined(__AVX512DQ__) && defined(__GNUC__) && !defined(RWKV_PLAIN_VECTORS)
#define RWKV_HAS_AVX512 1
#else
#define RWKV_HAS_AVX512 0
#endif

namespace rwkv {
namespace RWKV_TARGET {

constexpr int kWidth = RWKV_WIDTH;

#if defined(__GNUC__) && !defined(RWKV_PLAIN_VECTORS)

typedef float V __attribute__((vector_size(4 * RWKV_WIDTH)));
typedef int32_t I __attribute__((vector_size(4 * RWKV_WIDTH)));

RWKV_INLINE V spread(float x) { return x - V{}; }
RWKV_INLINE I bits(V a) { return (I)a; }
RWKV_INLINE V number(I a) { return (V)a; }
RWKV_INLINE V converted(I a) { return __builtin_convertvector(a, V); }

// What the compiler does not find by itself: it would contract a * b + c * d the wrong way
// round and lengthen the chain from token to token, and loses maxima of constants.
#if defined(__AVX512F__)
RWKV_INLINE V larger(V a, V b) { return _mm512_max_ps(a, b); }
RWKV_INLINE V smaller(V a, V b) { return _mm512_min_ps(a, b); }
RWKV_INLINE V mul_add(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__) && defined(__FMA__)
RWKV_INLINE V larger(V a, V b) { return _mm256_max_ps(a, b); }
RWKV_INLINE V smaller(V a, V b) { return _mm256_min_ps(a, b); }
RWKV_INLINE V mul_add(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
#else
RWKV_INLINE V larger(V a, V b) { return a > b ? a : b; }
RWKV_INLINE V smaller(V a, V b) { return a < b ? a : b; }
#if defined(__aarch64__)
RWKV_INLINE V mul_add(V a, V b, V c) {
  return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
#else
RWKV_INLINE V mul_add(V a, V b, V c) { return a * b + c; }
#endif
#endif

#else

template <class T>
struct Lanes {
  T x[RWKV_WIDTH];
};
typedef Lanes<float> V;
typedef Lanes<int32_t> I;

template <class R, class F>
RWKV_INLINE R each(F f) {
  R r;
  for (int i = 0; i < RWKV_WIDTH; ++i) r.x[i] = f(i);
  return r;
}
template <class T>
RWKV_INLINE Lanes<T> operator+(Lanes<T> a, Lanes<T> b) {
  return each<Lanes<T>>([&](int i) { return a.x[i] + b.x[i]; });
}
template <class T>
RWKV_INLINE Lanes<T> operator-(Lanes<T> a, Lanes<T> b) {
  return each<Lanes<T>>([&](int i) { return a.x[i] - b.x[i]; });
}
RWKV_INLINE V operator-(V a) {
  return each<V>([&](int i) { return -a.x[i]; });
}
RWKV_INLINE V operator*(V a, V b) {
  return each<V>([&](int i) { return a.x[i] * b.x[i]; });
}
RWKV_INLINE V operator/(V a, V b) {
  return each<V>([&](int i) { return a.x[i] / b.x[i]; });
}
RWKV_INLINE I operator<<(I a, int n) {
  return each<I>([&](int i) { return int32_t(uint32_t(a.x[i]) << n); });
}
RWKV_INLINE I operator>>(I a, int n) {
  return each<I>([&](int i) { return a.x[i] >> n; });
}
RWKV_INLINE I operator&(I a, int32_t mask) {
  return each<I>([&](int i) { return a.x[i] & mask; });
}
RWKV_INLINE I operator-(I a, int32_t b) {
  return each<I>([&](int i) { return a.x[i] - b; });
}
RWKV_INLINE V spread(float x) {
  return each<V>([&](int) { return x; });
}
RWKV_INLINE V converted(I a) {
  return each<V>([&](int i) { return float(a.x[i]); });
}
RWKV_INLINE V larger(V a, V b) {
  return each<V>([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
}
RWKV_INLINE V smaller(V a, V b) {
  return each<V>([&](int i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; });
}
RWKV_INLINE V mul_add(V a, V b, V c) {
  return each<V>([&](int i) { return a.x[i] * b.x[i] + c.x[i]; });
}
RWKV_INLINE I bits(V a) {
  I r;
  memcpy(&r, &a, sizeof r);
  return r;
}
RWKV_INLINE V number(I a) {
  V r;
  memcpy(&r, &a, sizeof r);
  return r;
}

#endif

RWKV_INLINE V load(const float* p) {
  V r;
  memcpy(&r, p, sizeof r);
  return r;
}
RWKV_INLINE void store(float* p, V a) { memcpy(p, &a, sizeof a); }

RWKV_INLINE V magnitude(V a) { return number(bits(a) & 0x7fffffff); }
RWKV_INLINE V leading_bits(V a) { return number(bits(a) & int32_t(0xfffff000)); }

// Adding 1.5 * 2^23 rounds to an integer, and leaves that integer in the last bits.
RWKV_INLINE V nearest(V a) {
  const V magic = spread(12582912.0f);
  return (a + magic) - magic;
}

// On AVX-512: a guess of 14 bits and one step of Newton's on the quotient, which leaves hardly
// more than its last rounding; Intel divides slowly.
RWKV_INLINE V quotient(V a, V b) {
#if RWKV_HAS_AVX512
  const V inverse = _mm512_rcp14_ps(b);
  const V guess = a * inverse;
  return mul_add(_mm512_fnmadd_ps(b, guess, a), inverse, guess);
#else
  return a / b;
#endif
}

// The same constant plus the bias of an exponent: shifted up, the bits are those of 2^a.
RWKV_INLINE V power_of_two(V a) {
  const V t = larger(spread(-126.0f), a) + spread(12583039.0f);
  return number(bits(t) << 23);
}

RWKV_INLINE V scaled(V a, V n) {
#if RWKV_HAS_AVX512
  return _mm512_scalef_ps(a, n);
#else
  return a * power_of_two(n);
#endif
}

RWKV_INLINE V exponent(V a) {
#if RWKV_HAS_AVX512
  return larger(spread(-127.0f), V(_mm512_getexp_ps(a)));
#else
  return converted(((bits(a) >> 23) & 0xff) - 127);
#endif
}

// 2^a for kGroup vectors in step, so that no instruction waits for the one before it.
// Polynomials of degree 5 (minimax); the relative error before rounding is 1.5e-7.
RWKV_INLINE void exp2_weights(V* a) {
  V f[kGroup], p[kGroup];
#if RWKV_HAS_AVX512
  constexpr float kTerms[] = {1.87757669e-3f, 8.98933969e-3f, 5.58263175e-2f,
                              2.40153611e-1f, 6.93153083e-1f, 9.99999940e-1f};  // on [0, 1)
  for (int i = 0; i < kGroup; ++i) f[i] = _mm512_reduce_ps(a[i], 1);
#else
  constexpr float kTerms[] = {1.32764725e-3f, 9.67554096e-3f, 5.55071309e-2f,
                              2.40221202e-1f, 6.93146944e-1f, 1.00000012f};  // on [-1/2, 1/2]
  for (int i = 0; i < kGroup; ++i) {
    const V bounded = larger(spread(-126.0f), a[i]);
    const V t = bounded + spread(12583039.0f);
    f[i] = bounded - (t - spread(12583039.0f));
    a[i] = number(bits(t) << 23);
  }
#endif
  for (int i = 0; i < kGroup; ++i) p[i] = mul_add(spread(kTerms[0]), f[i], spread(kTerms[1]));
  RWKV_UNROLL(4)
  for (int n = 2; n < 6; ++n) {
    for (int i = 0; i < kGroup; ++i) p[i] = mul_add(p[i], f[i], spread(kTerms[n]));
  }
#if RWKV_HAS_AVX512
  for (int i = 0; i < kGroup; ++i) a[i] = _mm512_scalef_ps(p[i], a[i]);
#else
  for (int i = 0; i < kGroup; ++i) a[i] = p[i] * a[i];
#endif
}

#include "../recurrence.h"

}  // namespace RWKV_TARGET
}  // namespace rwkv
