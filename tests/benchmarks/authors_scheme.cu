// For comparison only: Bi-WKV parallelised as the authors of Vision-RWKV do, in our words.
//
// A block is 32 chunks of T / 32 tokens by 32 channels, one thread for each; a thread carries
// running maxima through its chunk, chunks meet in shared memory, and each thread joins all
// others' sums one after another. On one image a few blocks are all there is, however many
// tokens; that is what our kernels are compared with. Two things differ from the authors': the
// hand-over between chunks keeps to the formula, and any C and T will do. As in theirs, what
// lies ahead in a chunk is what is left of a sum when tokens are taken out of it again, which
// costs digits: 1e-3 is what to expect for strong decays.
//
// float32; one Call by value, as the kernels of csrc/cuda/bi_wkv.cu. For both kernels: B times
// (C / 32, rounded up) blocks of 1024 threads, 40960 bytes of shared memory. The backward
// kernel wants y, 2 * B * T * C floats in `scratch`, and leaves dw and du of each image in
// `states`, (2, B, C).
#include "lane.h"
#include "element.h"
#include "layout.h"

namespace authors {

using rwkv::Call;

constexpr int kParts = 32;  // of a sequence

// Sums over some tokens seen from one next to them, divided by exp(top); `far` ones are
// weighted by distance.
struct Running {
  float num, den, far_num, far_den, top;
};

RWKV_INLINE Running nothing() { return {0.0f, 0.0f, 0.0f, 0.0f, -1e30f}; }

// Take in a token and step over it.
RWKV_INLINE void pass(Running& r, float w, float log_weight, float num, float den) {
  const float top = fmaxf(r.top - w, log_weight);
  const float old = expf(r.top - w - top);
  const float fresh = expf(log_weight - top);
  r = {r.num * old + num * fresh, r.den * old + den * fresh, (r.far_num + r.num) * old,
       (r.far_den + r.den) * old, top};
}

// Take out the nearest token and step towards the others.
RWKV_INLINE void leave(Running& r, float w, float log_weight, float num, float den) {
  const float weight = expf(log_weight - r.top);
  r.num -= num * weight;
  r.den -= den * weight;
  r.far_num -= r.num;
  r.far_den -= r.den;
  r.top += w;
}

// A far run of tokens seen across a near one, which is `tokens` long, and that one.
RWKV_INLINE Running joined(const Running& far, const Running& near, float tokens, float w) {
  const float reached = far.top - w * tokens;
  const float top = fmaxf(reached, near.top);
  const float a = expf(reached - top);
  const float b = expf(near.top - top);
  return {far.num * a + near.num * b, far.den * a + near.den * b,
          (far.far_num + tokens * far.num) * a + near.far_num * b,
          (far.far_den + tokens * far.den) * a + near.far_den * b, top};
}

// One thread's part of a channel of an image.
struct Part {
  int number;
  int lane;
  bool is_used;
  long long length;
  long long begin;
  long long end;
  long long origin;   // of token 0, in elements
  long long channel;  // of (B, C)
  float w;
  float u;
};

RWKV_INLINE Part part_of(const Call& call) {
  const long long groups = (call.channels + 31) / 32;
  const long long image = blockIdx.x / groups;
  Part p;
  p.number = int(threadIdx.x) / 32;
  p.lane = int(threadIdx.x) % 32;
  long long c = (long long)(blockIdx.x % groups) * 32 + p.lane;
  p.is_used = c < call.channels;
  c = p.is_used ? c : call.channels - 1;
  p.length = (call.tokens + kParts - 1) / kParts;
  p.begin = p.number * p.length < call.tokens ? p.number * p.length : call.tokens;
  p.end = p.begin + p.length < call.tokens ? p.begin + p.length : call.tokens;
  p.origin = image * call.tokens * call.channels + c;
  p.channel = image * call.channels + c;
  p.w = call.w[c];
  p.u = call.u[c];
  return p;
}

RWKV_INLINE void put(float* shared, int side, int number, int lane, const Running& r) {
  float* slot = shared + side * kParts * 160 + number * 160 + lane;
  slot[0] = r.num;
  slot[32] = r.den;
  slot[64] = r.far_num;
  slot[96] = r.far_den;
  slot[128] = r.top;
}

RWKV_INLINE Running taken(const float* shared, int side, int number, int lane) {
  const float* slot = shared + side * kParts * 160 + number * 160 + lane;
  return {slot[0], slot[32], slot[64], slot[96], slot[128]};
}

// What the token before the part, and the token after it, see on their far sides: all that
// went before, and all that is still to come, the part's own tokens included.
struct Sides {
  Running past;
  Running ahead;
};

RWKV_INLINE Sides meet(const Part& p, const Running& past, const Running& ahead, float* shared) {
  __syncthreads();
  put(shared, 0, p.number, p.lane, past);
  put(shared, 1, p.number, p.lane, ahead);
  __syncthreads();
  Sides sides = {nothing(), nothing()};
  const float length = float(p.length);
  for (int n = 0; n < p.number; ++n) {
    sides.past = joined(sides.past, taken(shared, 0, n, p.lane), length, p.w);
  }
  for (int n = kParts - 1; n >= p.number; --n) {
    sides.ahead = joined(sides.ahead, taken(shared, 1, n, p.lane), length, p.w);
  }
  return sides;
}

RWKV_INLINE Sides keys_of(const Call& call, const Part& p, float* shared) {
  Running past = nothing();
  Running ahead = nothing();
  for (long long t = p.begin; t < p.end; ++t) {
    const long long at = p.origin + t * call.channels;
    pass(past, p.w, call.k[at], call.v[at], 1.0f);
  }
  for (long long t = p.end - 1; t >= p.begin; --t) {
    const long long at = p.origin + t * call.channels;
    pass(ahead, p.w, call.k[at], call.v[at], 1.0f);
  }
  return meet(p, past, ahead, shared);
}

RWKV_INLINE void forward(const Call& call, float* shared) {
  const Part p = part_of(call);
  Sides s = keys_of(call, p, shared);
  for (long long t = p.begin; t < p.end; ++t) {
    const long long at = p.origin + t * call.channels;
    const float k = call.k[at];
    const float v = call.v[at];
    leave(s.ahead, p.w, k, v, 1.0f);
    const float top = fmaxf(fmaxf(s.past.top, s.ahead.top), p.u + k);
    const float a = expf(s.past.top - top);
    const float b = expf(s.ahead.top - top);
    const float c = expf(p.u + k - top);
    const float den = a * s.past.den + b * s.ahead.den + c;
    if (p.is_used) call.y[at] = (a * s.past.num + b * s.ahead.num + c * v) / den;
    pass(s.past, p.w, k, v, 1.0f);
  }
}

// Keep each token's sum of weights, and add up dw and du.
RWKV_INLINE void keep_totals(const Call& call, const Part& p, Sides s, float& dw, float& du) {
  float* tops = call.scratch;
  float* rates = call.scratch + call.batch * call.tokens * call.channels;
  for (long long t = p.begin; t < p.end; ++t) {
    const long long at = p.origin + t * call.channels;
    const float k = call.k[at];
    const float v = call.v[at];
    const float y = call.y[at];
    leave(s.ahead, p.w, k, v, 1.0f);
    const float top = fmaxf(fmaxf(s.past.top, s.ahead.top), p.u + k);
    const float a = expf(s.past.top - top);
    const float b = expf(s.ahead.top - top);
    const float c = expf(p.u + k - top);
    const float rate = call.gy[at] / (a * s.past.den + b * s.ahead.den + c);
    dw -= rate * (a * (s.past.far_num - y * s.past.far_den) +
                  b * (s.ahead.far_num - y * s.ahead.far_den));
    du += rate * c * (v - y);
    if (p.is_used) {
      tops[at] = top;
      rates[at] = rate;
    }
    pass(s.past, p.w, k, v, 1.0f);
  }
}

// Add up a number of each of a channel's parts; the first part has the sum.
RWKV_INLINE float sum_of_parts(const Part& p, float x, float* shared) {
  __syncthreads();
  shared[threadIdx.x] = x;
  __syncthreads();
  float sum = 0.0f;
  for (int n = 0; n < kParts; ++n) sum += shared[n * 32 + p.lane];
  return sum;
}

RWKV_INLINE void backward(const Call& call, float* shared) {
  const Part p = part_of(call);
  const float* tops = call.scratch;
  const float* rates = call.scratch + call.batch * call.tokens * call.channels;
  float dw = 0.0f;
  float du = 0.0f;
  keep_totals(call, p, keys_of(call, p, shared), dw, du);
  Running past = nothing();
  Running ahead = nothing();
  for (long long t = p.begin; p.is_used && t < p.end; ++t) {
    const long long at = p.origin + t * call.channels;
    pass(past, p.w, -tops[at], rates[at] * call.y[at], rates[at]);
  }
  for (long long t = p.end - 1; p.is_used && t >= p.begin; --t) {
    const long long at = p.origin + t * call.channels;
    pass(ahead, p.w, -tops[at], rates[at] * call.y[at], rates[at]);
  }
  Sides s = meet(p, past, ahead, shared);
  for (long long t = p.begin; p.is_used && t < p.end; ++t) {
    const long long at = p.origin + t * call.channels;
    const float k = call.k[at];
    const float v = call.v[at];
    const float y = call.y[at];
    leave(s.ahead, p.w, -tops[at], rates[at] * y, rates[at]);
    const float a = expf(k + s.past.top);
    const float b = expf(k + s.ahead.top);
    const float own = expf(p.u + k - tops[at]) * rates[at];
    call.dk[at] = a * (v * s.past.den - s.past.num) + b * (v * s.ahead.den - s.ahead.num) +
                  own * (v - y);
    call.dv[at] = a * s.past.den + b * s.ahead.den + own;
    pass(s.past, p.w, -tops[at], rates[at] * y, rates[at]);
  }
  dw = sum_of_parts(p, dw, shared);
  du = sum_of_parts(p, du, shared);
  if (p.number != 0 || !p.is_used) return;
  call.states[p.channel] = dw;
  call.states[call.batch * call.channels + p.channel] = du;
}

}  // namespace authors

extern "C" __global__ void __launch_bounds__(1024, 1) authors_forward(rwkv::Call call) {
  authors::forward(call, reinterpret_cast<float*>(rwkv_shared));
}

extern "C" __global__ void __launch_bounds__(1024, 1) authors_backward(rwkv::Call call) {
  authors::backward(call, reinterpret_cast<float*>(rwkv_shared));
}
