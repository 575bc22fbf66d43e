// The Bi-WKV kernels for CUDA, for nvcc and NVRTC alike: nothing is included from outside.
//
// RWKV_ELEMENT is the type of k, v, y and their gradients: 0 float, 1 half, 2 bfloat16.
// napari_rwkv_seg/ops/_cuda_plan.py knows which kernels a call takes, and their grids.
#include "lane.h"
#include "element.h"
#include "layout.h"
#include "span.h"
#include "forward.h"
#include "slopes.h"
#include "backward.h"
#include "steep.h"

#define RWKV_KERNEL(name, threads, blocks) \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name(rwkv::Call call)

RWKV_KERNEL(rwkv_forward_sums, 256, 3) {
  rwkv::forward_sums(call, reinterpret_cast<float*>(rwkv_shared));
}

RWKV_KERNEL(rwkv_forward_scan, 1024, 1) {
  rwkv::forward_scan(call, reinterpret_cast<float*>(rwkv_shared));
}

RWKV_KERNEL(rwkv_forward_means, 256, 2) {
  rwkv::forward_means(call, reinterpret_cast<float*>(rwkv_shared));
}

RWKV_KERNEL(rwkv_forward_steep, 128, 1) { rwkv::do_steep<false>(call, rwkv_shared); }

RWKV_KERNEL(rwkv_backward_sums, 256, 2) {
  rwkv::backward_sums(call, reinterpret_cast<float*>(rwkv_shared));
}

RWKV_KERNEL(rwkv_backward_scan, 1024, 1) {
  rwkv::backward_scan(call, reinterpret_cast<float*>(rwkv_shared));
}

RWKV_KERNEL(rwkv_backward_slopes, 256, 2) {
  rwkv::backward_slopes(call, reinterpret_cast<float*>(rwkv_shared));
}

RWKV_KERNEL(rwkv_backward_steep, 128, 1) { rwkv::do_steep<true>(call, rwkv_shared); }

RWKV_KERNEL(rwkv_backward_total, 1024, 1) { rwkv::backward_total(call, rwkv_shared); }
