// The two sweeps of the forward pass, over chunks of tokens, a vector of channels at a time.
//
// The first runs from the last chunk to the first and keeps what each chunk receives from
// the future; the second runs the other way, carries the past along and emits y.
// Compiled once per instruction set (see CMakeLists.txt).
#include "chunk_io.h"
#include "strip.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

// Keep for the chunk before `n` what it receives from chunk `n` and all later ones.
RWKV_INLINE void look_ahead(const Strip& s, int64_t n, int64_t c, int count) {
  V key[kChunk], value[kChunk], weight[kChunk];
  prefetch_rows<0>(s.k, s, n - 1, c);
  prefetch_rows<0>(s.v, s, n - 1, c);
  const Peak peak = load_keys(s, n, c, count, key);
  load_rows(s.v, s, n, c, count, value);
  const Carry future = load_carry(future_rows(s, n, c), s.stride);
  const V level = larger(peak.level, future.level);
  weigh(key, count, peak, level, weight);
  for (int t = 0; t < kChunk; ++t) value[t] = value[t] * weight[t];
  const Carry sums = joined(value, weight, seen_from(future, level), load_channel(s, c));
  store_carry(future_rows(s, n - 1, c), s.stride, normalized(sums, sums.den));
}

RWKV_INLINE void emit_chunk(const Strip& s, int64_t n, int64_t c, int count) {
  V key[kChunk], value[kChunk], weight[kChunk], y[kChunk];
  const Channel channel = load_channel(s, c);
  prefetch_rows<0>(s.k, s, n + 1, c);
  prefetch_rows<0>(s.v, s, n + 1, c);
  prefetch_rows<1>(s.y, s, n + 1, c);
  const Peak peak = load_keys(s, n, c, count, key);
  load_rows(s.v, s, n, c, count, value);
  const Carry past = load_carry(past_rows(s, n, c), s.stride);
  const V level = larger(peak.level, past.level);
  Carry future = load_carry(future_rows(s, n, c), s.stride);
  future.level = smaller(level + channel.limit, future.level);
  weigh(key, count, peak, level, weight);
  for (int t = 0; t < kChunk; ++t) value[t] = value[t] * weight[t];
  const Carry sums = emit(value, weight, seen_from(past, level), seen_from(future, level),
                             channel, y);
  for (int t = 0; t < count; ++t) store(s.y + (n * kChunk + t) * s.stride + c, y[t]);
  if ((n + 1) * kChunk < s.tokens) {
    store_carry(past_rows(s, n + 1, c), s.stride, normalized(sums, sums.den));
  }
}

}  // namespace

int vector_width() { return kWidth; }

void forward(const Strip& s) {
  const int64_t chunks = chunks_of(s.tokens);
  const int last = int(s.tokens - (chunks - 1) * kChunk);
  for (int64_t c = 0; c < s.channels; c += kWidth) {
    store_carry(past_rows(s, 0, c), s.stride, nothing());
    store_carry(future_rows(s, chunks - 1, c), s.stride, nothing());
    if (chunks > 1) look_ahead(s, chunks - 1, c, last);
  }
  for (int64_t n = chunks - 2; n > 0; --n) {
    for (int64_t c = 0; c < s.channels; c += kWidth) look_ahead(s, n, c, kChunk);
  }
  for (int64_t n = 0; n < chunks - 1; ++n) {
    for (int64_t c = 0; c < s.channels; c += kWidth) emit_chunk(s, n, c, kChunk);
  }
  for (int64_t c = 0; c < s.channels; c += kWidth) emit_chunk(s, chunks - 1, c, last);
}

}  // namespace RWKV_TARGET
}  // namespace rwkv
