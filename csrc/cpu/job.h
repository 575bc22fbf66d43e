// A call of the C face, and the pieces that it is cut into.
#pragma once

#include <stdint.h>

#include "strip.h"

namespace rwkv {

// Arrays of a whole call, as in rwkv_kernels.h.
struct Call {
  int64_t batch;
  int64_t tokens;
  int64_t channels;
  const float* w;
  const float* u;
  const float* k;
  const float* v;
  float* y;
  float* states;
  const float* gy;  // null for the forward pass; so are the following
  float* dk;
  float* dv;
  float* dw;  // (B, C), of each image alone
  float* du;  // (B, C)
};

// Some channels of one image.
struct Piece {
  int64_t image;
  int64_t first;
  int64_t count;
};

// Do one piece on this thread; false if there is no memory for it.
bool do_piece(const Call& call, const Piece& piece, const Kernels& kernels);

}  // namespace rwkv
