// The parallelisation of the model authors' CUDA kernels, written anew for a CPU, to time.
//
// A channel's tokens are split among kSplit chunks. Every chunk is summed on its own, in both
// directions, with a running maximum that falls by w a token and two exponentials a token;
// then every chunk combines what the others left, one by one, and runs through its tokens
// again. It computes the formula of csrc/rwkv_kernels.h, not the released kernels' departures
// from it. Sixteen channels at a time, so that the compiler can use vectors.
#include <math.h>
#include <stdint.h>

#include <vector>

namespace {

constexpr int kSplit = 32;
constexpr int kLanes = 16;

// Sums of weight times value and of weights, both times exp(-top).
struct Sums {
  float num[kLanes];
  float den[kLanes];
  float top[kLanes];
};

void clear(Sums& s) {
  for (int c = 0; c < kLanes; ++c) {
    s.num[c] = s.den[c] = 0.0f;
    s.top[c] = -1e38f;
  }
}

// Multiply what is there by exp(-decay) and add a term of log-weight k.
inline void add(Sums& s, const float* decay, const float* k, const float* num, const float* den) {
  for (int c = 0; c < kLanes; ++c) {
    const float old = s.top[c] - decay[c];
    const float top = fmaxf(old, k[c]);
    const float kept = expf(old - top);
    const float fresh = expf(k[c] - top);
    s.num[c] = s.num[c] * kept + num[c] * fresh;
    s.den[c] = s.den[c] * kept + den[c] * fresh;
    s.top[c] = top;
  }
}

struct Block {
  int64_t tokens;
  int64_t stride;
  const float* w;
  const float* u;
  const float* k;
  const float* v;
  float* y;
};

void emit_chunk(const Block& b, int64_t first, int64_t end, Sums past, Sums future,
                std::vector<Sums>& later) {
  float one[kLanes];
  for (float& x : one) x = 1.0f;
  for (int64_t t = end - 1; t >= first; --t) {
    later[t - first] = future;
    add(future, b.w, b.k + t * b.stride, b.v + t * b.stride, one);
  }
  for (int64_t t = first; t < end; ++t) {
    const float* k = b.k + t * b.stride;
    const float* v = b.v + t * b.stride;
    const Sums& after = later[t - first];
    for (int c = 0; c < kLanes; ++c) {
      const float own = b.u[c] + k[c];
      const float top = fmaxf(fmaxf(past.top[c], after.top[c]), own);
      const float before = expf(past.top[c] - top);
      const float behind = expf(after.top[c] - top);
      const float here = expf(own - top);
      b.y[t * b.stride + c] =
          (past.num[c] * before + after.num[c] * behind + v[c] * here) /
          (past.den[c] * before + after.den[c] * behind + here);
    }
    add(past, b.w, k, v, one);
  }
}

void run_block(const Block& b) {
  const int64_t length = (b.tokens + kSplit - 1) / kSplit;
  const int64_t chunks = (b.tokens + length - 1) / length;
  std::vector<Sums> forward(chunks), backward(chunks), later(length);
  float one[kLanes], far[kLanes];
  for (int c = 0; c < kLanes; ++c) {
    one[c] = 1.0f;
    far[c] = b.w[c] * float(length);
  }
  for (int64_t n = 0; n < chunks; ++n) {
    const int64_t first = n * length;
    const int64_t end = first + length < b.tokens ? first + length : b.tokens;
    clear(forward[n]);
    clear(backward[n]);
    for (int64_t t = first; t < end; ++t) {
      add(forward[n], b.w, b.k + t * b.stride, b.v + t * b.stride, one);
    }
    for (int64_t t = end - 1; t >= first; --t) {
      add(backward[n], b.w, b.k + t * b.stride, b.v + t * b.stride, one);
    }
  }
  for (int64_t n = 0; n < chunks; ++n) {
    const int64_t first = n * length;
    const int64_t end = first + length < b.tokens ? first + length : b.tokens;
    Sums past, future;
    clear(past);
    clear(future);
    for (int64_t m = 0; m < n; ++m) {
      add(past, far, forward[m].top, forward[m].num, forward[m].den);
    }
    for (int64_t m = chunks - 1; m > n; --m) {
      add(future, far, backward[m].top, backward[m].num, backward[m].den);
    }
    emit_chunk(b, first, end, past, future, later);
  }
}

}  // namespace

// As rwkv_bi_wkv_forward, without states; `channels` is a multiple of kLanes.
extern "C" void authors_forward(int64_t batch, int64_t tokens, int64_t channels, const float* w,
                                const float* u, const float* k, const float* v, float* y,
                                int threads) {
  const int64_t groups = channels / kLanes;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < batch * groups; ++i) {
    const int64_t c = i % groups * kLanes;
    const int64_t at = i / groups * tokens * channels + c;
    run_block({tokens, channels, w + c, u + c, k + at, v + at, y + at});
  }
}
