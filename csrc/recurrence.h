// The mathematics of one chunk of tokens and of joining chunks, for host and device.
//
// Written for a type V that holds one number per channel: a vector of channels on a
// CPU, a float per lane on a GPU. Include this file inside a namespace that has V, its
// arithmetic operators, RWKV_INLINE, constants.h and
//   spread(x)                     x in every channel
//   larger(a, b), smaller(a, b)   NaN in b is kept
//   mul_add(a, b, c)              a * b + c, in one rounding where the machine can
//   nearest(a)                    an integer nearest to a
//   leading_bits(a)               a with the last 12 bits of its mantissa cleared
//   power_of_two(a)               2^a for integer a <= 127; 2^-126 below -126
//   exponent(a)                   floor(log2 |a|); -127 for zero
//   exp2_weight(a)                2^a to 1 ulp for a <= 127; 2^-126 below -126; NaN stays
//
// Sums are kept as (num, den, level): their true value is num * 2^level. Levels are
// integers, so that changing them is exact. While |w| * kChunk <= kLargestRange and
// |u| <= kLargestBonus nothing here overflows, and what underflows does not count:
// every sum is relative to a level at least as large as what goes into it.

constexpr float kNothing = -1e30f;  // level of an empty sum
constexpr float kLog2e = 1.44269504f;
constexpr float kLog2eHead = 1.44238281f;     // its first 12 bits,
constexpr float kLog2eRest = 3.12228389e-4f;  // and the rest

// Constants of a channel.
struct Channel {
  V step;   // exp(-w): what one token of distance costs
  V run;    // exp(-w * kChunk): what a chunk costs
  V bonus;  // exp(u)
  V limit;  // powers of two that the future counts above a chunk's own level, at most
};

// Sums over all tokens on one side of a boundary, seen from the token next to it.
struct Carry {
  V num;
  V den;
  V level;
};

// The largest key of a chunk, the integer next to its log2 weight, and what is left.
struct Peak {
  V top;
  V level;
  V part;
};

RWKV_INLINE Carry nothing() {
  return {spread(0.0f), spread(0.0f), spread(kNothing)};
}

// `part` is exact to float32 for any `top`: the head's product has at most 24 bits.
RWKV_INLINE Peak peak_of(V top) {
  const V bounded = smaller(spread(-kNothing), larger(spread(kNothing), top));
  const V level = nearest(bounded * spread(kLog2e));
  const V head = leading_bits(bounded);
  const V rest = bounded - head;
  const V part = ((head * spread(kLog2eHead) - level) + rest * spread(kLog2eHead)) +
                 bounded * spread(kLog2eRest);
  return {top, level, smaller(spread(1.0f), larger(spread(-1.0f), part))};
}

// exp(key) / 2^level for the kChunk keys of a chunk; 0 for those past the end.
RWKV_INLINE void weigh(const V* key, int count, const Peak& peak, V level, V* weight) {
  const V offset = peak.part + (peak.level - level);
  for (int t = 0; t < kChunk; ++t) {
    weight[t] = t < count ? exp2_weight(mul_add(key[t] - peak.top, spread(kLog2e), offset))
                          : spread(0.0f);
  }
}

// The same sums relative to another level.
RWKV_INLINE Carry seen_from(const Carry& carry, V level) {
  const V scale = power_of_two(carry.level - level);
  return {carry.num * scale, carry.den * scale, level};
}

// The same sums with the exponent of `size` moved into the level.
RWKV_INLINE Carry normalized(const Carry& carry, V size) {
  const V shift = larger(spread(-126.0f), exponent(size));
  const V scale = power_of_two(-shift);
  return {carry.num * scale, carry.den * scale, carry.level + shift};
}

// What the chunk after the next boundary receives, if this one received `carry` and adds
// (num, den) of its own. One rounding a chunk, not one a token: over thousands of tokens
// that is what float32 loses.
RWKV_INLINE Carry handed_on(const Carry& carry, V num, V den, const Channel& channel) {
  return {mul_add(carry.num, channel.run, num), mul_add(carry.den, channel.run, den), carry.level};
}

// Join a chunk with all that comes after it: sums seen from the chunk's first token.
// part[t] and weight[t] are at the level of `after`: what token t adds to num and den.
RWKV_INLINE Carry joined(const V* part, const V* weight, const Carry& after,
                         const Channel& channel) {
  V num = part[kChunk - 1];
  V den = weight[kChunk - 1];
  for (int t = kChunk - 2; t >= 0; --t) {
    num = mul_add(num, channel.step, part[t]);
    den = mul_add(den, channel.step, weight[t]);
  }
  return handed_on(after, num, den, channel);
}

// Emit the weighted means of a chunk, and return what the next chunk receives from the
// past. All is at one level; part[t] = weight[t] * value[t].
RWKV_INLINE Carry emit(const V* part, const V* weight, const Carry& before,
                          const Carry& after, const Channel& channel, V* y) {
  V later_num[kChunk];
  V later_den[kChunk];
  V num = after.num;
  V den = after.den;
  for (int t = kChunk - 1; t >= 0; --t) {
    later_num[t] = mul_add(channel.bonus, part[t], num);
    later_den[t] = mul_add(channel.bonus, weight[t], den);
    num = mul_add(num, channel.step, part[t]);
    den = mul_add(den, channel.step, weight[t]);
  }
  num = before.num;
  den = before.den;
  V chunk_num = spread(0.0f);
  V chunk_den = spread(0.0f);
  for (int t = 0; t < kChunk; ++t) {
    y[t] = (num + later_num[t]) / (den + later_den[t]);
    num = mul_add(num, channel.step, part[t]);
    den = mul_add(den, channel.step, weight[t]);
    chunk_num = mul_add(chunk_num, channel.step, part[t]);
    chunk_den = mul_add(chunk_den, channel.step, weight[t]);
  }
  return handed_on(before, chunk_num, chunk_den, channel);
}

// The sums of weights that the means of a chunk were divided by, at the weights' level.
RWKV_INLINE void totals(const V* weight, V before_den, V after_den, const Channel& channel,
                        V* total) {
  for (int t = kChunk - 1; t >= 0; --t) {
    total[t] = mul_add(channel.bonus, weight[t], after_den);
    after_den = mul_add(after_den, channel.step, weight[t]);
  }
  for (int t = 0; t < kChunk; ++t) {
    total[t] = total[t] + before_den;
    before_den = mul_add(before_den, channel.step, weight[t]);
  }
}

// What a pair of carries on both sides of a boundary adds to dw, per token of distance:
// the sum over all pairs (i, t) across it of p[t][i] * g[t] * (v[i] - y[t]).
RWKV_INLINE V across(const Carry& keys, const Carry& grads) {
  const V scale = power_of_two(smaller(spread(126.0f), keys.level + grads.level));
  return (keys.num * grads.den - keys.den * grads.num) * scale;
}

// What the gradients of a chunk are made of; `rate` is the gradient by y divided by totals.
struct Slopes {
  const V* weight;  // exp(k) / 2^level of the peak
  const V* value;
  const V* y;
  const V* rate;  // times 2^keys.level
};

// Emit the gradients by the keys and values of a chunk, add up those by w and u, and
// return the sums of `rate` that the next chunk receives from the past.
//
// `keys` are sums of weights from the past, at the level that `rate` refers to;
// `before` and `after` are sums of rate, and of rate * y in `num`, each at its own level,
// since the two sides may differ by more than float32 holds.
//
// dw counts the distance of each pair by the tokens' places in their chunks, and by
// boundaries in between, which `across` adds. It needs no sum of keys from the future:
// what the future adds to y[t] is what past and own token leave.
RWKV_INLINE Carry slopes_of(const Slopes& s, V peak_level, const Carry& keys, const Carry& before,
                            const Carry& after, const Channel& channel, V* dk, V* dv, V* dw,
                            V* du) {
  const V key_scale = power_of_two(peak_level - keys.level);
  const V most = spread(126.0f);
  const V after_key = power_of_two(smaller(most, peak_level + after.level));
  const V after_rate = power_of_two(-keys.level - after.level);
  V num = after.num;
  V den = after.den;
  for (int t = kChunk - 1; t >= 0; --t) {
    const V weight = s.weight[t] * after_key;
    dk[t] = weight * (s.value[t] * den - num);
    dv[t] = weight * den;
    const V rate = s.rate[t] * after_rate;
    num = mul_add(num, channel.step, rate * s.y[t]);
    den = mul_add(den, channel.step, rate);
  }
  const V before_key = power_of_two(smaller(most, peak_level + before.level));
  const V before_rate = power_of_two(-keys.level - before.level);
  V key_num = keys.num;
  V key_den = keys.den;
  num = before.num;
  den = before.den;
  V chunk_num = spread(0.0f);
  V chunk_den = spread(0.0f);
  V decay_slope = spread(0.0f);
  V bonus_slope = spread(0.0f);
  for (int t = 0; t < kChunk; ++t) {
    const V weight = s.weight[t] * key_scale;
    const V past_weight = s.weight[t] * before_key;
    const V own = channel.bonus * weight * s.rate[t];
    const V own_pair = own * (s.value[t] - s.y[t]);
    const V past_pairs = past_weight * (s.value[t] * den - num);
    const V future_pairs = dk[t];
    const V key_pairs = s.rate[t] * (key_num - s.y[t] * key_den);
    decay_slope = mul_add(key_pairs, spread(float(2 * t - 2 * kChunk + 1)), decay_slope);
    decay_slope = mul_add(future_pairs - own_pair, spread(float(kChunk - 1 - t)), decay_slope);
    decay_slope = mul_add(past_pairs, spread(float(t - kChunk)), decay_slope);
    bonus_slope = bonus_slope + own_pair;
    dk[t] = future_pairs + past_pairs + own_pair;
    dv[t] = mul_add(past_weight, den, dv[t] + own);
    key_num = mul_add(key_num, channel.step, weight * s.value[t]);
    key_den = mul_add(key_den, channel.step, weight);
    const V rate = s.rate[t] * before_rate;
    const V part = rate * s.y[t];
    num = mul_add(num, channel.step, part);
    den = mul_add(den, channel.step, rate);
    chunk_num = mul_add(chunk_num, channel.step, part);
    chunk_den = mul_add(chunk_den, channel.step, rate);
  }
  *dw = decay_slope;
  *du = bonus_slope;
  return handed_on(before, chunk_num, chunk_den, channel);
}
