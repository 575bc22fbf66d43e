// One channel at a time in float64: for decays and bonuses beyond what float32 sums bear.
#pragma once

#include <stdint.h>

namespace rwkv {

// One channel of one image; element t of an array lies at pointer[t * stride].
struct SteepChannel {
  int64_t tokens;
  int64_t stride;
  double w;
  double u;
  const float* k;
  const float* v;
  float* y;         // forward only
  const float* gy;  // the rest: backward only
  float* dk;
  float* dv;
  float* dw;
  float* du;
};

constexpr int kSteepForwardDoubles = 3;   // scratch per token
constexpr int kSteepBackwardDoubles = 5;  // scratch per token

void steep_forward(const SteepChannel& channel, double* scratch);
void steep_backward(const SteepChannel& channel, double* scratch);

}  // namespace rwkv
