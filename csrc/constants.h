// Numbers that all kernels, and whoever calls them, have in common.
#pragma once

namespace rwkv {

constexpr int kChunk = 16;              // tokens per chunk
constexpr int kGroup = 4;               // tokens that are summed in one go
constexpr int kGroups = kChunk / kGroup;
constexpr int kStateRows = 7;           // kept per chunk: carries from past and future, its level
constexpr float kLargestRange = 24.0f;  // of |w| * kChunk that float32 sums are fit for
constexpr float kLargestBonus = 20.0f;  // of |u|, likewise
// Of -w * T in the backward pass. Beyond it what is near outweighs nothing: all tokens look
// at the image's two ends, dw is a small difference of large terms, and float32 loses it.
constexpr float kLargestGrowth = 100.0f;

}  // namespace rwkv
