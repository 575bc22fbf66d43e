// Between memory and vectors: rows of a chunk, carries, constants of a channel.
#pragma once

#include <math.h>

#include "strip.h"
#include "vec.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

// The kChunk rows of a chunk, for a vector of channels.
template <class T>
struct Rows {
  T* start;
  int64_t stride;
  RWKV_INLINE T* operator[](int t) const { return start + t * stride; }
};

template <class T>
RWKV_INLINE Rows<T> rows_of(T* from, const Strip& s, int64_t n, int64_t c) {
  return {from + n * kChunk * s.stride + c, s.stride};
}

// Memory is asked for ahead of time, a tile after the one that is at work: some channels of
// a chunk's rows, line by line as they lie there. Sixteen rows of five arrays would be more streams
// than hardware foresees and than memory serves well; tiles of this width make one of each array,
// and stay in the first cache until they are needed. Tiles of one image are about as wide as each
// other, or a wide one would leave most of a narrow one's time unused.
constexpr uint32_t kWidestTile = 96;
constexpr int kLine = 16;  // floats

// The part of the next tile that is asked for while a vector of channels of this one is done:
// kChunk vectors of it, the first of them at `ahead.at`. `step` is 1 or -1: the chunk after this
// one. Beyond the arrays' ends it asks in vain, and nothing happens.
struct Ahead {
  int64_t at;
  int64_t left_in_row;
  int64_t width;
  int64_t to_next_row;
};

RWKV_INLINE uint32_t tile_width(uint32_t channels) {
  const uint32_t tiles = (channels + kWidestTile - 1) / kWidestTile;
  const uint32_t vectors = channels / kWidth;
  return (vectors + tiles - 1) / tiles * kWidth;
}

RWKV_INLINE Ahead ahead_of(const Strip& s, int64_t n, int64_t c, int64_t step) {
  const uint32_t channels = uint32_t(s.channels);
  const uint32_t each = tile_width(channels);
  const uint32_t tile = uint32_t(c) / each * each;
  const bool is_last = tile + each >= channels;
  const uint32_t next = is_last ? 0 : tile + each;
  const uint32_t width = channels - next < each ? channels - next : each;
  const uint32_t done = (uint32_t(c) - tile) * kChunk;
  const uint32_t column = done % width;
  const int64_t row = (is_last ? n + step : n) * kChunk + done / width;
  return {row * s.stride + next + column, width - column, width, s.stride - width};
}

RWKV_INLINE void advance(Ahead* ahead) {
  ahead->at += kWidth;
  ahead->left_in_row -= kWidth;
  if (ahead->left_in_row == 0) {
    ahead->at += ahead->to_next_row;
    ahead->left_in_row = ahead->width;
  }
}

// Vector i of those: amid the arithmetic, or they would wait for each other. Vectors that are
// narrower than a line ask once for each line.
RWKV_INLINE void prefetch(const float* from, const Ahead& ahead, int i) {
  if (i * kWidth % kLine != 0) return;
  RWKV_PREFETCH(uintptr_t(from) + uintptr_t(ahead.at) * sizeof(float), 0);
}

RWKV_INLINE void prefetch_to_write(float* to, const Ahead& ahead, int i) {
  if (i * kWidth % kLine != 0) return;
  RWKV_PREFETCH(uintptr_t(to) + uintptr_t(ahead.at) * sizeof(float), 1);
}

// What is kept of chunk `n`: rows that lie apart, which hardware foresees as little.
RWKV_INLINE void prefetch_states(const Strip& s, int64_t n, int64_t c) {
  if (c % kLine != 0) return;
  for (int64_t i = 0; i < kStateRows; ++i) {
    const int64_t at = (n * kStateRows + i) * s.stride + c;
    RWKV_PREFETCH(uintptr_t(s.states) + uintptr_t(at) * sizeof(float), 0);
  }
}

// A chunk's worth of rows, for the last chunk if it is not a whole one.
struct Padding {
  alignas(64) float rows[kChunk * kWidth];
};

RWKV_INLINE Rows<float> rows_in(Padding* padding) { return {padding->rows, kWidth}; }

RWKV_COLD void copy_rows(const Rows<float>& from, const Rows<float>& to, int count) {
  for (int t = 0; t < count; ++t) store(to[t], load(from[t]));
}

RWKV_COLD void copy_and_fill(const Rows<const float>& from, int count, float fill,
                             const Rows<float>& to) {
  for (int t = 0; t < kChunk; ++t) store(to[t], t < count ? load(from[t]) : spread(fill));
}

// `rows` if all of them are there, else a copy filled up with `fill`.
RWKV_INLINE Rows<const float> padded(const Rows<const float>& rows, int count, float fill,
                                     Padding* padding) {
  if (count == kChunk) return rows;
  copy_and_fill(rows, count, fill, rows_in(padding));
  return {padding->rows, kWidth};
}

RWKV_INLINE int tokens_of(const Strip& s, int64_t n) {
  const int64_t left = s.tokens - n * kChunk;
  return left < kChunk ? int(left) : kChunk;
}

RWKV_INLINE void store_sums(float* rows, int64_t stride, const Sums& sums) {
  store(rows, sums.num);
  store(rows + stride, sums.den);
}

// What a chunk adds is kept where later that is kept which reaches it.
RWKV_INLINE Carry load_own(const float* rows, int64_t stride, V level) {
  return {load(rows), load(rows + stride), level};
}

RWKV_INLINE Carry load_carry(const float* rows, int64_t stride) {
  return {load(rows), load(rows + stride), load(rows + 2 * stride)};
}

RWKV_INLINE void store_carry(float* rows, int64_t stride, const Carry& carry) {
  store(rows, carry.num);
  store(rows + stride, carry.den);
  store(rows + 2 * stride, carry.level);
}

// The state rows of chunk `n` that come from the past; those from the future follow, and then
// the level of the chunk's own weights.
RWKV_INLINE float* past_rows(const Strip& s, int64_t n, int64_t c) {
  return s.states + n * kStateRows * s.stride + c;
}

RWKV_INLINE float* future_rows(const Strip& s, int64_t n, int64_t c) {
  return past_rows(s, n, c) + 3 * s.stride;
}

RWKV_INLINE float* level_row(const Strip& s, int64_t n, int64_t c) {
  return past_rows(s, n, c) + 6 * s.stride;
}

RWKV_INLINE Channel load_channel(const Strip& s, int64_t c) {
  const Constants& from = s.constants;
  Channel channel = {load(from.step + c), load(from.run + c), load(from.bonus + c),
                     load(from.limit + c), {}};
  for (int g = 0; g < kGroups - 1; ++g) channel.skip[g] = load(from.skip[g] + c);
  return channel;
}

RWKV_INLINE Peak peak_at(const Strip& s, int64_t n, int64_t c, Padding* padding) {
  const Rows<const float> key = padded(rows_of(s.k, s, n, c), tokens_of(s, n), -INFINITY, padding);
  V top[kGroup];
  for (int i = 0; i < kGroup; ++i) top[i] = load(key[i]);
  for (int t = kGroup; t < kChunk; ++t) top[t % kGroup] = larger(top[t % kGroup], load(key[t]));
  return peak_of(larger(larger(top[0], top[1]), larger(top[2], top[3])));
}

RWKV_INLINE Reaching reaching_at(const Strip& s, int64_t n, int64_t c) {
  return reaching(load_carry(past_rows(s, n, c), s.stride),
                  load_carry(future_rows(s, n, c), s.stride), load(level_row(s, n, c)),
                  load(s.constants.limit + c));
}

}  // namespace
}  // namespace RWKV_TARGET
}  // namespace rwkv
