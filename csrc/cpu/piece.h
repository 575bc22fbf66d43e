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

// Some channels of one image, and the memory that their phases need.
class Piece {
 public:
  Piece() = default;
  ~Piece();
  Piece(const Piece&) = delete;
  Piece& operator=(const Piece&) = delete;

  // Get ready for channels `first` to `first + count - 1`; false if there is no memory.
  bool begin(const Call& call, const Kernels& kernels, int64_t image, int64_t first,
             int64_t count);
  // What the phases run on.
  const Strip& strip() const { return work_; }
  // Put everything where it belongs, and compute what float32 sums cannot; false if there is
  // no memory.
  bool finish(const Call& call);

 private:
  float* take(int64_t rows);
  float* widened(const float* from, int64_t rows);
  void widen(bool is_backward);
  void narrow(bool is_backward) const;
  bool redo_steep(const Call& call) const;

  int64_t first_ = 0;
  Strip own_{};   // this piece's part of the call's arrays
  Strip work_{};  // the same, or copies as wide as a vector if it is narrower
  void* memory_ = nullptr;
  float* free_ = nullptr;
};

}  // namespace rwkv
