// The gradients of one chunk, from the rates that reach it from both sides.
//
// The loops are those of recurrence.h's slopes; here they read in an order of their own, which
// the registers of a GPU's threads ask for.
#pragma once

#include "span.h"

namespace rwkv {

// The gradients of a chunk in two halves, the future's and the rest, so that values and means
// can be read from shared memory twice: kept in registers between the halves, they do not fit.
struct Halves {
  const V* weight;  // exp(k) / 2^level of the peak
  const V* value;
  const V* y;
  const V* rate;  // times 2^keys.level
  V level;        // of the peak
  Carry keys;     // sums of weights from the past, at the level that `rate` refers to
};

// Set dk and dv to what the future adds to them, given the sums of rates from there.
RWKV_INLINE void add_future(const Halves& s, const Carry& after, V step, V* dk, V* dv) {
  const V key_scale = power_of_two(smaller(126.0f, s.level + after.level));
  const V rate_scale = power_of_two(-s.keys.level - after.level);
  V num = after.num;
  V den = after.den;
  for (int t = kChunk - 1; t >= 0; --t) {
    if (t % 4 == 3) read_shared_anew();
    const V weight = s.weight[t] * key_scale;
    dk[t] = weight * fmaf(s.value[t], den, -num);
    dv[t] = weight * den;
    const V rate = s.rate[t] * rate_scale;
    num = fmaf(num, step, rate * s.y[t]);
    den = fmaf(den, step, rate);
  }
}

// Add to dk and dv what the past and the tokens themselves do, and sum up those by w and u.
// dw counts the distance of each pair by the tokens' places in their chunks, and by boundaries
// in between, which across_boundary adds. It needs no sum of keys from the future: what the
// future adds to y[t] is what past and own token leave.
RWKV_INLINE void add_past(const Halves& s, const Carry& before, const Channel& channel, V* dk,
                          V* dv, V* dw, V* du) {
  const V weight_scale = power_of_two(s.level - s.keys.level);
  const V key_scale = power_of_two(smaller(126.0f, s.level + before.level));
  const V rate_scale = power_of_two(-s.keys.level - before.level);
  V key_num = s.keys.num;
  V key_den = s.keys.den;
  V num = before.num;
  V den = before.den;
  for (int t = 0; t < kChunk; ++t) {
    if (t % 4 == 0) read_shared_anew();
    const V value = s.value[t];
    const V y = s.y[t];
    const V weight = s.weight[t] * weight_scale;
    const V past_weight = s.weight[t] * key_scale;
    const V own = channel.bonus * weight * s.rate[t];
    const V own_pair = own * (value - y);
    const V past_pairs = past_weight * fmaf(value, den, -num);
    const V key_pairs = s.rate[t] * fmaf(-y, key_den, key_num);
    *dw = fmaf(key_pairs, float(2 * t - 2 * kChunk + 1), *dw);
    *dw = fmaf(dk[t] - own_pair, float(kChunk - 1 - t), *dw);
    *dw = fmaf(past_pairs, float(t - kChunk), *dw);
    *du += own_pair;
    dk[t] += past_pairs + own_pair;
    dv[t] = fmaf(past_weight, den, dv[t] + own);
    key_num = fmaf(key_num, channel.step, weight * value);
    key_den = fmaf(key_den, channel.step, weight);
    const V rate = s.rate[t] * rate_scale;
    num = fmaf(num, channel.step, rate * y);
    den = fmaf(den, channel.step, rate);
  }
}

}  // namespace rwkv
