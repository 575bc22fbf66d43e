// The two sweeps of the backward pass, from the states that the forward pass kept.
//
// `rate` is the gradient by y over the sum of weights that y was divided by. The first
// sweep, from the last chunk to the first, computes it (kept where dk will be) and what
// each chunk receives of it from the future; the second carries the past along and emits
// dk and dv. Both add up dw. Compiled once per instruction set (see CMakeLists.txt).
#include "chunk_io.h"
#include "strip.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

// Rows of the scratch memory: three per chunk, then those that belong to no chunk.
enum SingleRow { kPastRates = 0, kDecaySum = 3, kDecayRest = 4, kBonusSum = 5, kBonusRest = 6 };

RWKV_INLINE float* rates_ahead(const Strip& s, int64_t n, int64_t c) {
  return s.scratch + 3 * n * s.channels + c;
}

RWKV_INLINE float* single_row(const Strip& s, SingleRow row, int64_t c) {
  return s.scratch + (3 * chunks_of(s.tokens) + row) * s.channels + c;
}

// Add to a sum over chunks, keeping what rounding loses in the row that follows it.
RWKV_INLINE void add_to(float* sum, int64_t stride, V amount) {
  const V before = load(sum);
  const V more = amount - load(sum + stride);
  const V after = before + more;
  store(sum, after);
  store(sum + stride, (after - before) - more);
}

RWKV_INLINE Carry normalized_rates(const Carry& carry) {
  return normalized(carry, larger(magnitude(carry.num), magnitude(carry.den)));
}

// The level that all weights of a chunk, and what reaches it, are at most 1 at.
RWKV_INLINE V common_level(const Peak& peak, const Carry& past, const Carry& future) {
  return larger(larger(peak.level, past.level), future.level);
}

RWKV_INLINE void look_ahead(const Strip& s, int64_t n, int64_t c, int count) {
  V key[kChunk], weight[kChunk], rate[kChunk], y[kChunk], total[kChunk];
  const Channel channel = load_channel(s, c);
  prefetch_rows<0>(s.k, s, n - 1, c);
  prefetch_rows<0>(s.y, s, n - 1, c);
  prefetch_rows<0>(s.gy, s, n - 1, c);
  prefetch_rows<1>(s.dk, s, n - 1, c);
  const Peak peak = load_keys(s, n, c, count, key);
  const Carry past = load_carry(past_rows(s, n, c), s.stride);
  const Carry future = load_carry(future_rows(s, n, c), s.stride);
  const V level = common_level(peak, past, future);
  weigh(key, count, peak, level, weight);
  totals(weight, seen_from(past, level).den, seen_from(future, level).den, channel, total);
  load_rows(s.gy, s, n, c, count, rate);
  load_rows(s.y, s, n, c, count, y);
  const Carry ahead = load_carry(rates_ahead(s, n, c), s.channels);
  const V rate_level = larger(-level, ahead.level);
  const V scale = power_of_two(-level - rate_level);
  for (int t = 0; t < count; ++t) {
    rate[t] = rate[t] / total[t];
    store(s.dk + (n * kChunk + t) * s.stride + c, rate[t]);
  }
  for (int t = 0; t < kChunk; ++t) {
    rate[t] = rate[t] * scale;
    y[t] = y[t] * rate[t];
  }
  const Carry sums = normalized_rates(joined(y, rate, seen_from(ahead, rate_level), channel));
  if (n > 0) {
    store_carry(rates_ahead(s, n - 1, c), s.channels, sums);
    add_to(single_row(s, kDecaySum, c), s.channels, across(past, sums) * spread(kChunk));
  }
}

RWKV_INLINE void emit_chunk(const Strip& s, int64_t n, int64_t c, int count) {
  V key[kChunk], weight[kChunk], value[kChunk], y[kChunk], rate[kChunk], dk[kChunk], dv[kChunk];
  const Channel channel = load_channel(s, c);
  prefetch_rows<0>(s.k, s, n + 1, c);
  prefetch_rows<0>(s.v, s, n + 1, c);
  prefetch_rows<0>(s.y, s, n + 1, c);
  prefetch_rows<1>(s.dk, s, n + 1, c);
  prefetch_rows<1>(s.dv, s, n + 1, c);
  const Peak peak = load_keys(s, n, c, count, key);
  load_rows(s.v, s, n, c, count, value);
  load_rows(s.y, s, n, c, count, y);
  load_rows(s.dk, s, n, c, count, rate);
  const Carry past = load_carry(past_rows(s, n, c), s.stride);
  const Carry future = load_carry(future_rows(s, n, c), s.stride);
  const V level = common_level(peak, past, future);
  const Carry before = load_carry(single_row(s, kPastRates, c), s.channels);
  const Carry after = load_carry(rates_ahead(s, n, c), s.channels);
  weigh(key, count, peak, peak.level, weight);
  V dw = spread(0.0f);
  V du = spread(0.0f);
  const Carry sums = normalized_rates(
      slopes_of({weight, value, y, rate}, peak.level, seen_from(past, level),
                seen_from(before, larger(-level, before.level)),
                seen_from(after, larger(-level, after.level)), channel, dk, dv, &dw, &du));
  for (int t = 0; t < count; ++t) {
    store(s.dk + (n * kChunk + t) * s.stride + c, dk[t]);
    store(s.dv + (n * kChunk + t) * s.stride + c, dv[t]);
  }
  store_carry(single_row(s, kPastRates, c), s.channels, sums);
  if ((n + 1) * kChunk < s.tokens) dw = dw + across(future, sums) * spread(kChunk);
  add_to(single_row(s, kDecaySum, c), s.channels, dw);
  add_to(single_row(s, kBonusSum, c), s.channels, du);
}

}  // namespace

void backward(const Strip& s) {
  const int64_t chunks = chunks_of(s.tokens);
  const int last = int(s.tokens - (chunks - 1) * kChunk);
  for (int64_t c = 0; c < s.channels; c += kWidth) {
    for (int row = kDecaySum; row <= kBonusRest; ++row) {
      store(single_row(s, SingleRow(row), c), spread(0.0f));
    }
    store_carry(rates_ahead(s, chunks - 1, c), s.channels, nothing());
    store_carry(single_row(s, kPastRates, c), s.channels, nothing());
    look_ahead(s, chunks - 1, c, last);
  }
  for (int64_t n = chunks - 2; n >= 0; --n) {
    for (int64_t c = 0; c < s.channels; c += kWidth) look_ahead(s, n, c, kChunk);
  }
  for (int64_t n = 0; n < chunks - 1; ++n) {
    for (int64_t c = 0; c < s.channels; c += kWidth) emit_chunk(s, n, c, kChunk);
  }
  for (int64_t c = 0; c < s.channels; c += kWidth) {
    emit_chunk(s, chunks - 1, c, last);
    store(s.dw + c, -load(single_row(s, kDecaySum, c)));
    store(s.du + c, load(single_row(s, kBonusSum, c)));
  }
}

}  // namespace RWKV_TARGET
}  // namespace rwkv
