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

constexpr int64_t kLeastWork = 40 * 1024;   // elements per thread: below, waking one costs more
constexpr int64_t kLeastSegment = 4;        // chunks
constexpr int kMostThreads = 256;
constexpr int kSegmentsPerThread = 2;       // so that one that is late is not waited for long

int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

// How a call is cut. An image's channels in whole vectors are one piece: rows that lie one after
// another come from memory faster than narrow strips of them, even strips that would stay in the
// caches from phase to phase. What is left of the last vector is a piece apart, so that only that
// one has to be copied.
//
// Pieces are shared among the threads if they come out even. Otherwise they are done one by one,
// and the threads share the chunks of each.
struct Cut {
  int64_t whole;      // channels in whole vectors
  int64_t per_image;  // pieces: 1 or 2
  int64_t pieces;
  bool by_piece;
};

Cut cut_of(const Call& call, int vector, int64_t threads) {
  const int64_t whole = call.channels / vector * vector;
  const int64_t per_image = (whole > 0 ? 1 : 0) + (call.channels > whole ? 1 : 0);
  const bool is_even = call.batch % threads == 0 || call.batch >= 4 * threads;
  return {whole, per_image, call.batch * per_image, threads == 1 || is_even};
}

// All that a call's threads have to know.
struct Work {
  const Call& call;
  const Kernels& kernels;
  Cut cut;
  const Phase* phases;
  int phase_count;
  int64_t threads;     // at most kMostThreads
  int64_t segments;    // of a piece, if the threads share it,
  const Piece* piece;  // the one that they share now,
  std::atomic<int64_t> done[kBackwardPhases];  // how many segments of each phase are done,
  std::atomic<int64_t> begun[kBackwardPhases][kMostThreads];  // and begun, of each thread's own
  std::atomic<bool> failed;
};

bool begin_piece(const Work& work, int64_t index, Piece* piece) {
  const int64_t image = index / work.cut.per_image;
  const bool is_whole = index % work.cut.per_image == 0 && work.cut.whole > 0;
  const int64_t first = is_whole ? 0 : work.cut.whole;
  const int64_t count = is_whole ? work.cut.whole : work.call.channels - first;
  return piece->begin(work.call, work.kernels, image, first, count);
}

// What a phase has to do: chunks, or vectors of channels.
int64_t units_of(const Work& work, const Phase& phase, const Strip& strip) {
  return phase.by_chunk ? chunks_of(strip.tokens) : strip.channels / work.kernels.width;
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
    work.phases[i].run(piece.strip(), 0, units_of(work, work.phases[i], piece.strip()));
  }
  if (!piece.finish(work.call)) work.failed = true;
}

void run_segment(Work& work, int index, int64_t segment) {
  const Phase& phase = work.phases[index];
  const int64_t units = units_of(work, phase, work.piece->strip());
  const int64_t first = units * segment / work.segments;
  const int64_t end = units * (segment + 1) / work.segments;
  if (first < end) phase.run(work.piece->strip(), first, end);
  work.done[index].fetch_add(1, std::memory_order_release);
}

// Those segments of a phase that are `owner`'s own and not begun, in the order in which its cache
// has them: what was done last in the first phase comes first in the others.
void run_segments_of(Work& work, int index, int64_t owner) {
  const int64_t first = work.segments * owner / work.threads;
  const int64_t end = work.segments * (owner + 1) / work.threads;
  for (;;) {
    const int64_t next = work.begun[index][owner].fetch_add(1, std::memory_order_relaxed);
    if (next >= end - first) return;
    run_segment(work, index, index == 0 ? first + next : end - 1 - next);
  }
}

// One thread's part of a piece: of each phase its own segments, and then those of threads that
// are late or never came. Whoever waits for a phase waits for threads that are at work on it.
void take_part(void* context, int64_t who) {
  Work& work = *static_cast<Work*>(context);
  for (int index = 0; index < work.phase_count; ++index) {
    if (index > 0) wait_until(work.done[index - 1], work.segments);
    for (int64_t i = 0; i < work.threads; ++i) {
      run_segments_of(work, index, (who + i) % work.threads);
    }
  }
}

void share_piece(Work& work, int64_t index) {
  Piece piece;
  if (!begin_piece(work, index, &piece)) {
    work.failed = true;
    return;
  }
  work.piece = &piece;
  for (int i = 0; i < work.phase_count; ++i) {
    work.done[i].store(0, std::memory_order_relaxed);
    for (int64_t t = 0; t < work.threads; ++t) {
      work.begun[i][t].store(0, std::memory_order_relaxed);
    }
  }
  run_tasks(work.threads, int(work.threads), take_part, &work);
  if (!piece.finish(work.call)) work.failed = true;
}

int run(const Call& call, int most_threads) {
  const Kernels& chosen = kernels();
  const bool is_backward = call.gy != nullptr;
  const int64_t elements = call.batch * call.tokens * call.channels;
  const int threads = int(clamp(elements / kLeastWork, 1, clamp(most_threads, 1, kMostThreads)));
  const Cut cut = cut_of(call, chosen.width, threads);
  const bool by_halves = !is_backward && (cut.by_piece || threads == 2);
  const int64_t segments = clamp(chunks_of(call.tokens) / kLeastSegment, 1,
                                 by_halves ? threads : threads * kSegmentsPerThread);
  const Phase* const phases = is_backward ? chosen.backward
                              : by_halves ? chosen.forward_by_halves
                                          : chosen.forward;
  const int phase_count = is_backward ? kBackwardPhases : by_halves ? kHalfPhases : kForwardPhases;
  Work work{call, chosen, cut, phases, phase_count, threads, segments, nullptr, {}, {}, {false}};
  if (work.cut.by_piece) {
    run_tasks(work.cut.pieces, threads, do_piece, &work);
  } else {
    for (int64_t i = 0; i < work.cut.pieces && !work.failed; ++i) share_piece(work, i);
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
