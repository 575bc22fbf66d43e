#include "job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "steep.h"

namespace rwkv {
namespace {

// Memory for the time of one piece; handed out from front to back.
class Scratch {
 public:
  explicit Scratch(int64_t floats)
      : begin_(static_cast<float*>(malloc(size_t(floats) * sizeof(float)))), next_(begin_) {}
  ~Scratch() { free(begin_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  bool failed() const { return begin_ == nullptr; }
  float* take(int64_t floats) {
    float* taken = next_;
    next_ += floats;
    return taken;
  }

 private:
  float* begin_;
  float* next_;
};

// Whether float32 sums do; NaN is left to float64 as well.
bool is_mild(float w, float u) {
  return fabsf(w) * float(kChunk) <= kLargestRange && fabsf(u) <= kLargestBonus;
}

// Beyond this many powers of two above a chunk's own level the future alone decides what
// its tokens become, to 24 bits and whatever the bonus: 24 for the bits, 30 for the bonus,
// and what a positive decay takes off over the chunk. Below it, nothing overflows.
float limit_of(float w) {
  const float fall = w > 0.0f ? w * float(kChunk) * 1.442695f : 0.0f;
  return 54.0f + ceilf(fall);
}

void set_constants(float w, float u, float* step, float* run, float* bonus, float* limit) {
  double power = exp(-double(w));
  *step = float(power);
  for (int tokens = 1; tokens < kChunk; tokens *= 2) power *= power;
  *run = float(power);
  *bonus = float(exp(double(u)));
  *limit = limit_of(w);
}

// Constants of `count` channels, made up to `width` by neutral ones. Channels that are not
// mild get neutral ones too: what comes out for them is finite, and overwritten later.
Constants constants_of(const Call& call, const Piece& piece, int64_t width, float* memory) {
  float* rows[4] = {memory, memory + width, memory + 2 * width, memory + 3 * width};
  for (int64_t c = 0; c < width; ++c) {
    const bool used = c < piece.count && is_mild(call.w[piece.first + c], call.u[piece.first + c]);
    set_constants(used ? call.w[piece.first + c] : 0.0f, used ? call.u[piece.first + c] : 0.0f,
                  rows[0] + c, rows[1] + c, rows[2] + c, rows[3] + c);
  }
  return {rows[0], rows[1], rows[2], rows[3]};
}

// The piece's part of a (B, rows, C) array.
template <class T>
T* part_of(T* array, const Call& call, const Piece& piece, int64_t rows) {
  return array ? array + piece.image * rows * call.channels + piece.first : nullptr;
}

Strip strip_of(const Call& call, const Piece& piece) {
  const int64_t rows = kStateRows * chunks_of(call.tokens);
  Strip s{};
  s.tokens = call.tokens;
  s.channels = piece.count;
  s.stride = call.channels;
  s.k = part_of(call.k, call, piece, call.tokens);
  s.v = part_of(call.v, call, piece, call.tokens);
  s.y = part_of(call.y, call, piece, call.tokens);
  s.states = part_of(call.states, call, piece, rows);
  s.gy = part_of(call.gy, call, piece, call.tokens);
  s.dk = part_of(call.dk, call, piece, call.tokens);
  s.dv = part_of(call.dv, call, piece, call.tokens);
  s.dw = part_of(call.dw, call, piece, 1);
  s.du = part_of(call.du, call, piece, 1);
  return s;
}

// Copy `rows` rows of `count` floats between arrays whose rows lie a stride apart.
void copy_rows(const float* from, int64_t from_stride, float* to, int64_t to_stride, int64_t rows,
               int64_t count) {
  for (int64_t t = 0; t < rows; ++t) {
    memcpy(to + t * to_stride, from + t * from_stride, size_t(count) * sizeof(float));
  }
}

// A copy of `rows` rows of the piece, made up to `width` channels by zeros.
float* widened(const float* from, const Strip& s, int64_t rows, int64_t width, Scratch& scratch) {
  float* copy = scratch.take(rows * width);
  memset(copy, 0, size_t(rows * width) * sizeof(float));
  copy_rows(from, s.stride, copy, width, rows, s.channels);
  return copy;
}

// Run the sweeps on a copy of a strip that is narrower than a vector.
void run_widened(const Strip& s, const Kernels& kernels, Scratch& scratch) {
  const int64_t width = kernels.width;
  const int64_t state_rows = kStateRows * chunks_of(s.tokens);
  const bool is_backward = s.gy != nullptr;
  Strip wide = s;
  wide.channels = width;
  wide.stride = width;
  wide.k = widened(s.k, s, s.tokens, width, scratch);
  wide.v = widened(s.v, s, s.tokens, width, scratch);
  if (!is_backward) {
    wide.y = scratch.take(s.tokens * width);
    wide.states = scratch.take(state_rows * width);
    kernels.forward(wide);
    copy_rows(wide.y, width, s.y, s.stride, s.tokens, s.channels);
    copy_rows(wide.states, width, s.states, s.stride, state_rows, s.channels);
    return;
  }
  wide.y = widened(s.y, s, s.tokens, width, scratch);
  wide.states = widened(s.states, s, state_rows, width, scratch);
  wide.gy = widened(s.gy, s, s.tokens, width, scratch);
  wide.dk = scratch.take(s.tokens * width);
  wide.dv = scratch.take(s.tokens * width);
  wide.dw = scratch.take(width);
  wide.du = scratch.take(width);
  kernels.backward(wide);
  copy_rows(wide.dk, width, s.dk, s.stride, s.tokens, s.channels);
  copy_rows(wide.dv, width, s.dv, s.stride, s.tokens, s.channels);
  copy_rows(wide.dw, width, s.dw, s.stride, 1, s.channels);
  copy_rows(wide.du, width, s.du, s.stride, 1, s.channels);
}

int64_t round_up(int64_t count, int64_t width) { return (count + width - 1) / width * width; }

// Overwrite the channels of a strip whose decay or bonus is too much for float32 sums.
bool redo_steep(const Call& call, const Piece& piece, const Strip& s) {
  double* scratch = nullptr;
  const int doubles = call.gy ? kSteepBackwardDoubles : kSteepForwardDoubles;
  for (int64_t c = 0; c < piece.count; ++c) {
    const float w = call.w[piece.first + c];
    const float u = call.u[piece.first + c];
    const bool grows = call.gy && -w * float(call.tokens) > kLargestGrowth;
    if (is_mild(w, u) && !grows) continue;
    if (!scratch) {
      scratch = static_cast<double*>(malloc(size_t(doubles * call.tokens) * sizeof(double)));
      if (!scratch) return false;
    }
    SteepChannel channel{};
    channel.tokens = s.tokens;
    channel.stride = s.stride;
    channel.w = w;
    channel.u = u;
    channel.k = s.k + c;
    channel.v = s.v + c;
    if (!call.gy) {
      channel.y = s.y + c;
      steep_forward(channel, scratch);
      continue;
    }
    channel.gy = s.gy + c;
    channel.dk = s.dk + c;
    channel.dv = s.dv + c;
    channel.dw = s.dw + c;
    channel.du = s.du + c;
    steep_backward(channel, scratch);
  }
  free(scratch);
  return true;
}

}  // namespace

bool do_piece(const Call& call, const Piece& piece, const Kernels& kernels) {
  const int64_t width = round_up(piece.count, kernels.width);
  const bool is_narrow = width != piece.count;
  const bool is_backward = call.gy != nullptr;
  const int64_t state_rows = kStateRows * chunks_of(call.tokens);
  int64_t rows = 4;
  if (is_backward) rows += gradient_scratch_rows(call.tokens);
  if (is_narrow) rows += (is_backward ? 6 : 3) * call.tokens + state_rows + 2;
  Scratch scratch(rows * width);
  if (scratch.failed()) return false;

  Strip strip = strip_of(call, piece);
  strip.constants = constants_of(call, piece, width, scratch.take(4 * width));
  if (is_backward) strip.scratch = scratch.take(gradient_scratch_rows(call.tokens) * width);
  if (is_narrow) {
    run_widened(strip, kernels, scratch);
  } else {
    is_backward ? kernels.backward(strip) : kernels.forward(strip);
  }
  return redo_steep(call, piece, strip);
}

}  // namespace rwkv
