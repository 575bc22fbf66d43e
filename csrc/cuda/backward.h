// The backward pass: sums of every span's rates, then every span's gradients.
//
// `rate` is the gradient by y over the sum of weights that y was divided by. Both kernels
// build it, and y, anew from k, v, gy and the carries that the forward pass kept for each
// span: that takes fewer bytes than reading y, and no rounding of y to 16 bits counts.
#pragma once

#include "forward.h"

namespace rwkv {

// What a chunk knows of its keys before any rate is known.
struct Keys {
  Peak peak;
  Carry past;    // what the chunk receives of keys
  Carry future;
  V level;       // that all weights, and what reaches the chunk, are at most 1 at
};

// Run the chains of keys: from the chunk's sums and the span's kept carries to its own.
RWKV_INLINE void share_keys(const Call& call, const Place& place, const Lane& lane,
                            const Both& sums, const Board& past, const Board& future) {
  put_both(past, future, place.warp, sums);
  __syncthreads();
  const float* kept = record(call.states, call, place, place.span, kCarryRows);
  if (place.warp == 0) {
    chain<false, false>(past, load_carry(kept, call.channels), lane.channel.run);
  } else if (place.warp == 1) {
    chain<false, true>(future, load_carry(kept + 3 * call.channels, call.channels),
                       lane.channel.run);
  }
  __syncthreads();
}

RWKV_INLINE Keys keys_of(const Peak& peak, const Place& place, const Board& past,
                         const Board& future) {
  const Carry before = taken(past, place.warp);
  const Carry after = taken(future, place.warp + 1);
  return {peak, before, after, larger(larger(peak.level, before.level), after.level)};
}

// Means of a chunk anew, and its gradients by y divided by the same totals, relative to
// 2^keys.level. `rate` holds the gradients by y at first; rows past the end get rate 0.
RWKV_INLINE void set_rates(const V* part, const V* weight, const Keys& keys, int count,
                           const Channel& channel, V* y, V* rate) {
  V total[kChunk];
  const V scale = power_of_two(keys.peak.level - keys.level);
  const V bonus = channel.bonus * scale;
  Carry sums = seen_from(keys.future, keys.level);
  for (int t = kChunk - 1; t >= 0; --t) {
    y[t] = fmaf(bonus, part[t], sums.num);
    total[t] = fmaf(bonus, weight[t], sums.den);
    sums.num = fmaf(sums.num, channel.step, part[t] * scale);
    sums.den = fmaf(sums.den, channel.step, weight[t] * scale);
  }
  sums = seen_from(keys.past, keys.level);
  for (int t = 0; t < kChunk; ++t) {
    const V share = 1.0f / (total[t] + sums.den);
    y[t] = t < count ? (y[t] + sums.num) * share : 0.0f;
    rate[t] = t < count ? rate[t] * share : 0.0f;
    sums.num = fmaf(sums.num, channel.step, part[t] * scale);
    sums.den = fmaf(sums.den, channel.step, weight[t] * scale);
  }
}

// Sums of a chunk's rates, and of rates times means.
RWKV_INLINE Both sums_of_rates(const V* rate, const V* y, const Keys& keys, int count, V step) {
  V part[kChunk];
  for (int t = 0; t < kChunk; ++t) part[t] = rate[t] * y[t];
  return sums_of<true>(part, rate, -keys.level, count, step);
}

RWKV_INLINE void backward_sums(const Call& call, float* shared) {
  const Place place = place_of(call, blockIdx.x);
  const Board past = {shared, place.lane};
  const Board future = {shared + kSlots * kBoardSlot, place.lane};
  V weight[kChunk], part[kChunk], y[kChunk], rate[kChunk];
  load_rows(call.gy, call, place, rate);
  const Peak peak = weigh_chunk(call, place, weight, part);
  const Lane lane = lane_of(call, place, true);
  share_keys(call, place, lane,
             sums_of<false>(part, weight, peak.level, place.count, lane.channel.step), past,
             future);
  const Keys keys = keys_of(peak, place, past, future);
  set_rates(part, weight, keys, place.count, lane.channel, y, rate);
  const Both sums = sums_of_rates(rate, y, keys, place.count, lane.channel.step);
  __syncthreads();
  put_both(past, future, place.warp, sums);
  __syncthreads();
  float* kept = record(call.scratch, call, place, place.span, kRecordRows);
  if (place.warp == 0) {
    const Carry carry = chain<true, false>(past, nothing(), lane.channel.run);
    if (place.is_used) store_carry(kept, call.channels, carry);
  } else if (place.warp == 1) {
    const Carry carry = chain<true, true>(future, nothing(), lane.channel.run);
    if (place.is_used) store_carry(kept + 3 * call.channels, call.channels, carry);
  }
}

RWKV_INLINE void backward_scan(const Call& call, float* shared) {
  const Place place = place_in_group(call);
  const Lane lane = lane_of(call, place, true);
  const float* sums = record(call.scratch, call, place, 0, kRecordRows);
  float* carries = record(call.scratch, call, place, 0, kRecordRows) + kCarryRows * call.channels;
  const Board past = {shared, place.lane};
  const Board future = {shared + kScanWarps * kBoardSlot, place.lane};
  scan_spans<true, false>(sums, carries, kRecordRows, call, place, past, lane.decay);
  scan_spans<true, true>(sums, carries, kRecordRows, call, place, future, lane.decay);
}

// What the span receives of rates from one side.
RWKV_INLINE Carry received_rates(const Call& call, const Place& place, const Board& shares,
                                 int row) {
  if (place.spans <= kMostSpans) return sum_of_shares<true>(shares);
  const float* carries = record(call.scratch, call, place, place.span, kRecordRows);
  return load_carry(carries + (kCarryRows + row) * call.channels, call.channels);
}

// Shared memory of rwkv_backward_slopes: boards, the warps' sums for dw and du, and every
// thread's values, which would take registers from the first barrier to the last loop.
struct Boards {
  Board past_shares, future_shares;
  Board past_keys, future_keys;
  Board past_rates, future_rates;
  float* slopes;
  float* values;
};

constexpr int kParkedRow = kChunk + 1;  // odd, so that lanes use different banks

RWKV_INLINE Boards boards_in(float* shared, int lane) {
  float* chains = shared + 2 * kWarps * kBoardSlot;
  return {{shared, lane},
          {shared + kWarps * kBoardSlot, lane},
          {chains, lane},
          {chains + kSlots * kBoardSlot, lane},
          {chains + 2 * kSlots * kBoardSlot, lane},
          {chains + 3 * kSlots * kBoardSlot, lane},
          chains + 4 * kSlots * kBoardSlot,
          chains + 4 * kSlots * kBoardSlot + 2 * kThreads};
}

// Run the chains of rates, the first of each with what other spans hand on.
RWKV_INLINE void share_rates(const Call& call, const Place& place, const Lane& lane,
                             const Both& sums, const Boards& boards) {
  put_both(boards.past_rates, boards.future_rates, place.warp, sums);
  __syncthreads();
  if (place.warp == 0) {
    const Carry first = received_rates(call, place, boards.past_shares, 0);
    chain<true, false>(boards.past_rates, first, lane.channel.run);
  } else if (place.warp == 1) {
    const Carry first = received_rates(call, place, boards.future_shares, 3);
    chain<true, true>(boards.future_rates, first, lane.channel.run);
  }
  __syncthreads();
}

// Pairs of tokens across the boundary behind a chunk, for dw.
RWKV_INLINE V across_boundary(const Boards& boards, int warp, const Carry& future_keys,
                              const Carry& future_rates) {
  return across(taken(boards.past_keys, warp + 1), future_rates) +
         across(future_keys, taken(boards.past_rates, warp + 1));
}

// Add up the warps' sums in a fixed order and keep them for rwkv_backward_total.
RWKV_INLINE void keep_slopes(const Call& call, const Place& place, const Lane& lane,
                             const float* slopes) {
  if (place.warp != 0 || !lane.is_stored) return;
  double dw = 0.0, du = 0.0;
  for (int n = 0; n < kWarps; ++n) {
    dw += slopes[n * kLanes + place.lane];
    du += slopes[(kWarps + n) * kLanes + place.lane];
  }
  float* kept = record(call.scratch, call, place, place.span, kRecordRows);
  kept[kSteepRows * call.channels] = float(-dw);
  kept[(kSteepRows + 1) * call.channels] = float(du);
}

RWKV_INLINE void backward_slopes(const Call& call, float* shared) {
  const Place place = place_of(call, gridDim.x - 1 - blockIdx.x);
  const Boards boards = boards_in(shared, place.lane);
  V* value = boards.values + threadIdx.x * kParkedRow;
  V weight[kChunk], part[kChunk], y[kChunk], rate[kChunk];
  load_rows(call.gy, call, place, rate);
  const Peak peak = weigh_chunk(call, place, weight, part, value);
  const Lane lane = lane_of(call, place, true);
  if (place.spans <= kMostSpans) {
    const float* sums = record(call.scratch, call, place, 0, kRecordRows);
    const Sides sides = share_of_spans<true>(sums, kRecordRows, call, place, lane.decay);
    put(boards.past_shares, place.warp, sides.past);
    put(boards.future_shares, place.warp, sides.future);
  }
  share_keys(call, place, lane,
             sums_of<false>(part, weight, peak.level, place.count, lane.channel.step),
             boards.past_keys, boards.future_keys);
  const Keys keys = keys_of(peak, place, boards.past_keys, boards.future_keys);
  set_rates(part, weight, keys, place.count, lane.channel, y, rate);
  share_rates(call, place, lane,
              sums_of_rates(rate, y, keys, place.count, lane.channel.step), boards);
  const Carry before = taken(boards.past_rates, place.warp);
  const Carry after = taken(boards.future_rates, place.warp + 1);
  V dk[kChunk], dv[kChunk];
  V dw = 0.0f, du = 0.0f;
  slopes_of({weight, value, y, rate}, peak.level, seen_from(keys.past, keys.level),
            seen_from(before, larger(-keys.level, before.level)),
            seen_from(after, larger(-keys.level, after.level)), lane.channel, dk, dv, &dw, &du);
  dw += across_boundary(boards, place.warp, keys.future, after) * float(kChunk);
  if (lane.is_stored) {
    store_rows(call.dk, call, place, dk);
    store_rows(call.dv, call, place, dv);
  }
  boards.slopes[place.warp * kLanes + place.lane] = place.count ? dw : 0.0f;
  boards.slopes[(kWarps + place.warp) * kLanes + place.lane] = place.count ? du : 0.0f;
  __syncthreads();
  keep_slopes(call, place, lane, boards.slopes);
}

// dw and du: the sums over images and spans, each warp's share of them in a fixed order.
RWKV_INLINE void backward_total(const Call& call, double* shared) {
  Place place = place_in_group(call);
  const long long records = call.batch * place.spans;
  double dw = 0.0, du = 0.0;
#pragma unroll 4
  for (long long n = place.warp; n < records; n += kTotalWarps) {
    const float* kept = call.scratch + (n * kRecordRows + kSteepRows) * call.channels +
                        place.channel;
    dw += kept[0];
    du += kept[call.channels];
  }
  double* slot = shared + place.lane;
  slot[place.warp * kLanes] = dw;
  slot[(kTotalWarps + place.warp) * kLanes] = du;
  __syncthreads();
  if (place.warp > 1 || !place.is_used) return;
  double sum = 0.0;
#pragma unroll 8
  for (int n = 0; n < kTotalWarps; ++n) sum += slot[(place.warp * kTotalWarps + n) * kLanes];
  (place.warp ? call.du : call.dw)[place.channel] = float(sum);
}

}  // namespace rwkv
