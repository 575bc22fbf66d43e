// The forward pass in three phases, a vector of channels at a time.
//
// `weigh` turns the keys of every chunk into weights, kept where y will be, and sums the
// chunk as seen from both of its ends; `join` carries those sums from chunk to chunk in both
// directions; `emit` has every chunk write its means. Chunks know nothing of each other in
// the first and the last phase, so that any number of threads may share them, with the same
// result. Compiled once per instruction set (see CMakeLists.txt).
#include "chunk_io.h"
#include "strip.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

RWKV_INLINE void weigh_chunk(const Strip& s, int64_t n, int64_t c, const Peak& peak,
                             const Rows<const float>& key, const Rows<const float>& value,
                             const Rows<float>& kept) {
  Ahead ahead = ahead_of(s, n, c, 1);
  prefetch_states(s, n + 1, c);
  const Channel channel = load_channel(s, c);
  Sums past, future;
  RWKV_UNROLL(kGroups)
  for (int g = 0; g < kGroups; ++g) {
    V keys[kGroup], weight[kGroup], part[kGroup];
    for (int i = 0; i < kGroup; ++i) {
      keys[i] = load(key[g * kGroup + i]);
      prefetch(s.k, ahead, i);
      prefetch(s.v, ahead, i);
      prefetch_to_write(s.y, ahead, i);
      advance(&ahead);
    }
    weigh_group(keys, peak, weight);
    for (int i = 0; i < kGroup; ++i) part[i] = weight[i] * load(value[g * kGroup + i]);
    for (int i = 0; i < kGroup; ++i) store(kept[g * kGroup + i], weight[i]);
    add_group(part, weight, g, channel, &past, &future);
  }
  store_sums(past_rows(s, n, c), s.stride, past);
  store_sums(future_rows(s, n, c), s.stride, future);
  store(level_row(s, n, c), peak.level);
}

// Replace a chunk's own sums by what reaches it, and carry on with both.
RWKV_INLINE void carry_on(float* rows, V level, int64_t stride, float* carry, int64_t carry_stride,
                          V run) {
  const Carry own = load_own(rows, stride, level);
  const Carry reaches = load_carry(carry, carry_stride);
  store_carry(rows, stride, reaches);
  store_carry(carry, carry_stride, normalized_keys(carried(reaches, own, run)));
}

// Both sides run through the chunk at once; each token is finished by the side that meets
// it last. `y` holds the weights before.
RWKV_INLINE void emit_chunk(const Strip& s, int64_t n, int64_t c, const Reaching& reaching,
                            const Rows<const float>& value, const Rows<float>& y) {
  Sums met[kChunk];
  Ahead ahead = ahead_of(s, n, c, -1);
  prefetch_states(s, n - 1, c);
  const Channel channel = load_channel(s, c);
  Sums past = reaching.past;
  Sums future = reaching.future;
  RWKV_UNROLL(kChunk)
  for (int i = 0; i < kChunk; ++i) {
    const int t = kChunk - 1 - i;
    prefetch(s.v, ahead, i);
    prefetch(s.y, ahead, i);
    advance(&ahead);
    V weight = load(y[t]);
    V part = weight * load(value[t]);
    const Sums own = with_bonus(future, part, weight, channel);
    if (t > i) {
      met[t] = own;
    } else {
      store(y[t], mean_of(met[t], own));
    }
    future = passed(future, part, weight, channel);
    weight = load(y[i]);
    part = weight * load(value[i]);
    if (t > i) {
      met[i] = past;
    } else {
      store(y[i], mean_of(past, met[i]));
    }
    past = passed(past, part, weight, channel);
  }
}

}  // namespace

// The peak of the place after this one is found ahead of time, since all that a chunk does
// has to wait for it.
void weigh(const Strip& s, int64_t first, int64_t end) {
  Padding key, value, weight;
  Peak next = peak_at(s, first, 0, &key);
  for (int64_t n = first; n < end; ++n) {
    const int count = tokens_of(s, n);
    for (int64_t c = 0; c < s.channels; c += kWidth) {
      const Peak peak = next;
      if (c + kWidth < s.channels) {
        next = peak_at(s, n, c + kWidth, &key);
      } else if (n + 1 < end) {
        next = peak_at(s, n + 1, 0, &key);
      }
      const Rows<float> y = rows_of(s.y, s, n, c);
      const bool is_whole = count == kChunk;
      weigh_chunk(s, n, c, peak, padded(rows_of(s.k, s, n, c), count, -INFINITY, &key),
                  padded(rows_of(s.v, s, n, c), count, 0.0f, &value),
                  is_whole ? y : rows_in(&weight));
      if (!is_whole) copy_rows(rows_in(&weight), y, count);
    }
  }
}

void join(const Strip& s, int64_t first, int64_t end) {
  const int64_t chunks = chunks_of(s.tokens);
  float* const before = s.scratch;
  float* const after = s.scratch + 3 * s.channels;
  for (int64_t c = first * kWidth; c < end * kWidth; c += kWidth) {
    store_carry(before + c, s.channels, nothing());
    store_carry(after + c, s.channels, nothing());
  }
  for (int64_t n = 0; n < chunks; ++n) {
    for (int64_t c = first * kWidth; c < end * kWidth; c += kWidth) {
      const V run = load(s.constants.run + c);
      const int64_t m = chunks - 1 - n;
      const V level = load(level_row(s, n, c));
      const V mirrored = load(level_row(s, m, c));
      carry_on(past_rows(s, n, c), level, s.stride, before + c, s.channels, run);
      carry_on(future_rows(s, m, c), mirrored, s.stride, after + c, s.channels, run);
    }
  }
}

// From the last chunk to the first: what `weigh` touched last is in the cache still.
void emit(const Strip& s, int64_t first, int64_t end) {
  Padding value, weight;
  Reaching next = reaching_at(s, end - 1, 0);
  for (int64_t n = end - 1; n >= first; --n) {
    const int count = tokens_of(s, n);
    for (int64_t c = 0; c < s.channels; c += kWidth) {
      const Reaching reaching = next;
      if (c + kWidth < s.channels) {
        next = reaching_at(s, n, c + kWidth);
      } else if (n > first) {
        next = reaching_at(s, n - 1, 0);
      }
      const Rows<float> y = rows_of(s.y, s, n, c);
      const bool is_whole = count == kChunk;
      if (!is_whole) padded(rows_of<const float>(s.y, s, n, c), count, 0.0f, &weight);
      emit_chunk(s, n, c, reaching, padded(rows_of(s.v, s, n, c), count, 0.0f, &value),
                 is_whole ? y : rows_in(&weight));
      if (!is_whole) copy_rows(rows_in(&weight), y, count);
    }
  }
}

int vector_width() { return kWidth; }

}  // namespace RWKV_TARGET
}  // namespace rwkv
