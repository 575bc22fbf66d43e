// The gradient of a depthwise convolution by its kernel, a vector of channels at a time.
//
// The rows of the maps that one row of gradients meets are kept as float32 with zeros around
// them, each made once; a row of the filter stays in registers while they go by. Compiled
// once per instruction set (see CMakeLists.txt).
#include "depthwise.h"

#include <string.h>

#include "vec.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

RWKV_INLINE float widened(float x) { return x; }
RWKV_INLINE float widened(uint16_t bfloat16) {
  const uint32_t bits = uint32_t(bfloat16) << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Pixels (count, C) as float32 (count, C rounded up), zeros in the channels that are added.
template <class T>
void widen(const T* from, int64_t count, int64_t channels, float* to) {
  const int64_t wide = whole_channels(channels);
  if (channels == wide) {
    for (int64_t n = 0; n < count * channels; ++n) to[n] = widened(from[n]);
    return;
  }
  for (int64_t x = 0; x < count; ++x, from += channels, to += wide) {
    for (int64_t c = 0; c < channels; ++c) to[c] = widened(from[c]);
    for (int64_t c = channels; c < wide; ++c) to[c] = 0.0f;
  }
}

// Row y of an image's maps, which may lie outside, as far as the filter reaches.
template <class T>
void padded_row(const rwkv_depthwise& d, const T* image, int64_t y, float* to) {
  const int64_t wide = whole_channels(d.channels);
  const int64_t reach = reach_of(d);
  const int64_t margin = d.side / 2;
  const bool is_inside = y >= 0 && y < d.height;
  const int64_t count = !is_inside ? 0 : d.width < reach - margin ? d.width : reach - margin;
  const int64_t before = is_inside ? margin : 0;
  memset(to, 0, size_t(before * wide) * sizeof(float));
  if (is_inside) widen(image + y * d.width * d.channels, count, d.channels, to + before * wide);
  const int64_t done = before + count;
  memset(to + done * wide, 0, size_t((reach - done) * wide) * sizeof(float));
}

// Add what one row of gradients and one row of maps give to one row of the filter.
template <int kSide>
void add_row(const rwkv_depthwise& d, const float* gradients, const float* maps, float* sums) {
  const int64_t wide = whole_channels(d.channels);
  const int64_t step = d.stride * wide;
  for (int64_t c = 0; c < wide; c += kWidth) {
    V sum[kSide];
    for (int j = 0; j < kSide; ++j) sum[j] = load(sums + j * wide + c);
    for (int64_t x = 0; x < d.columns; ++x) {
      const V gradient = load(gradients + x * wide + c);
      const float* near = maps + x * step + c;
      RWKV_UNROLL(9)
      for (int j = 0; j < kSide; ++j) sum[j] = mul_add(gradient, load(near + j * wide), sum[j]);
    }
    for (int j = 0; j < kSide; ++j) store(sums + j * wide + c, sum[j]);
  }
}

template <int kSide, class T>
void add_rows(const rwkv_depthwise& d, int64_t image, int64_t first, int64_t end, float* scratch,
              float* part) {
  const int64_t wide = whole_channels(d.channels);
  const int64_t size = reach_of(d) * wide;  // of a padded row
  const T* maps = static_cast<const T*>(d.maps) + image * d.height * d.width * d.channels;
  const T* by_filtered =
      static_cast<const T*>(d.by_filtered) + image * d.rows * d.columns * d.channels;
  float* gradients = scratch + kSide * size;
  int64_t next = first * d.stride;  // the padded row that is made next, kept at next % kSide
  for (int64_t y = first; y < end; ++y) {
    for (; next < y * d.stride + kSide; ++next) {
      padded_row(d, maps, next - kSide / 2, scratch + next % kSide * size);
    }
    widen(by_filtered + y * d.columns * d.channels, d.columns, d.channels, gradients);
    for (int64_t i = 0; i < kSide; ++i) {
      const float* row = scratch + (y * d.stride + i) % kSide * size;
      add_row<kSide>(d, gradients, row, part + i * kSide * wide);
    }
  }
}

template <class T>
void add_rows_of(const rwkv_depthwise& d, int64_t image, int64_t first, int64_t end,
                 float* scratch, float* part) {
  switch (d.side) {
    case 1: return add_rows<1, T>(d, image, first, end, scratch, part);
    case 3: return add_rows<3, T>(d, image, first, end, scratch, part);
    case 5: return add_rows<5, T>(d, image, first, end, scratch, part);
    case 7: return add_rows<7, T>(d, image, first, end, scratch, part);
    default: return add_rows<9, T>(d, image, first, end, scratch, part);
  }
}

}  // namespace

void depthwise_by_kernel(const rwkv_depthwise& d, int64_t image, int64_t first, int64_t end,
                         float* scratch, float* part) {
  memset(part, 0, size_t(d.side * d.side * whole_channels(d.channels)) * sizeof(float));
  if (d.is_bfloat16) return add_rows_of<uint16_t>(d, image, first, end, scratch, part);
  return add_rows_of<float>(d, image, first, end, scratch, part);
}

}  // namespace RWKV_TARGET
}  // namespace rwkv
