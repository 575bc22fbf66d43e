// The C face: checks its arguments, cuts a call into pieces, and has threads do them.
#include "../rwkv_kernels.h"

#include <stdlib.h>

#include <atomic>
#include <new>

#include "instruction_set.h"
#include "piece.h"
#include "threads.h"

namespace rwkv {
namespace {

constexpr int64_t kLeastWork = 16 * 1024;   // elements per thread: below, waking one costs more
constexpr int64_t kNearMemory = 16 << 20;   // bytes that stay in the caches between two phases
constexpr int64_t kLeastChannels = 64;      // of a piece: narrower rows waste memory's time

// How a call is cut. Every image's channels into `groups` of `width`: one for each thread
// that has no image of its own, and narrower still if the pieces that are under way would
// not stay in the caches from their first phase to their last; what is left of the last
// vector is a group apart, so that only that one has to be copied. Where that leaves threads
// idle, the tokens of every group into `segments`, whose phases wait for each other.
struct Cut {
  int64_t width;
  int64_t whole;  // channels in whole vectors
  int64_t groups;
  int64_t pieces;  // per image
  int64_t segments;
};

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

Cut cut_of(const Call& call, int vector, int64_t threads) {
  const int64_t whole = call.channels / vector * vector;
  const int64_t share = clamp(divide_up(whole, divide_up(threads, call.batch)), 1, whole + 1);
  const int64_t bytes = call.tokens * int64_t(sizeof(float)) * (call.gy ? 6 : 3);
  const int64_t most = clamp(kNearMemory / threads / bytes, kLeastChannels, share + kLeastChannels);
  const int64_t parts = divide_up(share, most);
  const int64_t width = divide_up(divide_up(share, parts), vector) * vector;
  const int64_t groups = divide_up(whole, width);
  const int64_t pieces = groups + (call.channels > whole ? 1 : 0);
  const int64_t total = pieces * call.batch;
  const bool is_even = total % threads == 0 || total >= 4 * threads;
  const int64_t chunks = chunks_of(call.tokens);
  return {width, whole, groups, pieces, is_even ? 1 : clamp(threads, 1, chunks)};
}

// All that a call's threads have to know.
struct Work {
  const Call& call;
  const Kernels& kernels;
  Cut cut;
  Piece* pieces;
  const Phase* phases;
  int phase_count;
  int phase;  // the one that is run by segments now
  std::atomic<bool> failed;
};

bool begin_piece(Work& work, int64_t index, Piece* piece) {
  const Cut& cut = work.cut;
  const int64_t group = index % cut.pieces;
  const int64_t first = group < cut.groups ? group * cut.width : cut.whole;
  const int64_t whole_end = first + cut.width < cut.whole ? first + cut.width : cut.whole;
  const int64_t end = group < cut.groups ? whole_end : work.call.channels;
  return piece->begin(work.call, work.kernels, index / cut.pieces, first, end - first);
}

// One piece, from its first phase to its last.
void do_piece(void* context, int64_t index) {
  Work& work = *static_cast<Work*>(context);
  Piece piece;
  if (!begin_piece(work, index, &piece)) {
    work.failed = true;
    return;
  }
  for (int i = 0; i < work.phase_count; ++i) {
    work.phases[i].run(piece.strip(), 0, chunks_of(work.call.tokens));
  }
  if (!piece.finish(work.call)) work.failed = true;
}

void begin_one(void* context, int64_t index) {
  Work& work = *static_cast<Work*>(context);
  if (!begin_piece(work, index, work.pieces + index)) work.failed = true;
}

void run_segment(void* context, int64_t task) {
  Work& work = *static_cast<Work*>(context);
  const Phase& phase = work.phases[work.phase];
  const int64_t segments = phase.by_chunk ? work.cut.segments : 1;
  const int64_t chunks = chunks_of(work.call.tokens);
  const int64_t segment = task % segments;
  phase.run(work.pieces[task / segments].strip(), chunks * segment / segments,
            chunks * (segment + 1) / segments);
}

void finish_one(void* context, int64_t index) {
  Work& work = *static_cast<Work*>(context);
  if (!work.pieces[index].finish(work.call)) work.failed = true;
}

void run_by_segments(Work& work, int64_t count, int threads) {
  work.pieces = new (std::nothrow) Piece[size_t(count)];
  if (!work.pieces) {
    work.failed = true;
    return;
  }
  run_tasks(count, threads, begin_one, &work);
  for (work.phase = 0; work.phase < work.phase_count && !work.failed; ++work.phase) {
    const int64_t segments = work.phases[work.phase].by_chunk ? work.cut.segments : 1;
    run_tasks(count * segments, threads, run_segment, &work);
  }
  if (!work.failed) run_tasks(count, threads, finish_one, &work);
  delete[] work.pieces;
}

int run(const Call& call, int threads) {
  const Kernels& chosen = kernels();
  const bool is_backward = call.gy != nullptr;
  const int64_t elements = call.batch * call.tokens * call.channels;
  const int useful = int(clamp(elements / kLeastWork, 1, clamp(threads, 1, 256)));
  const Cut cut = cut_of(call, chosen.width, useful);
  Work work{call, chosen, cut, nullptr, is_backward ? chosen.backward : chosen.forward,
            is_backward ? kBackwardPhases : kForwardPhases, 0, {false}};
  const int64_t count = call.batch * cut.pieces;
  if (cut.segments > 1) {
    run_by_segments(work, count, useful);
  } else {
    run_tasks(count, useful, do_piece, &work);
  }
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
