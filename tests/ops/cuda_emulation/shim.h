// What the kernels' source takes for granted of CUDA, in plain C++.
#pragma once

#include <math.h>
#include <string.h>

#define __global__
#define __device__
#define __launch_bounds__(...)

struct Index {
  unsigned x;
  unsigned y;
  unsigned z;
};

extern Index threadIdx;
extern Index blockIdx;
extern Index blockDim;
extern Index gridDim;
extern double* rwkv_shared;  // the block's dynamic shared memory

void __syncthreads();
