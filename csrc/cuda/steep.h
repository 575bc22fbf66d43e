// Channels whose decay or bonus is beyond float32 sums: in float64, relative to logarithms.
//
// The mathematics is that of cpu/steep.cpp; here 128 threads take a span's tokens together
// and scan them by doubling. A block goes through its group's channels, and returns at once
// if none is steep, which is what trained networks give it. Slow, and right.
#pragma once

#include "layout.h"

namespace rwkv {

constexpr double kEmpty = -1e300;  // log-weight of nothing; finite, so differences are not NaN

// Functions that are called, not inlined: compiled once, they halve the compiler's time.
#if defined(__CUDACC__)
#define RWKV_CALLED static __device__ __noinline__
#else
#define RWKV_CALLED static
#endif

// Sums over a run of tokens, seen from the token next to it, divided by exp(level); `far`
// ones are weighted by distance.
struct Pile {
  double num;
  double den;
  double far_num;
  double far_den;
  double level;
};

RWKV_INLINE double larger64(double a, double b) { return a > b ? a : b; }  // NaN in b is kept

RWKV_INLINE Pile empty_pile() { return {0.0, 0.0, 0.0, 0.0, kEmpty}; }

// A run of tokens and, behind it, the nearer one, which is `tokens` long.
RWKV_CALLED Pile piled(const Pile& far, const Pile& near, double tokens, double w) {
  const double reached = far.level - w * tokens;
  const double level = larger64(reached, near.level);
  const double a = exp(reached - level);
  const double b = exp(near.level - level);
  return {far.num * a + near.num * b, far.den * a + near.den * b,
          (far.far_num + tokens * far.num) * a + near.far_num * b,
          (far.far_den + tokens * far.den) * a + near.far_den * b, level};
}

RWKV_INLINE void put_pile(double* slot, const Pile& pile) {
  slot[0] = pile.num;
  slot[kSpan] = pile.den;
  slot[2 * kSpan] = pile.far_num;
  slot[3 * kSpan] = pile.far_den;
  slot[4 * kSpan] = pile.level;
}

RWKV_INLINE Pile pile_in(const double* slot) {
  return {slot[0], slot[kSpan], slot[2 * kSpan], slot[3 * kSpan], slot[4 * kSpan]};
}

// What the token of this rank receives from those of lower rank and from `carry`, which
// then takes in all of the span. Every thread gets the same carry.
RWKV_CALLED Pile received_pile(const Pile& own, int rank, Pile& carry, double w, double* shared) {
  double* here = shared;
  double* next = shared + 5 * kSpan;
  Pile pile = own;
  put_pile(here + rank, pile);
  __syncthreads();
  for (int reach = 1; reach < kSpan; reach *= 2) {
    if (rank >= reach) pile = piled(pile_in(here + rank - reach), pile, reach, w);
    put_pile(next + rank, pile);
    __syncthreads();
    double* swapped = here;
    here = next;
    next = swapped;
  }
  const Pile received = rank ? piled(carry, pile_in(here + rank - 1), rank, w) : carry;
  carry = piled(carry, pile_in(here + kSpan - 1), kSpan, w);
  __syncthreads();
  return received;
}

// A float64 in two rows of float32, bit by bit.
RWKV_INLINE void store_double(float* rows, long long stride, double x) {
  long long bits;
  memcpy(&bits, &x, sizeof bits);
  int* words = reinterpret_cast<int*>(rows);
  words[0] = int(bits);
  words[stride] = int(bits >> 32);
}

RWKV_INLINE double load_double(const float* rows, long long stride) {
  const int* words = reinterpret_cast<const int*>(rows);
  const long long bits =
      (long long)(unsigned long long)((unsigned)words[stride]) << 32 | (unsigned)words[0];
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Keep the first `doubles` of num, den, level, far_num, far_den; all threads have the same.
RWKV_INLINE void keep_pile(float* rows, long long stride, const Pile& pile, bool is_whole) {
  if (threadIdx.x != 0) return;
  store_double(rows, stride, pile.num);
  store_double(rows + 2 * stride, stride, pile.den);
  store_double(rows + 4 * stride, stride, pile.level);
  if (!is_whole) return;
  store_double(rows + 6 * stride, stride, pile.far_num);
  store_double(rows + 8 * stride, stride, pile.far_den);
}

RWKV_INLINE Pile kept_pile(const float* rows, long long stride, bool is_whole) {
  Pile pile = {load_double(rows, stride), load_double(rows + 2 * stride, stride), 0.0, 0.0,
               load_double(rows + 4 * stride, stride)};
  if (!is_whole) return pile;
  pile.far_num = load_double(rows + 6 * stride, stride);
  pile.far_den = load_double(rows + 8 * stride, stride);
  return pile;
}

// A steep channel of one image.
struct Steep {
  double w;
  double u;
  long long origin;  // of the channel's first token, in elements
  float* kept;       // record of span 0, in the memory for what spans receive
  long long record;  // floats from one record to the next
  double* shared;
};

// A token of a steep channel: this thread's of a span.
struct SteepToken {
  long long at;  // in elements
  bool exists;
  double key;
  double value;
};

RWKV_INLINE SteepToken token_of(const Call& call, const Steep& steep, unsigned span) {
  const long long t = (long long)span * kSpan + threadIdx.x;
  SteepToken token = {steep.origin + t * call.channels, t < call.tokens, 0.0, 0.0};
  if (!token.exists) return token;
  token.key = float_from(call.k[token.at]);
  if (token.key < kNothing) token.key = kNothing;  // -inf minus -inf is NaN; a NaN passes
  token.value = float_from(call.v[token.at]);
  return token;
}

RWKV_INLINE Pile pile_of(bool exists, double log_weight, double num, double den) {
  return exists ? Pile{num, den, 0.0, 0.0, log_weight} : empty_pile();
}

// What keys from the past and the future bring to a token, and the carries behind it.
struct Means {
  double y;
  double log_total;
};

RWKV_CALLED Means means_of(const Steep& steep, const SteepToken& token, Pile& past, Pile future) {
  const Pile own = pile_of(token.exists, token.key, token.value, 1.0);
  const int rank = int(threadIdx.x);
  const Pile before = received_pile(own, rank, past, steep.w, steep.shared);
  const Pile after = received_pile(own, kSpan - 1 - rank, future, steep.w, steep.shared);
  const double self = steep.u + token.key;
  const double level = larger64(larger64(before.level, after.level), self);
  const double a = exp(before.level - level);
  const double b = exp(after.level - level);
  const double c = exp(self - level);
  const double total = a * before.den + b * after.den + c;
  return {(a * before.num + b * after.num + c * token.value) / total, level + log(total)};
}

// Keep what each span receives of keys from the future, from row 0 of its record on.
RWKV_INLINE void keep_future_keys(const Call& call, const Steep& steep, unsigned spans) {
  Pile future = empty_pile();
  for (unsigned span = spans; span-- > 0;) {
    keep_pile(steep.kept + span * steep.record, call.channels, future, false);
    const SteepToken token = token_of(call, steep, span);
    const Pile own = pile_of(token.exists, token.key, token.value, 1.0);
    received_pile(own, kSpan - 1 - int(threadIdx.x), future, steep.w, steep.shared);
  }
  __syncthreads();
}

RWKV_INLINE void steep_means(const Call& call, const Steep& steep, unsigned spans) {
  keep_future_keys(call, steep, spans);
  Pile past = empty_pile();
  for (unsigned span = 0; span < spans; ++span) {
    const Pile future = kept_pile(steep.kept + span * steep.record, call.channels, false);
    const SteepToken token = token_of(call, steep, span);
    const Means means = means_of(steep, token, past, future);
    if (token.exists) call.y[token.at] = element_from(float(means.y));
  }
}

// What one side of a token adds to its gradients.
struct Share {
  double dk;
  double dv;
  double dw;
};

RWKV_INLINE Share share_of(const Pile& rates, const SteepToken& token) {
  const double weight = exp(token.key + rates.level);
  return {weight * (token.value * rates.den - rates.num), weight * rates.den,
          weight * (rates.far_num - token.value * rates.far_den)};
}

RWKV_INLINE double gradient_by_y(const Call& call, const SteepToken& token) {
  return token.exists ? double(float_from(call.gy[token.at])) : 0.0;
}

constexpr int kPastKeysRow = 6;  // after the future's three float64
constexpr int kRatesRow = 12;

// Keep what each span receives of keys from the past, and of rates from the future.
RWKV_INLINE void keep_rates(const Call& call, const Steep& steep, unsigned spans) {
  Pile past = empty_pile();
  for (unsigned span = 0; span < spans; ++span) {
    keep_pile(steep.kept + span * steep.record + kPastKeysRow * call.channels, call.channels, past,
              false);
    const SteepToken token = token_of(call, steep, span);
    const Pile own = pile_of(token.exists, token.key, token.value, 1.0);
    received_pile(own, int(threadIdx.x), past, steep.w, steep.shared);
  }
  __syncthreads();
  Pile future_rates = empty_pile();
  for (unsigned span = spans; span-- > 0;) {
    float* kept = steep.kept + span * steep.record;
    keep_pile(kept + kRatesRow * call.channels, call.channels, future_rates, true);
    const Pile future = kept_pile(kept, call.channels, false);
    past = kept_pile(kept + kPastKeysRow * call.channels, call.channels, false);
    const SteepToken token = token_of(call, steep, span);
    const Means means = means_of(steep, token, past, future);
    const double g = gradient_by_y(call, token);
    const Pile own = pile_of(token.exists, -means.log_total, g * means.y, g);
    received_pile(own, kSpan - 1 - int(threadIdx.x), future_rates, steep.w, steep.shared);
  }
  __syncthreads();
}

// Add up over the block's threads, in a fixed order; thread 0 has the sum.
RWKV_INLINE double sum_over_threads(double x, double* shared) {
  shared[threadIdx.x] = x;
  for (int reach = kSpan / 2; reach > 0; reach /= 2) {
    __syncthreads();
    if (int(threadIdx.x) < reach) shared[threadIdx.x] += shared[threadIdx.x + reach];
  }
  __syncthreads();
  const double sum = shared[0];
  __syncthreads();
  return sum;
}

// Keep dw and du of the channel in the image, as those of its first span.
RWKV_INLINE void keep_steep_slopes(const Call& call, const Steep& steep, unsigned spans, double dw,
                                   double du) {
  dw = sum_over_threads(dw, steep.shared);
  du = sum_over_threads(du, steep.shared);
  for (unsigned span = threadIdx.x; span < spans; span += kSpan) {
    float* kept = steep.kept + span * steep.record + kSteepRows * call.channels;
    kept[0] = span ? 0.0f : float(dw);
    kept[call.channels] = span ? 0.0f : float(du);
  }
}

RWKV_INLINE void steep_slopes(const Call& call, const Steep& steep, unsigned spans) {
  keep_future_keys(call, steep, spans);
  keep_rates(call, steep, spans);
  Pile past = empty_pile();
  Pile past_rates = empty_pile();
  double dw = 0.0, du = 0.0;
  for (unsigned span = 0; span < spans; ++span) {
    const float* kept = steep.kept + span * steep.record;
    const Pile future = kept_pile(kept, call.channels, false);
    Pile future_rates = kept_pile(kept + kRatesRow * call.channels, call.channels, true);
    const SteepToken token = token_of(call, steep, span);
    const Means means = means_of(steep, token, past, future);
    const double g = gradient_by_y(call, token);
    const Pile own = pile_of(token.exists, -means.log_total, g * means.y, g);
    const int rank = int(threadIdx.x);
    const Share before =
        share_of(received_pile(own, rank, past_rates, steep.w, steep.shared), token);
    const Share after = share_of(
        received_pile(own, kSpan - 1 - rank, future_rates, steep.w, steep.shared), token);
    if (!token.exists) continue;
    const double weight = exp(steep.u + token.key - means.log_total) * g;
    const double pair = weight * (token.value - means.y);
    call.dk[token.at] = element_from(float(before.dk + after.dk + pair));
    call.dv[token.at] = element_from(float(before.dv + after.dv + weight));
    dw += before.dw + after.dw;
    du += pair;
  }
  keep_steep_slopes(call, steep, spans, dw, du);
}

// Go through the channels of a group of an image, and do those that are steep.
template <bool kIsBackward>
RWKV_INLINE void do_steep(const Call& call, double* shared) {
  const unsigned groups = groups_of(call);
  const long long image = blockIdx.x / groups;
  const long long first = (long long)(blockIdx.x % groups) * kLanes;
  const unsigned spans = spans_of(call);
  const int rows = kIsBackward ? kRecordRows : kCarryRows;
  float* memory = kIsBackward ? call.scratch : call.states;
  for (long long c = first; c < first + kLanes && c < call.channels; ++c) {
    const float w = call.w[c];
    const float u = call.u[c];
    if (kIsBackward ? is_mild_for_slopes(w, u, call.tokens) : is_mild(w, u)) continue;
    const Steep steep = {w, u, image * call.tokens * call.channels + c,
                         memory + image * spans * rows * call.channels + c, rows * call.channels,
                         shared};
    if (kIsBackward) {
      steep_slopes(call, steep, spans);
    } else {
      steep_means(call, steep, spans);
    }
  }
}

}  // namespace rwkv
