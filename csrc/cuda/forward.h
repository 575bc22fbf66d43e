// The forward pass: sums of every span, then every span's means.
//
// Both kernels read k and v; nothing but the spans' sums goes through memory in between.
// Channels that float32 sums do not bear run along with neutral constants, and what comes
// out for them is not stored: rwkv_forward_steep does them.
#pragma once

#include "span.h"

namespace rwkv {

// Constants of a lane's channel; neutral ones if float64 has to do it.
struct Lane {
  Decay decay;
  Channel channel;
  bool is_stored;
};

RWKV_INLINE Lane lane_of(const Call& call, const Place& place, bool is_backward) {
  float w = call.w[place.channel];
  float u = call.u[place.channel];
  const bool mild = is_backward ? is_mild_for_slopes(w, u, call.tokens) : is_mild(w, u);
  w = mild ? w : 0.0f;
  u = mild ? u : 0.0f;
  return {decay_of(w), channel_of(w, u), mild && place.is_used};
}

// Make weights relative to their peak of a chunk's keys, and parts of its values.
RWKV_INLINE Peak weigh_chunk(const Place& place, V* key_to_weight, V* value_to_part) {
  V key[kChunk];
  for (int t = 0; t < kChunk; ++t) key[t] = key_to_weight[t];
  const Peak peak = peak_of_keys(key, place.count);
  weigh_keys(key, place.count, peak, key_to_weight);
  for (int t = 0; t < kChunk; ++t) value_to_part[t] = value_to_part[t] * key_to_weight[t];
  return peak;
}

RWKV_INLINE void forward_sums(const Call& call, float* shared) {
  const Place place = place_of(call, blockIdx.x);
  const Board past = {shared, place.lane};
  const Board future = {shared + kSlots * kBoardSlot, place.lane};
  V weight[kChunk], part[kChunk];
  load_rows(call.k, call, place, weight);
  load_rows(call.v, call, place, part);
  const Lane lane = lane_of(call, place, false);
  const Peak peak = weigh_chunk(place, weight, part);
  put_both(past, future, place.warp,
           sums_of<false>(part, weight, peak.level, place.count, lane.channel.step));
  __syncthreads();
  float* sums = record(call.scratch, call, place, place.span, kCarryRows);
  if (place.warp == 0) {
    const Carry carry = chain<false, false>(past, nothing(), lane.channel.run);
    if (place.is_used) store_carry(sums, call.channels, carry);
  } else if (place.warp == 1) {
    const Carry carry = chain<false, true>(future, nothing(), lane.channel.run);
    if (place.is_used) store_carry(sums + 3 * call.channels, call.channels, carry);
  }
}

RWKV_INLINE void forward_scan(const Call& call, float* shared) {
  const Place place = place_in_group(call);
  const Lane lane = lane_of(call, place, false);
  const float* sums = record(call.scratch, call, place, 0, kCarryRows);
  float* carries = record(call.states, call, place, 0, kCarryRows);
  const Board past = {shared, place.lane};
  const Board future = {shared + kScanWarps * kBoardSlot, place.lane};
  scan_spans<false, false>(sums, carries, kCarryRows, call, place, past, lane.decay);
  scan_spans<false, true>(sums, carries, kCarryRows, call, place, future, lane.decay);
}

// Lay out what the warps know of the other spans, unless a scan has joined them already.
RWKV_INLINE void share_spans(const Call& call, const Place& place, const Lane& lane,
                             const Board& past, const Board& future) {
  if (place.spans > kMostSpans) return;
  const float* sums = record(call.scratch, call, place, 0, kCarryRows);
  const Sides sides = share_of_spans<false>(sums, kCarryRows, call, place, lane.decay);
  put(past, place.warp, sides.past);
  put(future, place.warp, sides.future);
}

// What the span receives from one side; kept for the backward pass.
RWKV_INLINE Carry received(const Call& call, const Place& place, const Lane& lane,
                           const Board& shares, int row) {
  float* kept = record(call.states, call, place, place.span, kCarryRows) + row * call.channels;
  if (place.spans > kMostSpans) return load_carry(kept, call.channels);
  const Carry carry = sum_of_shares<false>(shares, 0);
  if (lane.is_stored) store_carry(kept, call.channels, carry);
  return carry;
}

// The means of a chunk's tokens, from its own sums and those that reach it, all at one level.
RWKV_INLINE void emit_means(const V* part, const V* weight, const Carry& before,
                            const Carry& after, const Channel& channel, V* y) {
  V later_den[kChunk];
  V num = after.num;
  V den = after.den;
  for (int t = kChunk - 1; t >= 0; --t) {
    y[t] = fmaf(channel.bonus, part[t], num);
    later_den[t] = fmaf(channel.bonus, weight[t], den);
    num = fmaf(num, channel.step, part[t]);
    den = fmaf(den, channel.step, weight[t]);
  }
  num = before.num;
  den = before.den;
  for (int t = 0; t < kChunk; ++t) {
    y[t] = quotient(y[t] + num, later_den[t] + den);
    num = fmaf(num, channel.step, part[t]);
    den = fmaf(den, channel.step, weight[t]);
  }
}

RWKV_INLINE void forward_means(const Call& call, float* shared) {
  // Last block first: what the sums have read last may still be in the cache.
  const Place place = place_of(call, gridDim.x - 1 - blockIdx.x);
  const Board past_shares = {shared, place.lane};
  const Board future_shares = {shared + kWarps * kBoardSlot, place.lane};
  const Board past = {shared + 2 * kWarps * kBoardSlot, place.lane};
  const Board future = {shared + (2 * kWarps + kSlots) * kBoardSlot, place.lane};
  V weight[kChunk], part[kChunk], y[kChunk];
  load_rows(call.k, call, place, weight);
  load_rows(call.v, call, place, part);
  const Lane lane = lane_of(call, place, false);
  share_spans(call, place, lane, past_shares, future_shares);  // while they are on their way
  const Peak peak = weigh_chunk(place, weight, part);
  put_both(past, future, place.warp,
           sums_of<false>(part, weight, peak.level, place.count, lane.channel.step));
  __syncthreads();
  if (place.warp == 0) {
    chain<false, false>(past, received(call, place, lane, past_shares, 0), lane.channel.run);
  } else if (place.warp == 1) {
    chain<false, true>(future, received(call, place, lane, future_shares, 3), lane.channel.run);
  }
  __syncthreads();
  const Carry before = taken(past, place.warp);
  const Carry after = taken(future, place.warp + 1);
  // Far enough up that what comes from the future stays within float32; a level is raised, never
  // lowered: at -1e9, the key of masked tokens, a limit that is added is lost to rounding.
  const V level =
      larger(larger(peak.level, before.level), after.level - lane.channel.limit);
  const V scale = power_of_two(peak.level - level);
  for (int t = 0; t < kChunk; ++t) {
    weight[t] = weight[t] * scale;
    part[t] = part[t] * scale;
  }
  emit_means(part, weight, seen_at(before, level), seen_at(after, level), lane.channel, y);
  if (lane.is_stored) store_rows(call.y, call, place, y);
}

}  // namespace rwkv
