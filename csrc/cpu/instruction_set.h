// Which of the compiled sweeps this machine can run.
#pragma once

#include <string.h>

#include "strip.h"

namespace rwkv {

// The sweeps in use: the widest that the machine has, unless another was asked for.
const Kernels& kernels();

// Use the sweeps of that name; false if this build or this machine has none.
bool use_kernels(const char* name);

// Of other kernels' table, which has an entry for each set, the one of the set in use.
template <class Entry, size_t kCount>
const Entry& of_set_in_use(const Entry (&table)[kCount]) {
  const Entry* chosen = table;
  while (strcmp(chosen->name, kernels().name) != 0) ++chosen;
  return *chosen;
}

}  // namespace rwkv
