// The C face of reading points: checks its arguments, and has threads do the queries.
#include "read_points.h"

#include "../rwkv_kernels.h"
#include "instruction_set.h"
#include "threads.h"

namespace rwkv {

#define RWKV_DECLARE(target)                                     \
  namespace target {                                             \
  void read_points(const PointsCall&, int64_t, int64_t);         \
  void differentiate_points(const PointsCall&, int64_t, int64_t); \
  }
RWKV_DECLARE(baseline)
#if defined(RWKV_X86)
RWKV_DECLARE(avx2)
RWKV_DECLARE(avx512)
#endif

namespace {

const PointsKernels kKernels[] = {
#if defined(RWKV_X86)
    {"avx512", avx512::read_points, avx512::differentiate_points},
    {"avx2", avx2::read_points, avx2::differentiate_points},
#endif
    {"baseline", baseline::read_points, baseline::differentiate_points},
};

constexpr int64_t kQueriesPerTask = 64;

struct Work {
  const PointsCall& call;
  const PointsKernels& kernels;
};

void read_task(void* context, int64_t task) {
  const Work& work = *static_cast<Work*>(context);
  const int64_t all = work.call.batch * work.call.queries;
  const int64_t first = task * kQueriesPerTask;
  const int64_t end = first + kQueriesPerTask < all ? first + kQueriesPerTask : all;
  work.kernels.read(work.call, first, end);
}

void differentiate_task(void* context, int64_t task) {
  const Work& work = *static_cast<Work*>(context);
  work.kernels.differentiate(work.call, task / work.call.heads, task % work.call.heads);
}

bool is_sound(const rwkv_points& p) {
  if (p.batch < 1 || p.queries < 1 || p.heads < 1 || p.length < 1) return false;
  if (p.levels < 1 || p.points < 1 || p.levels > kMostPoints / p.points) return false;
  if (!p.grids || !p.values || !p.places || !p.offsets || !p.scores) return false;
  int64_t tokens = 0;
  for (int64_t level = 0; level < p.levels; ++level) {
    if (p.grids[2 * level] < 1 || p.grids[2 * level + 1] < 1) return false;
    tokens += p.grids[2 * level] * p.grids[2 * level + 1];
  }
  return tokens == p.tokens;
}

PointsCall call_of(const rwkv_points& p) {
  return {p.batch,  p.queries, p.tokens, p.heads,  p.length,  p.levels, p.points, p.grids,
          p.values, p.places,  p.offsets, p.scores, nullptr, nullptr,  nullptr,  nullptr, nullptr};
}

}  // namespace
}  // namespace rwkv

int rwkv_read_points(const rwkv_points* points, float* read, int threads) {
  if (!points || !rwkv::is_sound(*points) || !read) return RWKV_BAD_ARGUMENT;
  rwkv::PointsCall call = rwkv::call_of(*points);
  call.read = read;
  rwkv::Work work{call, rwkv::of_set_in_use(rwkv::kKernels)};
  const int64_t all = call.batch * call.queries;
  const int64_t tasks = (all + rwkv::kQueriesPerTask - 1) / rwkv::kQueriesPerTask;
  rwkv::run_tasks(tasks, threads, rwkv::read_task, &work);
  return RWKV_OK;
}

int rwkv_read_points_backward(const rwkv_points* points, const float* by_read, float* by_values,
                              float* by_offsets, float* by_scores, int threads) {
  if (!points || !rwkv::is_sound(*points)) return RWKV_BAD_ARGUMENT;
  if (!by_read || !by_values || !by_offsets || !by_scores) return RWKV_BAD_ARGUMENT;
  rwkv::PointsCall call = rwkv::call_of(*points);
  call.by_read = by_read;
  call.by_values = by_values;
  call.by_offsets = by_offsets;
  call.by_scores = by_scores;
  rwkv::Work work{call, rwkv::of_set_in_use(rwkv::kKernels)};
  rwkv::run_tasks(call.batch * call.heads, threads, rwkv::differentiate_task, &work);
  return RWKV_OK;
}
