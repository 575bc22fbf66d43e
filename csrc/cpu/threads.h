// A small pool of threads of our own, since OpenMP's would clash with torch's.
#pragma once

#include <stdint.h>

#include <atomic>

namespace rwkv {

// Call work(context, task) once for each task from 0 to tasks - 1, on up to `threads`
// threads, the caller's own included, and return when all are done. `work` must not
// throw. A caller that finds the pool busy with another caller's work does its own
// alone: never more threads than one caller asked for, and no waiting for each other.
void run_tasks(int64_t tasks, int threads, void (*work)(void*, int64_t), void* context) noexcept;

// Wait until other threads have counted up to `target`.
void wait_until(const std::atomic<int64_t>& count, int64_t target) noexcept;

}  // namespace rwkv
