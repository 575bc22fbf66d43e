// The C face: checks its arguments, cuts a call into pieces, and has threads do them.
#include "../rwkv_kernels.h"

#include <stdlib.h>

#include <atomic>

#include "instruction_set.h"
#include "job.h"
#include "threads.h"

namespace rwkv {
namespace {

constexpr int64_t kLeastWork = 16 * 1024;  // elements per thread: below, waking one costs more

// How one image's channels are cut: into `groups` of `width`, as wide as leaves every thread
// its share (long rows are what memory is fast at), the last one narrower; and what is left
// of the last vector apart, so that only that one has to be copied.
struct Cut {
  int64_t width;
  int64_t whole;  // channels in whole vectors
  int64_t groups;
  int64_t pieces;  // per image
};

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

Cut cut_of(const Call& call, int vector, int threads) {
  const int64_t whole = call.channels / vector * vector;
  const int64_t shares = divide_up(threads, call.batch);
  const int64_t width = divide_up(whole > 0 ? divide_up(whole, shares) : 1, vector) * vector;
  const int64_t groups = divide_up(whole, width);
  return {width, whole, groups, groups + (call.channels > whole ? 1 : 0)};
}

struct Work {
  const Call& call;
  const Kernels& kernels;
  Cut cut;
  std::atomic<bool> failed;
};

void do_task(void* context, int64_t task) {
  Work& work = *static_cast<Work*>(context);
  const Cut& cut = work.cut;
  const int64_t group = task % cut.pieces;
  const int64_t first = group < cut.groups ? group * cut.width : cut.whole;
  const int64_t whole_end = first + cut.width < cut.whole ? first + cut.width : cut.whole;
  const int64_t end = group < cut.groups ? whole_end : work.call.channels;
  if (!do_piece(work.call, {task / cut.pieces, first, end - first}, work.kernels)) {
    work.failed = true;
  }
}

int run(const Call& call, int threads) {
  const Kernels& chosen = kernels();
  const int64_t elements = call.batch * call.tokens * call.channels;
  const int useful = int(clamp(elements / kLeastWork, 1, clamp(threads, 1, 256)));
  Work work{call, chosen, cut_of(call, chosen.width, useful), {false}};
  run_tasks(call.batch * work.cut.pieces, useful, do_task, &work);
  return work.failed ? RWKV_OUT_OF_MEMORY : RWKV_OK;
}

// Sum over images in their order, so that the result does not depend on the threads.
void sum_over_batch(const float* parts, int64_t batch, int64_t channels, float* sums) {
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0.0;
    for (int64_t b = 0; b < batch; ++b) sum += double(parts[b * channels + c]);
    sums[c] = float(sum);
  }
}

}  // namespace
}  // namespace rwkv

int rwkv_abi_version(void) { return RWKV_ABI_VERSION; }

const char* rwkv_instruction_set(void) { return rwkv::kernels().name; }

int rwkv_use_instruction_set(const char* name) {
  return name && rwkv::use_kernels(name) ? RWKV_OK : RWKV_NOT_SUPPORTED;
}

int64_t rwkv_state_rows(int64_t tokens) { return rwkv::kStateRows * rwkv::chunks_of(tokens); }

int rwkv_bi_wkv_forward(int64_t batch, int64_t tokens, int64_t channels, const float* w,
                        const float* u, const float* k, const float* v, float* y, float* states,
                        int threads) {
  if (batch < 1 || tokens < 1 || channels < 1) return RWKV_BAD_ARGUMENT;
  if (!w || !u || !k || !v || !y || !states) return RWKV_BAD_ARGUMENT;
  rwkv::Call call{};
  call.batch = batch;
  call.tokens = tokens;
  call.channels = channels;
  call.w = w;
  call.u = u;
  call.k = k;
  call.v = v;
  call.y = y;
  call.states = states;
  return rwkv::run(call, threads);
}

int rwkv_bi_wkv_backward(int64_t batch, int64_t tokens, int64_t channels, const float* w,
                         const float* u, const float* k, const float* v, const float* y,
                         const float* states, const float* gy, float* dw, float* du, float* dk,
                         float* dv, int threads) {
  if (batch < 1 || tokens < 1 || channels < 1) return RWKV_BAD_ARGUMENT;
  if (!w || !u || !k || !v || !y || !states || !gy) return RWKV_BAD_ARGUMENT;
  if (!dw || !du || !dk || !dv) return RWKV_BAD_ARGUMENT;
  float* parts = static_cast<float*>(malloc(size_t(2 * batch * channels) * sizeof(float)));
  if (!parts) return RWKV_OUT_OF_MEMORY;
  // The sweeps only read y and states here; Strip has one kind of pointer for both passes.
  rwkv::Call call{batch, tokens, channels, w, u, k, v, const_cast<float*>(y),
                  const_cast<float*>(states), gy, dk, dv, parts, parts + batch * channels};
  const int result = rwkv::run(call, threads);
  rwkv::sum_over_batch(call.dw, batch, channels, dw);
  rwkv::sum_over_batch(call.du, batch, channels, du);
  free(parts);
  return result;
}
