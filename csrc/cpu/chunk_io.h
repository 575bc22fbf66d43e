// Between memory and vectors: rows of a chunk, carries, constants of a channel.
#pragma once

#include "strip.h"
#include "vec.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

#if defined(__GNUC__)
#define RWKV_PREFETCH(address, is_write) __builtin_prefetch(address, is_write, 2)
#else
#define RWKV_PREFETCH(address, is_write) (void)(address)
#endif

// Ask for the same channels of another chunk: so many rows at once are more streams than
// the hardware would foresee. Beyond the array's ends it asks in vain, and nothing happens.
template <int kIsWrite>
RWKV_INLINE void prefetch_rows(const float* from, const Strip& s, int64_t n, int64_t c) {
  const uintptr_t p = uintptr_t(from) + uintptr_t(n * kChunk * s.stride + c) * sizeof(float);
  const uintptr_t row = uintptr_t(s.stride) * sizeof(float);
  for (int t = 0; t < kChunk; ++t) {
    RWKV_PREFETCH(reinterpret_cast<const void*>(p + uintptr_t(t) * row), kIsWrite);
  }
}

// Load rows `n * kChunk + t` for t < count; the rest is zero.
RWKV_INLINE void load_rows(const float* from, const Strip& s, int64_t n, int64_t c, int count,
                           V* rows) {
  const float* p = from + n * kChunk * s.stride + c;
  for (int t = 0; t < kChunk; ++t) rows[t] = t < count ? load(p + t * s.stride) : spread(0.0f);
}

RWKV_INLINE Peak load_keys(const Strip& s, int64_t n, int64_t c, int count, V* key) {
  load_rows(s.k, s, n, c, count, key);
  V top[kChunk];
  for (int t = 0; t < kChunk; ++t) top[t] = t < count ? key[t] : key[0];
  for (int half = kChunk / 2; half > 0; half /= 2) {
    for (int t = 0; t < half; ++t) top[t] = larger(top[t], top[t + half]);
  }
  return peak_of(top[0]);
}

RWKV_INLINE Carry load_carry(const float* rows, int64_t stride) {
  return {load(rows), load(rows + stride), load(rows + 2 * stride)};
}

RWKV_INLINE void store_carry(float* rows, int64_t stride, const Carry& carry) {
  store(rows, carry.num);
  store(rows + stride, carry.den);
  store(rows + 2 * stride, carry.level);
}

// The state rows of chunk `n` that come from the past; those from the future follow.
RWKV_INLINE float* past_rows(const Strip& s, int64_t n, int64_t c) {
  return s.states + n * kStateRows * s.stride + c;
}

RWKV_INLINE float* future_rows(const Strip& s, int64_t n, int64_t c) {
  return past_rows(s, n, c) + 3 * s.stride;
}

RWKV_INLINE Channel load_channel(const Strip& s, int64_t c) {
  return {load(s.constants.step + c), load(s.constants.run + c), load(s.constants.bonus + c),
          load(s.constants.limit + c)};
}

}  // namespace
}  // namespace RWKV_TARGET
}  // namespace rwkv
