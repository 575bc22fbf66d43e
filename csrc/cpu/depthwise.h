// The gradient of a depthwise convolution by its kernel: a call, and its kernels.
#pragma once

#include <stdint.h>

#include "../rwkv_kernels.h"

namespace rwkv {

constexpr int64_t kRowsPerPart = 8;

// Channels rounded up to what every instruction set's vectors divide.
inline int64_t whole_channels(int64_t channels) {
  const int64_t step = RWKV_DEPTHWISE_CHANNELS;
  return (channels + step - 1) / step * step;
}

// Pixels of a padded row that the filter meets.
inline int64_t reach_of(const rwkv_depthwise& d) { return (d.columns - 1) * d.stride + d.side; }

// Kernels of one instruction set.
struct DepthwiseKernels {
  const char* name;
  // Sum over the rows of one image from `first` up to `end` into part (K, K, C rounded up).
  // scratch: K rows of reach_of pixels and one of as many as there are columns.
  void (*by_kernel)(const rwkv_depthwise&, int64_t image, int64_t first, int64_t end,
                    float* scratch, float* part);
};

}  // namespace rwkv
