// Which of the compiled sweeps this machine can run.
#pragma once

#include "strip.h"

namespace rwkv {

// The sweeps in use: the widest that the machine has, unless another was asked for.
const Kernels& kernels();

// Use the sweeps of that name; false if this build or this machine has none.
bool use_kernels(const char* name);

}  // namespace rwkv
