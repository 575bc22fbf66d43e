// The gradient of a depthwise convolution by its kernel, a vector of channels at a time.
//
// A row of the filter stays in registers while a row of the maps goes by. Compiled once
// per instruction set (see CMakeLists.txt).
#include "depthwise.h"

#include <string.h>

#include "vec.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

// Add what one row of gradients and one row of maps give to one row of the filter.
template <int kSide>
void add_row(const rwkv_depthwise& d, const float* gradients, const float* maps, float* sums) {
  const int64_t step = d.stride * d.channels;
  for (int64_t c = 0; c < d.channels; c += kWidth) {
    V sum[kSide];
    for (int j = 0; j < kSide; ++j) sum[j] = load(sums + j * d.channels + c);
    for (int64_t x = 0; x < d.columns; ++x) {
      const V gradient = load(gradients + x * d.channels + c);
      const float* near = maps + x * step + c;
      RWKV_UNROLL(9)
      for (int j = 0; j < kSide; ++j) {
        sum[j] = mul_add(gradient, load(near + j * d.channels), sum[j]);
      }
    }
    for (int j = 0; j < kSide; ++j) store(sums + j * d.channels + c, sum[j]);
  }
}

template <int kSide>
void add_rows(const rwkv_depthwise& d, int64_t image, int64_t first, int64_t end, float* part) {
  const int64_t height = (d.rows - 1) * d.stride + kSide;
  const int64_t width = (d.columns - 1) * d.stride + kSide;
  for (int64_t y = first; y < end; ++y) {
    const float* gradients = d.by_filtered + (image * d.rows + y) * d.columns * d.channels;
    const float* maps = d.maps + (image * height + y * d.stride) * width * d.channels;
    for (int i = 0; i < kSide; ++i) {
      add_row<kSide>(d, gradients, maps + i * width * d.channels, part + i * kSide * d.channels);
    }
  }
}

}  // namespace

void depthwise_by_kernel(const rwkv_depthwise& d, int64_t image, int64_t first, int64_t end,
                         float* part) {
  memset(part, 0, size_t(d.side * d.side * d.channels) * sizeof(float));
  switch (d.side) {
    case 1: return add_rows<1>(d, image, first, end, part);
    case 3: return add_rows<3>(d, image, first, end, part);
    case 5: return add_rows<5>(d, image, first, end, part);
    case 7: return add_rows<7>(d, image, first, end, part);
    default: return add_rows<9>(d, image, first, end, part);
  }
}

}  // namespace RWKV_TARGET
}  // namespace rwkv
