// Reading points of maps (deformable attention): a call, and its kernels.
#pragma once

#include <stdint.h>

namespace rwkv {

constexpr int kMostPoints = 128;  // per head, over all levels

// Arrays of a whole call, as in rwkv_kernels.h.
struct PointsCall {
  int64_t batch;
  int64_t queries;
  int64_t tokens;
  int64_t heads;
  int64_t length;  // channels of a head
  int64_t levels;
  int64_t points;
  const int64_t* grids;
  const float* values;
  const float* places;
  const float* offsets;
  const float* scores;
  float* read;
  // only backward:
  const float* by_read;
  float* by_values;
  float* by_offsets;
  float* by_scores;
};

// Kernels of one instruction set.
struct PointsKernels {
  const char* name;
  // Read for the queries from `first` up to `end`, counted over the batch.
  void (*read)(const PointsCall&, int64_t first, int64_t end);
  // Gradients of one head of one image, counted over the batch.
  void (*differentiate)(const PointsCall&, int64_t image, int64_t head);
};

}  // namespace rwkv
