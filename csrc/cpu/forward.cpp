// The forward pass in three phases, a vector of channels at a time.
//
// `weigh` turns the keys of every chunk into weights, kept where y will be, and sums the
// chunk as seen from both of its ends; `join` carries those sums from chunk to chunk in both
// directions; `emit` has every chunk write its means. Chunks know nothing of each other in
// the first and the last phase, so that any number of threads may share them, with the same
// result. One thread, or two, carry as they go instead (`weigh_half` and `emit_half`): the same
// sums in the same order, and the same bits. Compiled once per instruction set (see
// CMakeLists.txt).
#include "chunk_io.h"
#include "strip.h"

namespace rwkv {
namespace RWKV_TARGET {
namespace {

// The side from which a phase carries sums along as it goes through its chunks, if it does.
enum Way { kAlone, kFromPast, kFromFuture };

constexpr int weigh_step(Way way) { return way == kFromFuture ? -1 : 1; }

// What was weighed last is in the cache still, and is emitted first.
constexpr int emit_step(Way way) { return way == kFromPast ? 1 : -1; }

// What reaches the next chunk from one side: rows of the scratch memory.
RWKV_INLINE float* carry_at(const Strip& s, Way from, int64_t c) {
  return s.scratch + (from == kFromPast ? 0 : 3 * s.channels) + c;
}

RWKV_INLINE void carry_nothing(const Strip& s, Way from, int64_t first, int64_t end) {
  for (int64_t c = first * kWidth; c < end * kWidth; c += kWidth) {
    store_carry(carry_at(s, from, c), s.channels, nothing());
  }
}

// Keep what reaches a chunk where its own sums were, and carry on with both.
RWKV_INLINE void carry_on(const Strip& s, Way from, int64_t n, int64_t c, const Carry& own) {
  float* const rows = from == kFromPast ? past_rows(s, n, c) : future_rows(s, n, c);
  float* const carry = carry_at(s, from, c);
  const Carry reaches = load_carry(carry, s.channels);
  store_carry(rows, s.stride, reaches);
  const V run = load(s.constants.run + c);
  store_carry(carry, s.channels, normalized_keys(carried(reaches, own, run)));
}

RWKV_INLINE void carry_on(const Strip& s, Way from, int64_t n, int64_t c) {
  const float* const rows = from == kFromPast ? past_rows(s, n, c) : future_rows(s, n, c);
  carry_on(s, from, n, c, load_own(rows, s.stride, load(level_row(s, n, c))));
}

template <Way kWay>
RWKV_INLINE void weigh_chunk(const Strip& s, int64_t n, int64_t c, const Peak& peak,
                             const Rows<const float>& key, const Rows<const float>& value,
                             const Rows<float>& kept) {
  Ahead ahead = ahead_of(s, n, c, weigh_step(kWay));
  prefetch_states(s, n + weigh_step(kWay), c);
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
  store(level_row(s, n, c), peak.level);
  if (kWay == kFromPast) {
    carry_on(s, kWay, n, c, {past.num, past.den, peak.level});
  } else {
    store_sums(past_rows(s, n, c), s.stride, past);
  }
  if (kWay == kFromFuture) {
    carry_on(s, kWay, n, c, {future.num, future.den, peak.level});
  } else {
    store_sums(future_rows(s, n, c), s.stride, future);
  }
}

// Both sides run through the chunk at once; each token is finished by the side that meets
// it last. `y` holds the weights before.
template <Way kWay>
RWKV_INLINE void emit_chunk(const Strip& s, int64_t n, int64_t c, const Reaching& reaching,
                            const Rows<const float>& value, const Rows<float>& y) {
  Sums met[kChunk];
  Ahead ahead = ahead_of(s, n, c, emit_step(kWay));
  prefetch_states(s, n + emit_step(kWay), c);
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

// The peak of the place after this one is found ahead of time, since all that a chunk does
// has to wait for it.
template <Way kWay>
RWKV_INLINE void weigh_all(const Strip& s, int64_t first, int64_t end) {
  Padding key, value, weight;
  constexpr int step = weigh_step(kWay);
  const int64_t start = step > 0 ? first : end - 1;
  Peak next = peak_at(s, start, 0, &key);
  for (int64_t n = start; n >= first && n < end; n += step) {
    const int count = tokens_of(s, n);
    for (int64_t c = 0; c < s.channels; c += kWidth) {
      const Peak peak = next;
      if (c + kWidth < s.channels) {
        next = peak_at(s, n, c + kWidth, &key);
      } else if (n + step >= first && n + step < end) {
        next = peak_at(s, n + step, 0, &key);
      }
      const Rows<float> y = rows_of(s.y, s, n, c);
      const bool is_whole = count == kChunk;
      weigh_chunk<kWay>(s, n, c, peak, padded(rows_of(s.k, s, n, c), count, -INFINITY, &key),
                        padded(rows_of(s.v, s, n, c), count, 0.0f, &value),
                        is_whole ? y : rows_in(&weight));
      if (!is_whole) copy_rows(rows_in(&weight), y, count);
    }
  }
}

template <Way kWay>
RWKV_INLINE Reaching next_reaching(const Strip& s, int64_t n, int64_t c) {
  if (kWay != kAlone) carry_on(s, kWay, n, c);
  return reaching_at(s, n, c);
}

template <Way kWay>
RWKV_INLINE void emit_all(const Strip& s, int64_t first, int64_t end) {
  Padding value, weight;
  constexpr int step = emit_step(kWay);
  const int64_t start = step > 0 ? first : end - 1;
  Reaching next = next_reaching<kWay>(s, start, 0);
  for (int64_t n = start; n >= first && n < end; n += step) {
    const int count = tokens_of(s, n);
    for (int64_t c = 0; c < s.channels; c += kWidth) {
      const Reaching reaching = next;
      if (c + kWidth < s.channels) {
        next = next_reaching<kWay>(s, n, c + kWidth);
      } else if (n + step >= first && n + step < end) {
        next = next_reaching<kWay>(s, n + step, 0);
      }
      const Rows<float> y = rows_of(s.y, s, n, c);
      const bool is_whole = count == kChunk;
      if (!is_whole) padded(rows_of<const float>(s.y, s, n, c), count, 0.0f, &weight);
      emit_chunk<kWay>(s, n, c, reaching, padded(rows_of(s.v, s, n, c), count, 0.0f, &value),
                       is_whole ? y : rows_in(&weight));
      if (!is_whole) copy_rows(rows_in(&weight), y, count);
    }
  }
}

}  // namespace

void weigh(const Strip& s, int64_t first, int64_t end) { weigh_all<kAlone>(s, first, end); }

void join(const Strip& s, int64_t first, int64_t end) {
  const int64_t chunks = chunks_of(s.tokens);
  carry_nothing(s, kFromPast, first, end);
  carry_nothing(s, kFromFuture, first, end);
  for (int64_t n = 0; n < chunks; ++n) {
    for (int64_t c = first * kWidth; c < end * kWidth; c += kWidth) {
      carry_on(s, kFromPast, n, c);
      carry_on(s, kFromFuture, chunks - 1 - n, c);
    }
  }
}

void emit(const Strip& s, int64_t first, int64_t end) { emit_all<kAlone>(s, first, end); }

// One thread carries the past along as it weighs, and the future as it comes back to emit. Of
// two that share an image the other one begins at the end, with the future: they meet, and each
// turns round with what the other has carried there, while what is its own lies in its cache.
// The first one's chunks begin at 0.
void weigh_half(const Strip& s, int64_t first, int64_t end) {
  const int64_t vectors = s.channels / kWidth;
  if (first == 0) {
    carry_nothing(s, kFromPast, 0, vectors);
    if (end == chunks_of(s.tokens)) carry_nothing(s, kFromFuture, 0, vectors);
    weigh_all<kFromPast>(s, first, end);
  } else {
    carry_nothing(s, kFromFuture, 0, vectors);
    weigh_all<kFromFuture>(s, first, end);
  }
}

void emit_half(const Strip& s, int64_t first, int64_t end) {
  if (first == 0) {
    emit_all<kFromFuture>(s, first, end);
  } else {
    emit_all<kFromPast>(s, first, end);
  }
}

int vector_width() { return kWidth; }

}  // namespace RWKV_TARGET
}  // namespace rwkv
