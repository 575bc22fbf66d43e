#include "piece.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "steep.h"

namespace rwkv {
namespace {

constexpr int kConstantRows = 4 + kGroups - 1;
constexpr size_t kLine = 64;  // bytes

// Whether float32 sums do; NaN is left to float64 as well.
bool is_mild(float w, float u) {
  return fabsf(w) * float(kChunk) <= kLargestRange && fabsf(u) <= kLargestBonus;
}

// Beyond this many powers of two above a chunk's own level, what reaches it alone decides what
// its tokens become, to 26 bits: whatever the bonus, what a positive decay takes off over the
// chunk, or what a negative one adds to other tokens of the chunk. Below, nothing overflows.
float limit_of(float w, float u) {
  const float log2e = 1.442695f;
  const float across = fabsf(w) * float(kChunk) * log2e;
  const float bonus = u > 0.0f ? u * log2e : 0.0f;
  return 30.0f + ceilf(w > 0.0f ? bonus + across : bonus > across ? bonus : across);
}

// Fill column c of the kConstantRows rows.
void set_constants(float w, float u, float* const* rows, int64_t c) {
  const double one = exp(-double(w));
  const double four = (one * one) * (one * one);
  static_assert(kGroup == 4 && kGroups == 4, "powers of a group");
  rows[0][c] = float(one);
  rows[1][c] = float((four * four) * (four * four));
  rows[2][c] = float(exp(double(u)));
  rows[3][c] = limit_of(w, u);
  rows[4][c] = float(four);
  rows[5][c] = float(four * four);
  rows[6][c] = float(four * four * four);
}

// Constants of `count` channels, made up to `width` by neutral ones. Channels that are not
// mild get neutral ones too: what comes out for them is finite, and overwritten later.
Constants constants_of(const float* w, const float* u, int64_t count, int64_t width,
                       float* memory) {
  float* rows[kConstantRows];
  for (int i = 0; i < kConstantRows; ++i) rows[i] = memory + i * width;
  for (int64_t c = 0; c < width; ++c) {
    const bool used = c < count && is_mild(w[c], u[c]);
    set_constants(used ? w[c] : 0.0f, used ? u[c] : 0.0f, rows, c);
  }
  return {rows[0], rows[1], rows[2], rows[3], {rows[4], rows[5], rows[6]}};
}

// An image's part of a (B, rows, C) array, from channel `first` on.
template <class T>
T* part_of(T* array, const Call& call, int64_t image, int64_t rows, int64_t first) {
  return array ? array + image * rows * call.channels + first : nullptr;
}

// Copy `rows` rows of `count` floats between arrays whose rows lie a stride apart.
void copy_rows(const float* from, int64_t from_stride, float* to, int64_t to_stride, int64_t rows,
               int64_t count) {
  for (int64_t t = 0; t < rows; ++t) {
    memcpy(to + t * to_stride, from + t * from_stride, size_t(count) * sizeof(float));
  }
}

}  // namespace

Piece::~Piece() { free(memory_); }

float* Piece::take(int64_t rows) {
  float* taken = free_;
  free_ += rows * work_.channels;
  return taken;
}

bool Piece::begin(const Call& call, const Kernels& kernels, int64_t image, int64_t first,
                  int64_t count) {
  const bool is_backward = call.gy != nullptr;
  const int64_t state_rows = kStateRows * chunks_of(call.tokens);
  first_ = first;
  own_.tokens = call.tokens;
  own_.channels = count;
  own_.stride = call.channels;
  own_.k = part_of(call.k, call, image, call.tokens, first);
  own_.v = part_of(call.v, call, image, call.tokens, first);
  own_.y = part_of(call.y, call, image, call.tokens, first);
  own_.states = part_of(call.states, call, image, state_rows, first);
  own_.gy = part_of(call.gy, call, image, call.tokens, first);
  own_.dk = part_of(call.dk, call, image, call.tokens, first);
  own_.dv = part_of(call.dv, call, image, call.tokens, first);
  own_.dw = part_of(call.dw, call, image, 1, first);
  own_.du = part_of(call.du, call, image, 1, first);
  work_ = own_;
  work_.channels = (count + kernels.width - 1) / kernels.width * kernels.width;
  const bool is_narrow = work_.channels != count;
  const int64_t scratch_rows = is_backward ? rate_rows(call.tokens) : kCarryRows;
  int64_t rows = kConstantRows + scratch_rows;
  if (is_narrow) rows += (is_backward ? 6 : 3) * call.tokens + state_rows + 2;
  memory_ = malloc(size_t(rows * work_.channels) * sizeof(float) + kLine);
  if (!memory_) return false;
  // In whole lines, so that two threads' carries have none in common.
  free_ = reinterpret_cast<float*>((uintptr_t(memory_) + kLine - 1) / kLine * kLine);
  work_.constants =
      constants_of(call.w + first, call.u + first, count, work_.channels, take(kConstantRows));
  work_.scratch = take(scratch_rows);
  if (is_narrow) widen(is_backward);
  return true;
}

// A copy of `rows` rows of the piece, made up to a vector's width by zeros.
float* Piece::widened(const float* from, int64_t rows) {
  float* copy = take(rows);
  memset(copy, 0, size_t(rows * work_.channels) * sizeof(float));
  copy_rows(from, own_.stride, copy, work_.channels, rows, own_.channels);
  return copy;
}

void Piece::widen(bool is_backward) {
  const int64_t tokens = own_.tokens;
  const int64_t state_rows = kStateRows * chunks_of(tokens);
  work_.stride = work_.channels;
  work_.k = widened(own_.k, tokens);
  work_.v = widened(own_.v, tokens);
  work_.y = is_backward ? widened(own_.y, tokens) : take(tokens);
  work_.states = is_backward ? widened(own_.states, state_rows) : take(state_rows);
  if (!is_backward) return;
  work_.gy = widened(own_.gy, tokens);
  work_.dk = take(tokens);
  work_.dv = take(tokens);
  work_.dw = take(1);
  work_.du = take(1);
}

void Piece::narrow(bool is_backward) const {
  const int64_t width = work_.channels;
  const auto put = [&](const float* from, float* to, int64_t rows) {
    copy_rows(from, width, to, own_.stride, rows, own_.channels);
  };
  if (!is_backward) {
    put(work_.y, own_.y, own_.tokens);
    put(work_.states, own_.states, kStateRows * chunks_of(own_.tokens));
    return;
  }
  put(work_.dk, own_.dk, own_.tokens);
  put(work_.dv, own_.dv, own_.tokens);
  put(work_.dw, own_.dw, 1);
  put(work_.du, own_.du, 1);
}

// Overwrite the channels whose decay or bonus is too much for float32 sums.
bool Piece::redo_steep(const Call& call) const {
  double* scratch = nullptr;
  const int doubles = call.gy ? kSteepBackwardDoubles : kSteepForwardDoubles;
  for (int64_t c = 0; c < own_.channels; ++c) {
    const float w = call.w[first_ + c];
    const float u = call.u[first_ + c];
    const bool grows = call.gy && -w * float(call.tokens) > kLargestGrowth;
    if (is_mild(w, u) && !grows) continue;
    if (!scratch) {
      scratch = static_cast<double*>(malloc(size_t(doubles * call.tokens) * sizeof(double)));
      if (!scratch) return false;
    }
    SteepChannel channel{own_.tokens, own_.stride, w, u, own_.k + c, own_.v + c, own_.y + c,
                         nullptr, nullptr, nullptr, nullptr, nullptr};
    if (!call.gy) {
      steep_forward(channel, scratch);
      continue;
    }
    channel.gy = own_.gy + c;
    channel.dk = own_.dk + c;
    channel.dv = own_.dv + c;
    channel.dw = own_.dw + c;
    channel.du = own_.du + c;
    steep_backward(channel, scratch);
  }
  free(scratch);
  return true;
}

bool Piece::finish(const Call& call) {
  if (work_.stride != own_.stride || work_.channels != own_.channels) narrow(call.gy != nullptr);
  return redo_steep(call);
}

}  // namespace rwkv
