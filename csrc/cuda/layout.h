// What a kernel is called with, how the work is cut, and where its memory lies.
//
// A span is 128 tokens, eight chunks; a group is 32 channels. One block does one span of
// one group of one image: lane = channel, warp = chunk, so that a row of a group is one
// piece of memory. napari_rwkv_seg/ops/_cuda_plan.py has the same numbers.
#pragma once

#include "constants.h"

namespace rwkv {

constexpr int kLanes = 32;            // channels of a block
constexpr int kSpan = 128;            // tokens of a block
constexpr int kWarps = kSpan / kChunk;
constexpr int kSlots = kWarps + 1;    // boundaries of a span's chunks
constexpr int kThreads = kLanes * kWarps;
constexpr int kMostSpans = 128;       // that every block joins for itself
constexpr int kScanWarps = 32;        // of the kernel that joins more of them
constexpr int kTotalWarps = 32;       // that share the sums of dw and du
constexpr int kCarryRows = 6;         // of a span: a carry from the past and one from the future
constexpr int kSteepRows = 22;        // of a span, in the backward pass: 11 float64
constexpr int kPartialRows = 2;       // of a span: what it adds to dw and du
constexpr int kRecordRows = kSteepRows + kPartialRows;  // of a span, in the backward pass

// Arrays as in rwkv_kernels.h, but k, v, y, gy, dk, dv of type Element. `states` and, in the
// forward pass, `scratch` are (B, spans, kCarryRows, C); in the backward pass `scratch` is
// (B, spans, kRecordRows, C). A carry takes three rows: num, den, level.
struct Call {
  const float* w;
  const float* u;
  const Element* k;
  const Element* v;
  Element* y;
  float* states;
  const Element* gy;
  float* dw;
  float* du;
  Element* dk;
  Element* dv;
  float* scratch;
  long long batch;
  long long tokens;
  long long channels;
};

// What one block does, and this thread of it.
struct Place {
  unsigned image;
  unsigned span;
  unsigned spans;
  int warp;
  int lane;
  int count;          // tokens of this warp's chunk; 0 past the end
  long long origin;   // of row 0 of the span, in elements
  unsigned offset;    // from there to this lane's first element
  unsigned channel;   // of this lane; the last channel for lanes beyond it
  bool is_used;       // whether the lane has a channel of its own
};

RWKV_INLINE unsigned spans_of(const Call& call) {
  return unsigned((call.tokens + kSpan - 1) / kSpan);
}

RWKV_INLINE unsigned groups_of(const Call& call) {
  return unsigned((call.channels + kLanes - 1) / kLanes);
}

RWKV_INLINE void set_channel(Place& place, const Call& call, unsigned group) {
  const long long channel = (long long)group * kLanes + place.lane;
  place.is_used = channel < call.channels;
  place.channel = unsigned(place.is_used ? channel : call.channels - 1);
}

// The place of block number `block`: groups run fastest, then spans, then images.
RWKV_INLINE Place place_of(const Call& call, unsigned block) {
  const unsigned groups = groups_of(call);
  Place place;
  place.spans = spans_of(call);
  place.span = block / groups % place.spans;
  place.image = block / groups / place.spans;
  place.warp = int(threadIdx.x) / kLanes;
  place.lane = int(threadIdx.x) % kLanes;
  set_channel(place, call, block % groups);
  const long long row = (long long)place.span * kSpan;
  const long long left = call.tokens - row - place.warp * kChunk;
  place.count = left < 0 ? 0 : left < kChunk ? int(left) : kChunk;
  place.origin = (place.image * call.tokens + row) * call.channels;
  place.offset = unsigned(place.warp * kChunk) * unsigned(call.channels) + place.channel;
  return place;
}

// The place of a block that does all spans of a group of an image.
RWKV_INLINE Place place_in_group(const Call& call) {
  const unsigned groups = groups_of(call);
  Place place{};
  place.spans = spans_of(call);
  place.image = blockIdx.x / groups;
  place.warp = int(threadIdx.x) / kLanes;
  place.lane = int(threadIdx.x) % kLanes;
  set_channel(place, call, blockIdx.x % groups);
  return place;
}

// The place's channel of row 0 of a span's record in an array (B, spans, rows, C).
template <class T>
RWKV_INLINE T* record(T* array, const Call& call, const Place& place, unsigned span, int rows) {
  const long long number = (long long)place.image * place.spans + span;
  return array + number * rows * call.channels + place.channel;
}

// Whether float32 sums do; NaN is left to float64 as well.
RWKV_INLINE bool is_mild(float w, float u) {
  return fabsf(w) * float(kChunk) <= kLargestRange && fabsf(u) <= kLargestBonus;
}

// Whether they do for the gradients, too.
RWKV_INLINE bool is_mild_for_slopes(float w, float u, long long tokens) {
  return is_mild(w, u) && -w * float(tokens) <= kLargestGrowth;
}

}  // namespace rwkv
