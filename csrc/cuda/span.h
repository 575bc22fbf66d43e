// Chunks of a span, spans of a sequence: reading them, and what passes between them.
//
// Boards lie in shared memory and hold a carry for each boundary of a span's chunks. Chains
// run along them in both directions at once, one warp each; the rest of a block waits.
#pragma once

#include "layout.h"

namespace rwkv {

// What weights fade to over some tokens: factor * 2^level, the level an integer.
struct Fade {
  V factor;
  V level;
};

// The logarithm to base 2 of exp(-w), as a sum of two floats.
struct Decay {
  V head;
  V rest;
};

RWKV_INLINE Decay decay_of(float w) {
  const V head = -w * 1.44269502f;
  return {head, fmaf(-w, 1.44269502f, -head) - w * 1.92596299e-8f};
}

// To 1 ulp for any number of tokens below 2^24: products are kept in two floats.
RWKV_INLINE Fade fade_of(const Decay& decay, float tokens) {
  const V head = decay.head * tokens;
  const V rest = fmaf(decay.head, tokens, -head) + decay.rest * tokens;
  const V level = rintf(head);
  const V part = (head - level) + rest;
  V factor = 1.52527338e-5f;
  factor = fmaf(factor, part, 1.54035304e-4f);
  factor = fmaf(factor, part, 1.33335581e-3f);
  factor = fmaf(factor, part, 9.61812911e-3f);
  factor = fmaf(factor, part, 5.55041087e-2f);
  factor = fmaf(factor, part, 2.40226507e-1f);
  factor = fmaf(factor, part, 6.93147181e-1f);
  factor = fmaf(factor, part, 1.0f);
  return {factor, level};
}

RWKV_INLINE V value_of(const Fade& fade) { return fade.factor * power_of_two(fade.level); }

// See limit_of in cpu/piece.cpp: what more than this lies above a chunk decides it alone.
RWKV_INLINE Channel channel_of(float w, float u) {
  const Decay decay = decay_of(w);
  const V fall = w > 0.0f ? w * float(kChunk) * 1.442695f : 0.0f;
  return {value_of(fade_of(decay, 1.0f)), value_of(fade_of(decay, float(kChunk))),
          value_of(fade_of(decay_of(-u), 1.0f)), 54.0f + ceilf(fall)};
}

RWKV_INLINE Carry faded(const Carry& carry, const Fade& fade) {
  return {carry.num * fade.factor, carry.den * fade.factor, carry.level + fade.level};
}

// The same sums relative to another level.
RWKV_INLINE Carry seen_at(const Carry& carry, V level) {
  const V scale = power_of_two(carry.level - level);
  return {carry.num * scale, carry.den * scale, level};
}

// Sums of weights are normalized by their size; those of rates may cancel in `den`.
template <bool kIsOfRates>
RWKV_INLINE Carry well_scaled(const Carry& carry) {
  return normalized(carry, kIsOfRates ? larger(magnitude(carry.num), magnitude(carry.den))
                                      : carry.den);
}

template <bool kIsOfRates>
RWKV_INLINE Carry added(const Carry& a, const Carry& b) {
  const V level = larger(a.level, b.level);
  const Carry x = seen_at(a, level);
  const Carry y = seen_at(b, level);
  return well_scaled<kIsOfRates>({x.num + y.num, x.den + y.den, level});
}

RWKV_INLINE Carry load_carry(const float* rows, long long stride) {
  return {rows[0], rows[stride], rows[2 * stride]};
}

RWKV_INLINE void store_carry(float* rows, long long stride, const Carry& carry) {
  rows[0] = carry.num;
  rows[stride] = carry.den;
  rows[2 * stride] = carry.level;
}

// A carry of each lane for each of some slots, in shared memory.
struct Board {
  float* memory;
  int lane;
};

constexpr int kBoardSlot = 3 * kLanes;  // floats

RWKV_INLINE Carry taken(const Board& board, int slot) {
  return load_carry(board.memory + slot * kBoardSlot + board.lane, kLanes);
}

RWKV_INLINE void put(const Board& board, int slot, const Carry& carry) {
  store_carry(board.memory + slot * kBoardSlot + board.lane, kLanes, carry);
}

// Make each slot what all before it hand on, faded by `run` a slot; `first` goes in front.
// Towards the future slot n comes to hold what chunk n receives; towards the past, n - 1.
template <bool kIsOfRates, bool kIsBackwards>
RWKV_INLINE Carry chain(const Board& board, Carry first, V run) {
  put(board, kIsBackwards ? kWarps : 0, first);
  for (int n = 1; n < kSlots; ++n) {
    const int slot = kIsBackwards ? kWarps - n : n;
    const Carry own = taken(board, slot);
    const V level = larger(first.level, own.level);
    const Carry far = seen_at(first, level);
    const Carry near = seen_at(own, level);
    first = well_scaled<kIsOfRates>(
        {fmaf(far.num, run, near.num), fmaf(far.den, run, near.den), level});
    put(board, slot, first);
  }
  return first;
}

// Read a chunk's rows of `from`; rows past its end are zero, and the span's first is read in
// their place. Offsets are 32 bits wide, from an address that a block has in common.
RWKV_INLINE void load_rows(const Element* from, const Call& call, const Place& place, V* rows) {
  const Element* p = from + place.origin;
  const unsigned channels = unrelated(unsigned(call.channels));
  for (int t = 0; t < kChunk; ++t) {
    const unsigned at = t < place.count ? place.offset + t * channels : place.channel;
    const V read = float_from(p[at]);
    rows[t] = t < place.count ? read : 0.0f;
  }
}

RWKV_INLINE void store_rows(Element* to, const Call& call, const Place& place, const V* rows) {
  Element* p = to + place.origin;
  const unsigned channels = unrelated(unsigned(call.channels));
  for (int t = 0; t < kChunk; ++t) {
    if (t < place.count) p[place.offset + t * channels] = element_from(rows[t]);
  }
}

RWKV_INLINE Peak peak_of_keys(const V* key, int count) {
  V top = key[0];
  for (int t = 1; t < kChunk; ++t) top = larger(top, t < count ? key[t] : key[0]);
  return peak_of(top);
}

// exp(key) / 2^level of the peak; 0 for keys past the end.
RWKV_INLINE void weigh_keys(const V* key, int count, const Peak& peak, V* weight) {
  for (int t = 0; t < kChunk; ++t) {
    const V power = fmaf(key[t] - peak.top, kLog2e, peak.part);
    weight[t] = t < count ? exp2_weight(power) : 0.0f;
  }
}

// The sums of a chunk alone, seen from its first token and from its last.
struct Both {
  Carry first;
  Carry last;
};

template <bool kIsOfRates>
RWKV_INLINE Both sums_of(const V* part, const V* weight, V level, int count, V step) {
  if (count == 0) return {nothing(), nothing()};
  Carry first = {part[kChunk - 1], weight[kChunk - 1], level};
  Carry last = {part[0], weight[0], level};
  for (int t = 1; t < kChunk; ++t) {
    first.num = fmaf(first.num, step, part[kChunk - 1 - t]);
    first.den = fmaf(first.den, step, weight[kChunk - 1 - t]);
    last.num = fmaf(last.num, step, part[t]);
    last.den = fmaf(last.den, step, weight[t]);
  }
  return {well_scaled<kIsOfRates>(first), well_scaled<kIsOfRates>(last)};
}

// Lay a chunk's sums where chains to the future and to the past expect them.
RWKV_INLINE void put_both(const Board& past, const Board& future, int warp, const Both& sums) {
  put(past, warp + 1, sums.last);
  put(future, warp, sums.first);
}

// Join spans begin, begin + every, ..., to at most `end`, seen from `at`, which is the last
// token of span `at` towards the future, the first towards the past. Backwards the numbers
// fall. `sums` is the record of span 0.
template <bool kIsOfRates, bool kIsBackwards>
RWKV_INLINE Carry join_spans(const float* sums, long long rows, const Call& call,
                             const Decay& decay, int begin, int end, int every, int at) {
  Carry all = nothing();
  const Fade fade = fade_of(decay, float(every * kSpan));
  const float* from = sums + (kIsBackwards ? 3 * call.channels : 0);
  int last = begin;
#pragma unroll 2
  for (int n = begin; kIsBackwards ? n >= end : n <= end; n += kIsBackwards ? -every : every) {
    const Carry own = load_carry(from + n * rows * call.channels, call.channels);
    all = added<kIsOfRates>(faded(all, fade), own);
    last = n;
  }
  const int apart = kIsBackwards ? last - at : at - last;
  return faded(all, fade_of(decay, float(apart) * kSpan));
}

// What a span receives from each side.
struct Sides {
  Carry past;
  Carry future;
};

// This warp's share of what the place's span receives: every eighth of the other spans.
template <bool kIsOfRates>
RWKV_INLINE Sides share_of_spans(const float* sums, long long rows, const Call& call,
                                 const Place& place, const Decay& decay) {
  const int span = int(place.span);
  const int last = int(place.spans) - 1;
  Sides sides = {nothing(), nothing()};
  if (place.warp < span) {
    sides.past = join_spans<kIsOfRates, false>(sums, rows, call, decay, place.warp, span - 1,
                                               kWarps, span - 1);
  }
  if (last - place.warp > span) {
    sides.future = join_spans<kIsOfRates, true>(sums, rows, call, decay, last - place.warp,
                                                span + 1, kWarps, span + 1);
  }
  return sides;
}

// Add up the shares of all warps, which lie from slot `first` on.
template <bool kIsOfRates>
RWKV_INLINE Carry sum_of_shares(const Board& shares, int first) {
  Carry all = taken(shares, first);
  for (int n = 1; n < kWarps; ++n) all = added<kIsOfRates>(all, taken(shares, first + n));
  return all;
}

// Turn the sums of all spans of a group into what each span receives, for sequences of more
// than kMostSpans. Each warp walks its part of them twice: to sum it, then to hand on.
template <bool kIsOfRates, bool kIsBackwards>
RWKV_INLINE void scan_spans(const float* sums, float* carries, long long rows, const Call& call,
                            const Place& place, const Board& board, const Decay& decay) {
  const int length = (int(place.spans) + kScanWarps - 1) / kScanWarps;
  const int rank = kIsBackwards ? kScanWarps - 1 - place.warp : place.warp;
  const int low = place.warp * length;
  const int stop = low + length;
  const int high = (stop < int(place.spans) ? stop : int(place.spans)) - 1;
  const int begin = kIsBackwards ? high : low;
  const int end = kIsBackwards ? low : high;
  const int side = kIsBackwards ? 3 : 0;
  // Sums are taken as seen from the part's far corner, where the next part begins.
  put(board, rank,
      low > high ? nothing()
                 : join_spans<kIsOfRates, kIsBackwards>(sums, rows, call, decay, begin, end, 1,
                                                        kIsBackwards ? low : stop - 1));
  __syncthreads();
  const Fade part = fade_of(decay, float(length) * kSpan);
  Carry carry = nothing();
  for (int n = 0; n < rank; ++n) carry = added<kIsOfRates>(faded(carry, part), taken(board, n));
  const Fade span = fade_of(decay, float(kSpan));
  for (int n = begin; kIsBackwards ? n >= end : n <= end; n += kIsBackwards ? -1 : 1) {
    const long long at = (long long)n * rows + side;
    const Carry own = load_carry(sums + at * call.channels, call.channels);
    if (place.is_used) store_carry(carries + at * call.channels, call.channels, carry);
    carry = added<kIsOfRates>(faded(carry, span), own);
  }
}

}  // namespace rwkv
