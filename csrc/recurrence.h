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
//   scaled(a, n)                  a * 2^n for integer n <= 127; n below -126 may count as -126
//   exponent(a)                   floor(log2 |a|); -127 for zero
//   quotient(a, b)                a / b to 1 ulp
//   exp2_weights(a)               2^a[i] for kGroup of them, to 2 ulp for a[i] <= 127; 2^-126
//                                 or less below -126; NaN stays
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
  V limit;  // powers of two that what reaches a chunk counts above its own level, at most
  V skip[kGroups - 1];  // what 1, 2 and 3 groups of tokens cost
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
  return {bounded, level, smaller(spread(1.0f), larger(spread(-1.0f), part))};
}

// The same sums with the exponent of `size` moved into the level.
RWKV_INLINE Carry normalized(const Carry& carry, V size) {
  const V shift = larger(spread(-126.0f), exponent(size));
  return {scaled(carry.num, -shift), scaled(carry.den, -shift), carry.level + shift};
}

// Sums over the tokens of a chunk, at the level of its weights.
struct Sums {
  V num;
  V den;
};

// exp(key) / 2^level of the peak, for kGroup keys.
RWKV_INLINE void weigh_group(const V* key, const Peak& peak, V* weight) {
  for (int i = 0; i < kGroup; ++i) weight[i] = key[i] - peak.top;
  for (int i = 0; i < kGroup; ++i) weight[i] = mul_add(weight[i], spread(kLog2e), peak.part);
  exp2_weights(weight);
}

// Add group g of a chunk to its sums as seen from the token after the chunk (`past`) and
// from its first token (`future`). part[i] = weight[i] * value[i].
RWKV_INLINE void add_group(const V* part, const V* weight, int g, const Channel& channel,
                           Sums* past, Sums* future) {
  Sums from_end = {part[0], weight[0]};
  Sums from_start = {part[kGroup - 1], weight[kGroup - 1]};
  for (int i = 1; i < kGroup; ++i) {
    from_end.num = mul_add(from_end.num, channel.step, part[i]);
    from_end.den = mul_add(from_end.den, channel.step, weight[i]);
    from_start.num = mul_add(from_start.num, channel.step, part[kGroup - 1 - i]);
    from_start.den = mul_add(from_start.den, channel.step, weight[kGroup - 1 - i]);
  }
  if (g == 0) {
    *past = from_end;
    *future = from_start;
    return;
  }
  past->num = mul_add(past->num, channel.skip[0], from_end.num);
  past->den = mul_add(past->den, channel.skip[0], from_end.den);
  future->num = mul_add(from_start.num, channel.skip[g - 1], future->num);
  future->den = mul_add(from_start.den, channel.skip[g - 1], future->den);
}

// What the next token receives from one side, if this one received `sums` and was passed.
RWKV_INLINE Sums passed(const Sums& sums, V part, V weight, const Channel& channel) {
  return {mul_add(sums.num, channel.step, part), mul_add(sums.den, channel.step, weight)};
}

// One side's sums and the token itself, which weighs exp(u) times as much as its key says.
RWKV_INLINE Sums with_bonus(const Sums& sums, V part, V weight, const Channel& channel) {
  return {mul_add(channel.bonus, part, sums.num), mul_add(channel.bonus, weight, sums.den)};
}

RWKV_INLINE V mean_of(const Sums& a, const Sums& b) {
  return quotient(a.num + b.num, a.den + b.den);
}

// The sums of a carry relative to another level.
RWKV_INLINE Sums sums_at(const Carry& carry, V level) {
  return {scaled(carry.num, carry.level - level), scaled(carry.den, carry.level - level)};
}

// What reaches a chunk from both sides, at `level`: the chunk's own, unless that is so much
// lower that the chunk counts for nothing beside what reaches it.
struct Reaching {
  Sums past;
  Sums future;
  V level;
};

RWKV_INLINE Reaching reaching(const Carry& before, const Carry& after, V own_level, V limit) {
  const V level = larger(own_level, larger(before.level, after.level) - limit);
  return {sums_at(before, level), sums_at(after, level), level};
}

// What the boundary after a chunk receives, if the one before it received `carry` and the
// chunk adds `own`. One rounding a chunk, not one a token: over thousands of tokens that is
// what float32 loses.
RWKV_INLINE Carry carried(const Carry& carry, const Carry& own, V run) {
  const V level = larger(own.level, carry.level);
  const V near = own.level - level;
  const V far = scaled(run, carry.level - level);
  return {mul_add(carry.num, far, scaled(own.num, near)),
          mul_add(carry.den, far, scaled(own.den, near)), level};
}

// A carry of weights: the sum of weights has exponent 0.
RWKV_INLINE Carry normalized_keys(const Carry& carry) { return normalized(carry, carry.den); }

// A carry of rates, which have signs: the larger sum has exponent 0.
RWKV_INLINE Carry normalized_rates(const Carry& carry) {
  return normalized(carry, larger(magnitude(carry.num), magnitude(carry.den)));
}

// What a pair of carries on both sides of a boundary adds to dw, per token of distance:
// the sum over all pairs (i, t) across it of p[t][i] * g[t] * (v[i] - y[t]).
RWKV_INLINE V across(const Carry& keys, const Carry& grads) {
  return scaled(keys.num * grads.den - keys.den * grads.num,
                smaller(spread(126.0f), keys.level + grads.level));
}

// A token in the backward pass. `weight` is exp(k) at its chunk's own level; `rate`, the
// gradient by y over the sum of weights that y was divided by, at the opposite one.
struct Token {
  V weight;
  V value;
  V y;
  V rate;
};

// The gradients by a token's key and value, and what its chunk adds to those by w and u.
struct Slopes {
  V dk;
  V dv;
  V dw;
  V du;
};

RWKV_INLINE Slopes no_slopes() {
  return {spread(0.0f), spread(0.0f), spread(0.0f), spread(0.0f)};
}

// Emit the gradients of token t of a chunk. `past` and `later` are sums of rates (times y in
// num) on both sides of it, `keys` sums of weights from the past.
//
// dw counts the distance of each pair by the tokens' places in their chunks, taken from the
// middle, and by boundaries in between, which `across` adds. It needs no keys from the future:
// what the future adds to y[t] is what past and own token leave.
RWKV_INLINE void add_slopes(const Token& token, int t, const Sums& past, const Sums& later,
                            const Sums& keys, const Channel& channel, Slopes* slopes) {
  const V own_rate = channel.bonus * token.rate;
  const V den = (past.den + later.den) + own_rate;
  const V num = mul_add(own_rate, token.y, past.num + later.num);
  slopes->dv = token.weight * den;
  slopes->dk = token.weight * (token.value * den - num);
  const V own_pair = (token.weight * own_rate) * (token.value - token.y);
  const V as_key = token.weight * (token.value * past.den - past.num);
  const V past_pairs = mul_add(token.rate, keys.num - token.y * keys.den, as_key);
  const V sided = mul_add(spread(-2.0f), past_pairs + own_pair, slopes->dk);
  const float place = float(t) - 0.5f * float(kChunk - 3);
  slopes->dw = mul_add(spread(place), sided, slopes->dw + past_pairs);
  slopes->du = slopes->du + own_pair;
}
