// A strip is what one thread works on at a time: some channels of one image, all tokens.
//
// Element (t, c) of an array lies at pointer[t * stride + c]; `channels` is a multiple
// of the vector width, so strips whose width is not are copied first (see strip.cpp).
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
};

struct Strip {
  int64_t tokens;
  int64_t channels;
  int64_t stride;
  Constants constants;
  const float* k;
  const float* v;
  float* y;       // written by the forward sweeps, read by the backward sweeps
  float* states;  // likewise; kStateRows rows per chunk
  // only backward:
  const float* gy;
  float* dk;
  float* dv;
  float* dw;       // (channels,), of this image alone
  float* du;       // (channels,)
  float* scratch;  // gradient_scratch_rows(tokens) rows of `channels` floats
};

// Sweeps of one instruction set.
struct Kernels {
  const char* name;
  int width;
  void (*forward)(const Strip&);
  void (*backward)(const Strip&);
};

inline int64_t chunks_of(int64_t tokens) { return (tokens + kChunk - 1) / kChunk; }
inline int64_t gradient_scratch_rows(int64_t tokens) { return 3 * chunks_of(tokens) + 7; }

}  // namespace rwkv
