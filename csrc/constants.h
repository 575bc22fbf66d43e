// Numbers that all kernels, and whoever calls them, have in common.
#pragma once

namespace rwkv {

constexpr int kChunk = 16;              // tokens per chunk
constexpr int kStateRows = 6;           // kept per chunk: a carry from the past, one from the future
constexpr float kLargestRange = 24.0f;  // of |w| * kChunk that float32 sums are fit for
constexpr float kLargestBonus = 20.0f;  // of |u|, likewise

}  // namespace rwkv
