// A strip is a piece of work: some channels of one image, all tokens.
//
// Element (t, c) of an array lies at pointer[t * stride + c]; `channels` is a multiple of
// the vector width, so strips whose width is not are copied first (see piece.cpp).
#pragma once

#include <stdint.h>

#include "../constants.h"

namespace rwkv {

// Constants of the channels, (C,) each; see Channel in recurrence.h.
struct Constants {
  const float* step;
  const float* run;
  const float* bonus;
  const float* limit;
  const float* skip[kGroups - 1];
};

struct Strip {
  int64_t tokens;
  int64_t channels;
  int64_t stride;
  Constants constants;
  const float* k;
  const float* v;
  float* y;        // written by the forward phases, read by the backward ones
  float* states;   // likewise; kStateRows rows per chunk
  float* scratch;  // rows of `channels` floats: kCarryRows or rate_rows(tokens)
  // only backward:
  const float* gy;
  float* dk;
  float* dv;
  float* dw;  // (channels,), of this image alone
  float* du;  // (channels,)
};

// A phase is done by chunks, or else by vectors of channels: from `first` to before `end`, in
// any order and on any threads. The next one begins when all are through.
struct Phase {
  void (*run)(const Strip&, int64_t first, int64_t end);
  bool by_chunk;
};

constexpr int kForwardPhases = 3;
constexpr int kHalfPhases = 2;
constexpr int kBackwardPhases = 4;

// The phases of one instruction set.
struct Kernels {
  const char* name;
  int width;
  Phase forward[kForwardPhases];
  Phase forward_by_halves[kHalfPhases];  // the same for pieces in one segment or two
  Phase backward[kBackwardPhases];
};

constexpr int kCarryRows = 6;  // a carry in both directions
constexpr int kSumRows = 2;    // dw of pairs in different chunks, and what rounding lost of it

inline int64_t chunks_of(int64_t tokens) { return (tokens + kChunk - 1) / kChunk; }
inline int64_t rate_rows(int64_t tokens) {
  return kCarryRows * (chunks_of(tokens) + 1) + kSumRows;
}

}  // namespace rwkv
