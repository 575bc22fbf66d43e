// The gradient of a depthwise convolution by its kernel: a call, and its kernels.
#pragma once

#include <stdint.h>

#include "../rwkv_kernels.h"

namespace rwkv {

constexpr int64_t kRowsPerPart = 8;

// Kernels of one instruction set.
struct DepthwiseKernels {
  const char* name;
  // Sum over the rows of one image from `first` up to `end` into part (side, side, C).
  void (*by_kernel)(const rwkv_depthwise&, int64_t image, int64_t first, int64_t end, float* part);
};

}  // namespace rwkv
