// The backward pass in four phases, from the states that the forward pass kept.
//
// `rate` is the gradient by y over the sum of weights that y was divided by. `find_rates`
// computes it for every chunk (kept where dk will be, the weights where dv will be) and sums
// the chunk's rates as seen from both of its ends; `join_rates` carries those sums from chunk
// to chunk; `emit_slopes` has every chunk write dk and dv, and what it adds to dw and du;
// `sum_slopes` adds those up in one fixed order. Compiled once per instruction set.
#include "chunk_io.h"
#include "strip.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

// Rows of the scratch memory: of rates from the past and the future per chunk, then two
// carries, then a sum.
RWKV_INLINE float* past_rates(const Strip& s, int64_t n, int64_t c) {
  return s.scratch + kCarryRows * n * s.channels + c;
}

RWKV_INLINE float* future_rates(const Strip& s, int64_t n, int64_t c) {
  return past_rates(s, n, c) + 3 * s.channels;
}

RWKV_INLINE float* sum_rows(const Strip& s, int64_t c) {
  return past_rates(s, chunks_of(s.tokens) + 1, c);
}

// Add to a sum, keeping what rounding loses in the row that follows it.
RWKV_INLINE void add_to(float* sum, int64_t stride, V amount) {
  const V before = load(sum);
  const V more = amount - load(sum + stride);
  const V after = before + more;
  store(sum, after);
  store(sum + stride, (after - before) - more);
}

// Weights of a chunk, and the sums of weights that its means were divided by; both sides run
// through the chunk at once.
RWKV_INLINE void rate_chunk(const Channel& channel, const Reaching& reaching,
                            const Rows<float>& weights, const Rows<const float>& gy,
                            const Rows<float>& rates) {
  V met[kChunk];
  V past = reaching.past.den;
  V future = reaching.future.den;
  RWKV_UNROLL(kChunk)
  for (int i = 0; i < kChunk; ++i) {
    const int t = kChunk - 1 - i;
    V weight = load(weights[t]);
    const V own = mul_add(channel.bonus, weight, future);
    if (t > i) {
      met[t] = own;
    } else {
      store(rates[t], quotient(load(gy[t]), met[t] + own));
    }
    future = mul_add(future, channel.step, weight);
    weight = load(weights[i]);
    if (t > i) {
      met[i] = past;
    } else {
      store(rates[i], quotient(load(gy[i]), past + met[i]));
    }
    past = mul_add(past, channel.step, weight);
  }
}

RWKV_INLINE void find_rates_at(const Strip& s, int64_t n, int64_t c, const Peak& peak,
                               const Rows<const float>& key, const Rows<const float>& y,
                               const Rows<const float>& gy, const Rows<float>& weights,
                               const Rows<float>& rates) {
  Ahead early = ahead_of(s, n, c, 1);
  Ahead late = early;
  const Channel channel = load_channel(s, c);
  const Reaching reaching = reaching_at(s, n, c);
  RWKV_UNROLL(kGroups)
  for (int g = 0; g < kGroups; ++g) {
    V weight[kGroup];
    for (int i = 0; i < kGroup; ++i) {
      weight[i] = load(key[g * kGroup + i]);
      prefetch(s.k, early, i);
      prefetch(s.gy, early, i);
      advance(&early);
    }
    weigh_group(weight, peak, weight);
    for (int i = 0; i < kGroup; ++i) store(weights[g * kGroup + i], weight[i]);
  }
  rate_chunk(channel, reaching, weights, gy, rates);
  Sums past, future;
  RWKV_UNROLL(kGroups)
  for (int g = 0; g < kGroups; ++g) {
    V rate[kGroup], part[kGroup];
    for (int i = 0; i < kGroup; ++i) {
      rate[i] = load(rates[g * kGroup + i]);
      prefetch(s.y, late, i);
      prefetch_to_write(s.dk, late, i);
      prefetch_to_write(s.dv, late, i);
      advance(&late);
    }
    for (int i = 0; i < kGroup; ++i) part[i] = rate[i] * load(y[g * kGroup + i]);
    add_group(part, rate, g, channel, &past, &future);
  }
  store_sums(past_rates(s, n, c), s.channels, past);
  store_sums(future_rates(s, n, c), s.channels, future);
}

// Replace a chunk's own rates by those that reach it, carry on with both, and return what
// this adds to dw, given the keys that reach the chunk from the other side.
RWKV_INLINE V carry_rates(float* rows, V level, float* carry, int64_t stride, V run,
                          const Carry& keys) {
  const Carry own = load_own(rows, stride, level);
  const Carry reaches = load_carry(carry, stride);
  store_carry(rows, stride, reaches);
  const Carry both = normalized_rates(carried(reaches, own, run));
  store_carry(carry, stride, both);
  return across(keys, both);
}

RWKV_INLINE void emit_slopes_at(const Strip& s, int64_t n, int64_t c,
                                const Rows<const float>& value, const Rows<const float>& y,
                                const Rows<float>& dk, const Rows<float>& dv) {
  Sums later[kChunk];
  Ahead early = ahead_of(s, n, c, -1);
  Ahead late = early;
  const Channel channel = load_channel(s, c);
  const Reaching keys = reaching_at(s, n, c);
  const V level = -load(level_row(s, n, c));
  Sums past = sums_at(load_carry(past_rates(s, n, c), s.channels), level);
  Sums future = sums_at(load_carry(future_rates(s, n, c), s.channels), level);
  RWKV_UNROLL(kChunk)
  for (int t = kChunk - 1; t >= 0; --t) {
    prefetch(s.dk, early, t);
    prefetch(s.y, early, t);
    advance(&early);
    later[t] = future;
    const V rate = load(dk[t]);
    future = passed(future, rate * load(y[t]), rate, channel);
  }
  Slopes slopes = no_slopes();
  Sums before = keys.past;
  RWKV_UNROLL(kChunk)
  for (int t = 0; t < kChunk; ++t) {
    prefetch(s.v, late, t);
    prefetch(s.dv, late, t);
    advance(&late);
    const Token token = {load(dv[t]), load(value[t]), load(y[t]), load(dk[t])};
    add_slopes(token, t, past, later[t], before, channel, &slopes);
    store(dk[t], slopes.dk);
    store(dv[t], slopes.dv);
    past = passed(past, token.rate * token.y, token.rate, channel);
    before = passed(before, token.weight * token.value, token.weight, channel);
  }
  store(past_rates(s, n, c), slopes.dw);
  store(past_rates(s, n, c) + s.channels, slopes.du);
}

}  // namespace

void find_rates(const Strip& s, int64_t first, int64_t end) {
  Padding key, y, gy, weight, rate;
  Peak next = peak_at(s, first, 0, &key);
  for (int64_t n = first; n < end; ++n) {
    const int count = tokens_of(s, n);
    const bool is_whole = count == kChunk;
    for (int64_t c = 0; c < s.channels; c += kWidth) {
      const Peak peak = next;
      if (c + kWidth < s.channels) {
        next = peak_at(s, n, c + kWidth, &key);
      } else if (n + 1 < end) {
        next = peak_at(s, n + 1, 0, &key);
      }
      find_rates_at(s, n, c, peak, padded(rows_of(s.k, s, n, c), count, -INFINITY, &key),
                    padded(rows_of<const float>(s.y, s, n, c), count, 0.0f, &y),
                    padded(rows_of(s.gy, s, n, c), count, 0.0f, &gy),
                    is_whole ? rows_of(s.dv, s, n, c) : rows_in(&weight),
                    is_whole ? rows_of(s.dk, s, n, c) : rows_in(&rate));
      if (is_whole) continue;
      copy_rows(rows_in(&weight), rows_of(s.dv, s, n, c), count);
      copy_rows(rows_in(&rate), rows_of(s.dk, s, n, c), count);
    }
  }
}

void join_rates(const Strip& s, int64_t first, int64_t end) {
  const int64_t chunks = chunks_of(s.tokens);
  for (int64_t c = first * kWidth; c < end * kWidth; c += kWidth) {
    store_carry(past_rates(s, chunks, c), s.channels, nothing());
    store_carry(future_rates(s, chunks, c), s.channels, nothing());
    store(sum_rows(s, c), spread(0.0f));
    store(sum_rows(s, c) + s.channels, spread(0.0f));
  }
  for (int64_t n = 0; n < chunks; ++n) {
    const int64_t m = chunks - 1 - n;
    for (int64_t c = first * kWidth; c < end * kWidth; c += kWidth) {
      const V run = load(s.constants.run + c);
      const V ahead =
          carry_rates(past_rates(s, n, c), -reaching_at(s, n, c).level, past_rates(s, chunks, c),
                      s.channels, run, load_carry(future_rows(s, n, c), s.stride));
      const V behind =
          carry_rates(future_rates(s, m, c), -reaching_at(s, m, c).level,
                      future_rates(s, chunks, c), s.channels, run,
                      load_carry(past_rows(s, m, c), s.stride));
      add_to(sum_rows(s, c), s.channels, ahead + behind);
    }
  }
}

// From the last chunk to the first, as `emit` does.
void emit_slopes(const Strip& s, int64_t first, int64_t end) {
  Padding value, y, weight, rate;
  for (int64_t n = end - 1; n >= first; --n) {
    const int count = tokens_of(s, n);
    const bool is_whole = count == kChunk;
    for (int64_t c = 0; c < s.channels; c += kWidth) {
      const Rows<float> dk = rows_of(s.dk, s, n, c);
      const Rows<float> dv = rows_of(s.dv, s, n, c);
      if (!is_whole) {
        padded({dk.start, dk.stride}, count, 0.0f, &rate);
        padded({dv.start, dv.stride}, count, 0.0f, &weight);
      }
      emit_slopes_at(s, n, c, padded(rows_of(s.v, s, n, c), count, 0.0f, &value),
                     padded(rows_of<const float>(s.y, s, n, c), count, 0.0f, &y),
                     is_whole ? dk : rows_in(&rate), is_whole ? dv : rows_in(&weight));
      if (is_whole) continue;
      copy_rows(rows_in(&rate), dk, count);
      copy_rows(rows_in(&weight), dv, count);
    }
  }
}

void sum_slopes(const Strip& s, int64_t first, int64_t end) {
  const int64_t chunks = chunks_of(s.tokens);
  for (int64_t c = first * kWidth; c < end * kWidth; c += kWidth) {
    V dw[2] = {spread(0.0f) - load(sum_rows(s, c)) * spread(float(kChunk)), spread(0.0f)};
    V du[2] = {spread(0.0f), spread(0.0f)};
    float sums[4][kWidth];
    store(sums[0], dw[0]);
    store(sums[1], dw[1]);
    store(sums[2], du[0]);
    store(sums[3], du[1]);
    for (int64_t n = 0; n < chunks; ++n) {
      add_to(sums[0], kWidth, load(past_rates(s, n, c)));
      add_to(sums[2], kWidth, load(past_rates(s, n, c) + s.channels));
    }
    store(s.dw + c, load(sums[0]));
    store(s.du + c, load(sums[2]));
  }
}

}  // namespace RWKV_TARGET
}  // namespace rwkv
