// The backward pass: sums of every span's rates, then every span's gradients.
//
// `rate` is the gradient by y over the sum of weights that y was divided by. Both kernels
// build it, and y, anew from k, v, gy and the carries that the forward pass kept for each
// span: that takes fewer bytes than reading y, and no rounding of y to 16 bits counts.
#pragma once

#include "forward.h"
#include "slopes.h"

namespace rwkv {

// What a chunk knows of its keys before any rate is known.
struct Keys {
  Peak peak;
  Carry past;    // what the chunk receives of keys
  Carry future;
  V level;       // that all weights, and what reaches the chunk, are at most 1 at
};

// Run the chains of keys, the first of each with what the forward pass kept for the span.
RWKV_INLINE void share_keys(const Call& call, const Place& place, const Lane& lane,
                            const Board& past, const Board& future) {
  const float* kept = record(call.states, call, place, place.span, kCarryRows);
  if (place.warp == 0) {
    chain<false, false>(past, load_carry(kept, call.channels), lane.channel.run);
  } else if (place.warp == 1) {
    chain<false, true>(future, load_carry(kept + 3 * call.channels, call.channels),
                       lane.channel.run);
  }
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
  Carry sums = seen_at(keys.future, keys.level);
  for (int t = kChunk - 1; t >= 0; --t) {
    y[t] = fmaf(bonus, part[t], sums.num);
    total[t] = fmaf(bonus, weight[t], sums.den);
    sums.num = fmaf(sums.num, channel.step, part[t] * scale);
    sums.den = fmaf(sums.den, channel.step, weight[t] * scale);
  }
  const V again = unrelated(scale);
  read_shared_anew();
  sums = seen_at(keys.past, keys.level);
  for (int t = 0; t < kChunk; ++t) {
    if (t % 4 == 0) read_shared_anew();
    const V share = 1.0f / (total[t] + sums.den);
    y[t] = t < count ? (y[t] + sums.num) * share : 0.0f;
    rate[t] = t < count ? rate[t] * share : 0.0f;
    sums.num = fmaf(sums.num, channel.step, part[t] * again);
    sums.den = fmaf(sums.den, channel.step, weight[t] * again);
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
  load_rows(call.k, call, place, weight);
  load_rows(call.v, call, place, part);
  load_rows(call.gy, call, place, rate);
  const Peak peak = weigh_chunk(place, weight, part);
  const Lane lane = lane_of(call, place, true);
  put_both(past, future, place.warp,
           sums_of<false>(part, weight, peak.level, place.count, lane.channel.step));
  __syncthreads();
  share_keys(call, place, lane, past, future);
  __syncthreads();
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

// Shared memory of rwkv_backward_slopes: boards, and what each thread keeps of its own there,
// values and means, which would take registers from the first barrier to the last loop.
struct Boards {
  Board past_keys, future_keys;
  Board past_rates, future_rates;
  float* values;
  float* means;
};

constexpr int kParkedRow = kChunk + 1;  // odd, so that lanes use different banks

RWKV_INLINE Boards boards_in(float* shared, int lane) {
  float* parked = shared + 4 * kSlots * kBoardSlot;
  return {{shared, lane},
          {shared + kSlots * kBoardSlot, lane},
          {shared + 2 * kSlots * kBoardSlot, lane},
          {shared + 3 * kSlots * kBoardSlot, lane},
          parked + threadIdx.x * kParkedRow,
          parked + (kThreads + threadIdx.x) * kParkedRow};
}

// Lay out what the warps know of other spans' rates, unless a scan has joined them already:
// in the slots of the boards that the chunks' own rates will take later.
RWKV_INLINE void share_spans_of_rates(const Call& call, const Place& place, const Lane& lane,
                                      const Boards& boards) {
  if (place.spans > kMostSpans) return;
  const float* sums = record(call.scratch, call, place, 0, kRecordRows);
  const Sides sides = share_of_spans<true>(sums, kRecordRows, call, place, lane.decay);
  put(boards.past_rates, place.warp + 1, sides.past);
  put(boards.future_rates, place.warp, sides.future);
}

// What the span receives of rates from one side, laid down at its end of the board.
RWKV_INLINE void receive_rates_at(const Call& call, const Place& place, const Board& board,
                                  int slot, int first_share, int row) {
  if (place.spans <= kMostSpans) {
    put(board, slot, sum_of_shares<true>(board, first_share));
    return;
  }
  const float* carries = record(call.scratch, call, place, place.span, kRecordRows);
  put(board, slot, load_carry(carries + (kCarryRows + row) * call.channels, call.channels));
}

// Two warps that have no chain of keys to run do it.
RWKV_INLINE void receive_rates(const Call& call, const Place& place, const Boards& boards) {
  if (place.warp == 2) receive_rates_at(call, place, boards.past_rates, 0, 1, 0);
  if (place.warp == 3) receive_rates_at(call, place, boards.future_rates, kWarps, 0, 3);
}

// Run the chains of rates, the first of each with what other spans hand on.
RWKV_INLINE void share_rates(const Place& place, const Lane& lane, const Both& sums,
                             const Boards& boards) {
  put_both(boards.past_rates, boards.future_rates, place.warp, sums);
  __syncthreads();
  if (place.warp == 0) {
    chain<true, false>(boards.past_rates, taken(boards.past_rates, 0), lane.channel.run);
  } else if (place.warp == 1) {
    chain<true, true>(boards.future_rates, taken(boards.future_rates, kWarps),
                      lane.channel.run);
  }
  __syncthreads();
}

// Pairs of tokens across the boundary behind a chunk, for dw.
RWKV_INLINE V across_boundary(const Boards& boards, int warp, const Carry& future_keys,
                              const Carry& future_rates) {
  return across(taken(boards.past_keys, warp + 1), future_rates) +
         across(future_keys, taken(boards.past_rates, warp + 1));
}

// Add up the warps' sums in a fixed order and keep them for rwkv_backward_total. They take
// the place of the values, which are not needed any more.
RWKV_INLINE void keep_slopes(const Call& call, const Place& place, const Lane& lane,
                             const Boards& boards, V dw, V du) {
  boards.values[0] = place.count ? dw : 0.0f;
  boards.values[1] = place.count ? du : 0.0f;
  __syncthreads();
  if (place.warp != 0 || !lane.is_stored) return;
  double all_dw = 0.0, all_du = 0.0;
  for (int n = 0; n < kWarps; ++n) {
    all_dw += boards.values[n * kLanes * kParkedRow];
    all_du += boards.values[n * kLanes * kParkedRow + 1];
  }
  float* kept = record(call.scratch, call, place, place.span, kRecordRows);
  kept[kSteepRows * call.channels] = float(-all_dw);
  kept[(kSteepRows + 1) * call.channels] = float(all_du);
}

RWKV_INLINE void backward_slopes(const Call& call, float* shared) {
  const Place place = place_of(call, gridDim.x - 1 - blockIdx.x);
  const Boards boards = boards_in(shared, place.lane);
  const Lane lane = lane_of(call, place, true);
  V weight[kChunk], rate[kChunk];
  Keys keys;
  {
    V part[kChunk];
    load_rows(call.k, call, place, weight);
    load_rows(call.v, call, place, part);
    share_spans_of_rates(call, place, lane, boards);  // while keys and values are on their way
    for (int t = 0; t < kChunk; ++t) boards.values[t] = part[t];
    const Peak peak = weigh_chunk(place, weight, part);
    load_rows(call.gy, call, place, rate);
    put_both(boards.past_keys, boards.future_keys, place.warp,
             sums_of<false>(part, weight, peak.level, place.count, lane.channel.step));
    __syncthreads();
    share_keys(call, place, lane, boards.past_keys, boards.future_keys);
    receive_rates(call, place, boards);
    __syncthreads();
    keys = keys_of(peak, place, boards.past_keys, boards.future_keys);
    set_rates(part, weight, keys, place.count, lane.channel, boards.means, rate);
  }
  share_rates(place, lane,
              sums_of_rates(rate, boards.means, keys, place.count, lane.channel.step), boards);
  const Carry before = taken(boards.past_rates, place.warp);
  const Carry after = taken(boards.future_rates, place.warp + 1);
  const V pairs = across_boundary(boards, place.warp, keys.future, after) * float(kChunk);
  const Halves halves = {weight, boards.values, boards.means, rate, keys.peak.level,
                         seen_at(keys.past, keys.level)};
  V dk[kChunk], dv[kChunk];
  V dw = 0.0f, du = 0.0f;
  add_future(halves, seen_at(after, larger(-keys.level, after.level)), lane.channel.step, dk,
             dv);
  read_shared_anew();
  add_past(halves, seen_at(before, larger(-keys.level, before.level)), lane.channel, dk, dv, &dw,
           &du);
  if (lane.is_stored) {
    store_rows(call.dk, call, place, dk);
    store_rows(call.dv, call, place, dv);
  }
  keep_slopes(call, place, lane, boards, dw + pairs, du);
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
