// The C face of depthwise convolutions: checks its arguments, and has threads sum the rows.
#include "depthwise.h"

#include <stdlib.h>

#include <atomic>

#include "instruction_set.h"
#include "threads.h"

namespace rwkv {

#define RWKV_DECLARE(target)                                                                  \
  namespace target {                                                                          \
  void depthwise_by_kernel(const rwkv_depthwise&, int64_t, int64_t, int64_t, float*, float*); \
  }
RWKV_DECLARE(baseline)
#if defined(RWKV_X86)
RWKV_DECLARE(avx2)
RWKV_DECLARE(avx512)
#endif

namespace {

const DepthwiseKernels kKernels[] = {
#if defined(RWKV_X86)
    {"avx512", avx512::depthwise_by_kernel},
    {"avx2", avx2::depthwise_by_kernel},
#endif
    {"baseline", baseline::depthwise_by_kernel},
};

struct Work {
  const rwkv_depthwise& call;
  const DepthwiseKernels& kernels;
  int64_t parts_per_image;
  int64_t size;     // of a part
  int64_t scratch;  // how much a part needs to be summed
  float* parts;
  std::atomic<bool> failed;
};

void sum_part(void* context, int64_t task) {
  Work& work = *static_cast<Work*>(context);
  float* scratch = static_cast<float*>(malloc(size_t(work.scratch) * sizeof(float)));
  if (!scratch) {
    work.failed = true;
    return;
  }
  const int64_t first = task % work.parts_per_image * kRowsPerPart;
  const int64_t end =
      first + kRowsPerPart < work.call.rows ? first + kRowsPerPart : work.call.rows;
  work.kernels.by_kernel(work.call, task / work.parts_per_image, first, end, scratch,
                         work.parts + task * work.size);
  free(scratch);
}

// In the order of the parts, so that the result does not depend on the threads.
void sum_parts(const float* parts, int64_t count, int64_t size, float* sums) {
  for (int64_t n = 0; n < size; ++n) {
    double sum = 0.0;
    for (int64_t part = 0; part < count; ++part) sum += double(parts[part * size + n]);
    sums[n] = float(sum);
  }
}

bool is_sound(const rwkv_depthwise& d) {
  if (d.batch < 1 || d.height < 1 || d.width < 1 || d.channels < 1) return false;
  if (d.side < 1 || d.side > RWKV_DEPTHWISE_SIDE || d.side % 2 == 0) return false;
  if (d.stride < 1 || d.stride > d.side) return false;
  if (d.rows != (d.height - 1) / d.stride + 1) return false;
  if (d.columns != (d.width - 1) / d.stride + 1) return false;
  return d.maps && d.by_filtered;
}

}  // namespace
}  // namespace rwkv

int rwkv_depthwise_by_kernel(const rwkv_depthwise* call, float* by_kernel, int threads) {
  if (!call || !rwkv::is_sound(*call) || !by_kernel) return RWKV_BAD_ARGUMENT;
  const int64_t channels = rwkv::whole_channels(call->channels);
  const int64_t size = call->side * call->side * channels;
  const int64_t scratch = (call->side * rwkv::reach_of(*call) + call->columns) * channels;
  const int64_t per_image = (call->rows + rwkv::kRowsPerPart - 1) / rwkv::kRowsPerPart;
  const int64_t count = call->batch * per_image;
  float* parts = static_cast<float*>(malloc(size_t(count * size) * sizeof(float)));
  if (!parts) return RWKV_OUT_OF_MEMORY;
  const rwkv::DepthwiseKernels& kernels = rwkv::of_set_in_use(rwkv::kKernels);
  rwkv::Work work{*call, kernels, per_image, size, scratch, parts, {false}};
  rwkv::run_tasks(count, threads, rwkv::sum_part, &work);
  if (!work.failed) rwkv::sum_parts(parts, count, size, by_kernel);
  free(parts);
  return work.failed ? RWKV_OUT_OF_MEMORY : RWKV_OK;
}
