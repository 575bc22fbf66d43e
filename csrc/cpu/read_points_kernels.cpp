// Deformable attention's reading of points, a vector of channels at a time.
//
// A query and head's points are first turned into a list of tokens and weights (softmax
// times bilinear), which is then summed: no array of what was read at each point is made.
// Compiled once per instruction set (see CMakeLists.txt).
#include "read_points.h"

#include <math.h>

#include "vec.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr int kRoom = (kMostPoints + kWidth - 1) / kWidth * kWidth;

// Tokens to be summed, each with its weight.
struct Sum {
  const float* token[4 * kMostPoints];
  float weight[4 * kMostPoints];
  int count;
};

// Where a point lies on a map: its upper left token, and how far it is beyond that.
struct Spot {
  int64_t row, column;
  float below, beside;
  bool is_outside;  // further than a token from the map: nothing is read
};

// A map of values: the first of its tokens, and its size.
struct Map {
  int64_t first;
  int64_t height, width;
};

RWKV_INLINE Map map_of(const PointsCall& call, int64_t level, int64_t first) {
  return {first, call.grids[2 * level], call.grids[2 * level + 1]};
}

RWKV_INLINE Spot spot_of(const Map& map, const float* place, const float* offset) {
  const float x = ((place[0] + 1.0f) * float(map.width) - 1.0f) * 0.5f + offset[0];
  const float y = ((place[1] + 1.0f) * float(map.height) - 1.0f) * 0.5f + offset[1];
  // Written so that what is not a number is outside too, and no integer overflows.
  if (!(x > -1.0f && x < float(map.width) && y > -1.0f && y < float(map.height))) {
    return {0, 0, 0.0f, 0.0f, true};
  }
  const int64_t column = int64_t(x + 1.0f) - 1;  // rounds down, as x + 1 is not negative
  const int64_t row = int64_t(y + 1.0f) - 1;
  return {row, column, y - float(row), x - float(column), false};
}

// Softmax of `count` scores; `weight` has room for whole vectors.
RWKV_INLINE void softmax(const float* score, int count, float* weight) {
  float top = score[0];
  for (int i = 1; i < count; ++i) top = score[i] > top ? score[i] : top;
  for (int i = 0; i < count; ++i) weight[i] = (score[i] - top) * kLog2E;
  for (int i = count; i % kWidth; ++i) weight[i] = 0.0f;
  for (int i = 0; i < count; i += kGroup * kWidth) {
    V powers[kGroup];
    for (int n = 0; n < kGroup; ++n) {
      powers[n] = i + n * kWidth < count ? load(weight + i + n * kWidth) : spread(0.0f);
    }
    exp2_weights(powers);
    for (int n = 0; n < kGroup && i + n * kWidth < count; ++n) {
      store(weight + i + n * kWidth, powers[n]);
    }
  }
  float sum = 0.0f;
  for (int i = 0; i < count; ++i) sum += weight[i];
  const float share = 1.0f / sum;
  for (int i = 0; i < count; ++i) weight[i] *= share;
}

// Token (row, column) of a map, or null outside.
RWKV_INLINE const float* token_at(const Map& map, const float* values, int64_t stride, int64_t row,
                                  int64_t column) {
  const bool is_inside = row >= 0 && row < map.height && column >= 0 && column < map.width;
  return is_inside ? values + (map.first + row * map.width + column) * stride : nullptr;
}

RWKV_INLINE void add(Sum& sum, const float* token, float weight) {
  sum.token[sum.count] = token;
  sum.weight[sum.count] = weight;
  sum.count += token != nullptr;
}

RWKV_INLINE void add_spot(Sum& sum, const Map& map, const Spot& spot, const float* values,
                          int64_t stride, float weight) {
  const float low = weight * spot.below, high = weight - low;
  const float low_right = low * spot.beside, high_right = high * spot.beside;
  const int64_t y = spot.row, x = spot.column;
  add(sum, token_at(map, values, stride, y, x), high - high_right);
  add(sum, token_at(map, values, stride, y, x + 1), high_right);
  add(sum, token_at(map, values, stride, y + 1, x), low - low_right);
  add(sum, token_at(map, values, stride, y + 1, x + 1), low_right);
}

// N vectors of channels of the sum.
template <int N>
RWKV_INLINE void write_vectors(const Sum& sum, int64_t c, float* read) {
  V total[N];
  for (int i = 0; i < N; ++i) total[i] = spread(0.0f);
  for (int n = 0; n < sum.count; ++n) {
    const V weight = spread(sum.weight[n]);
    const float* token = sum.token[n] + c;
    for (int i = 0; i < N; ++i) total[i] = mul_add(weight, load(token + i * kWidth), total[i]);
  }
  for (int i = 0; i < N; ++i) store(read + c + i * kWidth, total[i]);
}

RWKV_INLINE void write_sum(const Sum& sum, int64_t length, float* read) {
  int64_t c = 0;
  for (; c + 4 * kWidth <= length; c += 4 * kWidth) write_vectors<4>(sum, c, read);
  for (; c + 2 * kWidth <= length; c += 2 * kWidth) write_vectors<2>(sum, c, read);
  for (; c + kWidth <= length; c += kWidth) write_vectors<1>(sum, c, read);
  for (; c < length; ++c) {
    float total = 0.0f;
    for (int n = 0; n < sum.count; ++n) total += sum.weight[n] * sum.token[n][c];
    read[c] = total;
  }
}

// The arrays of one query and head.
struct Query {
  const float* place;
  const float* offset;
  const float* score;
};

RWKV_INLINE Query query_of(const PointsCall& call, int64_t image, int64_t q, int64_t head) {
  const int64_t points = call.levels * call.points;
  const int64_t row = ((image * call.queries + q) * call.heads + head) * points;
  return {call.places + 2 * q, call.offsets + 2 * row, call.scores + row};
}

RWKV_INLINE void read_one(const PointsCall& call, const Query& query, const float* values,
                          float* read) {
  const int64_t stride = call.heads * call.length;
  float weight[kRoom];
  softmax(query.score, int(call.levels * call.points), weight);
  Sum sum;
  sum.count = 0;
  int64_t first = 0;
  for (int64_t level = 0, n = 0; level < call.levels; ++level) {
    const Map map = map_of(call, level, first);
    for (int64_t point = 0; point < call.points; ++point, ++n) {
      const Spot spot = spot_of(map, query.place, query.offset + 2 * n);
      if (!spot.is_outside) add_spot(sum, map, spot, values, stride, weight[n]);
    }
    first += map.height * map.width;
  }
  write_sum(sum, call.length, read);
}

RWKV_INLINE float total_of(V a) {
  float lane[kWidth], total = 0.0f;
  store(lane, a);
  for (int i = 0; i < kWidth; ++i) total += lane[i];
  return total;
}

// Sum over the channels of token times gradient; 0 for a token that is not there.
RWKV_INLINE float dot(const float* token, const float* gradient, int64_t length) {
  if (!token) return 0.0f;
  V total = spread(0.0f);
  int64_t c = 0;
  for (; c + kWidth <= length; c += kWidth) {
    total = mul_add(load(token + c), load(gradient + c), total);
  }
  float sum = total_of(total);
  for (; c < length; ++c) sum += token[c] * gradient[c];
  return sum;
}

RWKV_INLINE void add_scaled(const float* token, const float* values, float* by_values,
                            const float* gradient, float weight, int64_t length) {
  if (!token) return;
  float* sum = by_values + (token - values);
  int64_t c = 0;
  for (; c + kWidth <= length; c += kWidth) {
    store(sum + c, mul_add(spread(weight), load(gradient + c), load(sum + c)));
  }
  for (; c < length; ++c) sum[c] += weight * gradient[c];
}

// Gradients by one point: by its offset (written), by what its weight scales (returned),
// and by the values (added).
RWKV_INLINE float differentiate_spot(const PointsCall& call, const Map& map, const Spot& spot,
                                     const float* values, float* by_values, const float* gradient,
                                     float weight, float* by_offset) {
  const int64_t stride = call.heads * call.length;
  const float low = spot.below, high = 1.0f - low;
  const float right = spot.beside, left = 1.0f - right;
  const float share[4] = {high * left, high * right, low * left, low * right};
  float slope[4];
  for (int i = 0; i < 4; ++i) {
    const float* token = token_at(map, values, stride, spot.row + i / 2, spot.column + i % 2);
    slope[i] = dot(token, gradient, call.length);
    add_scaled(token, values, by_values, gradient, weight * share[i], call.length);
  }
  by_offset[0] = weight * (high * (slope[1] - slope[0]) + low * (slope[3] - slope[2]));
  by_offset[1] = weight * (left * (slope[2] - slope[0]) + right * (slope[3] - slope[1]));
  return share[0] * slope[0] + share[1] * slope[1] + share[2] * slope[2] + share[3] * slope[3];
}

RWKV_INLINE void differentiate_one(const PointsCall& call, const Query& query, const float* values,
                                   float* by_values, const float* gradient, float* by_offset,
                                   float* by_score) {
  const int count = int(call.levels * call.points);
  float weight[kRoom];
  softmax(query.score, count, weight);
  int64_t first = 0;
  float mean = 0.0f;
  for (int64_t level = 0, n = 0; level < call.levels; ++level) {
    const Map map = map_of(call, level, first);
    for (int64_t point = 0; point < call.points; ++point, ++n) {
      const Spot spot = spot_of(map, query.place, query.offset + 2 * n);
      by_offset[2 * n] = by_offset[2 * n + 1] = by_score[n] = 0.0f;
      if (spot.is_outside) continue;
      by_score[n] = differentiate_spot(call, map, spot, values, by_values, gradient, weight[n],
                                       by_offset + 2 * n);
      mean += weight[n] * by_score[n];
    }
    first += map.height * map.width;
  }
  for (int n = 0; n < count; ++n) by_score[n] = weight[n] * (by_score[n] - mean);
}

}  // namespace

void read_points(const PointsCall& call, int64_t first, int64_t end) {
  const int64_t channels = call.heads * call.length;
  for (int64_t n = first; n < end; ++n) {
    const int64_t image = n / call.queries;
    const float* values = call.values + image * call.tokens * channels;
    for (int64_t head = 0; head < call.heads; ++head) {
      const int64_t c = head * call.length;
      read_one(call, query_of(call, image, n % call.queries, head), values + c,
               call.read + n * channels + c);
    }
  }
}

void differentiate_points(const PointsCall& call, int64_t image, int64_t head) {
  const int64_t channels = call.heads * call.length;
  const int64_t start = image * call.tokens * channels + head * call.length;
  float* by_values = call.by_values + start;
  for (int64_t t = 0; t < call.tokens; ++t) {
    for (int64_t c = 0; c < call.length; ++c) by_values[t * channels + c] = 0.0f;
  }
  for (int64_t q = 0; q < call.queries; ++q) {
    const Query query = query_of(call, image, q, head);
    const int64_t row = query.score - call.scores;
    differentiate_one(call, query, call.values + start, by_values,
                      call.by_read + (image * call.queries + q) * channels + head * call.length,
                      call.by_offsets + 2 * row, call.by_scores + row);
  }
}

}  // namespace RWKV_TARGET
}  // namespace rwkv
