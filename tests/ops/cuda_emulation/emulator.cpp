// Runs the CUDA kernels on a CPU, thread by thread: a model of what CUDA promises, no more.
//
// Every thread of a block is a fiber, which runs until the next barrier; then the next one
// does, in an order that the caller chooses, as it does that of the blocks, which run one
// after another. Shared memory is NaN at a block's start and has a margin on both sides.
// So a missing barrier, an order that matters, memory that was never written, and an access
// beyond shared memory all change results, or are reported.
#include "shim.h"

#include <stdint.h>
#include <ucontext.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "bi_wkv.cu"
#if RWKV_ELEMENT == 0
#include "../../benchmarks/authors_scheme.cu"
#endif

Index threadIdx, blockIdx, blockDim, gridDim;
double* rwkv_shared;

namespace {

enum Outcome { kDone = 0, kNoSuchKernel = 1, kBeyondShared = 2, kTornBarrier = 3 };

struct Entry {
  const char* name;
  void (*kernel)(rwkv::Call);
};

const Entry kEntries[] = {
    {"rwkv_forward_sums", rwkv_forward_sums},       {"rwkv_forward_scan", rwkv_forward_scan},
    {"rwkv_forward_means", rwkv_forward_means},     {"rwkv_forward_steep", rwkv_forward_steep},
    {"rwkv_backward_sums", rwkv_backward_sums},     {"rwkv_backward_scan", rwkv_backward_scan},
    {"rwkv_backward_slopes", rwkv_backward_slopes}, {"rwkv_backward_steep", rwkv_backward_steep},
    {"rwkv_backward_total", rwkv_backward_total},
#if RWKV_ELEMENT == 0
    {"authors_forward", authors_forward},           {"authors_backward", authors_backward},
#endif
};

constexpr size_t kStackBytes = 64 * 1024;
constexpr size_t kMargin = 512;  // float64 on both sides of shared memory
constexpr uint64_t kPoison = 0x7ff8dead7fc0beefULL;  // a NaN as float64 and as two float32

struct Fiber {
  ucontext_t context;
  bool has_ended;
};

ucontext_t scheduler;
std::vector<Fiber> fibers;
std::vector<char> stacks;
size_t current;
void (*running)(rwkv::Call);
const rwkv::Call* arguments;

void fiber_main() {
  running(*arguments);
  fibers[current].has_ended = true;
}

void start_fiber(size_t n) {
  Fiber& fiber = fibers[n];
  fiber.has_ended = false;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stacks.data() + n * kStackBytes;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = &scheduler;
  makecontext(&fiber.context, fiber_main, 0);
}

// 0: as numbered; 1: last first; others seed a shuffle.
std::vector<size_t> numbered(size_t count, unsigned order, std::mt19937& random) {
  std::vector<size_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), size_t(0));
  if (order == 1) std::reverse(numbers.begin(), numbers.end());
  if (order > 1) std::shuffle(numbers.begin(), numbers.end(), random);
  return numbers;
}

// Run all threads up to the next barrier; how many of them have ended by then.
size_t run_to_barrier(unsigned order, std::mt19937& random) {
  size_t ended = 0;
  for (size_t n : numbered(fibers.size(), order, random)) {
    current = n;
    threadIdx = {unsigned(n), 0, 0};
    swapcontext(&scheduler, &fibers[n].context);
    ended += fibers[n].has_ended;
  }
  return ended;
}

Outcome run_block(std::vector<uint64_t>& shared, unsigned order, std::mt19937& random) {
  std::fill(shared.begin(), shared.end(), kPoison);
  rwkv_shared = reinterpret_cast<double*>(shared.data() + kMargin);
  for (size_t n = 0; n < fibers.size(); ++n) start_fiber(n);
  size_t ended = 0;
  while (ended == 0) ended = run_to_barrier(order, random);
  if (ended != fibers.size()) return kTornBarrier;
  const auto is_poison = [](uint64_t x) { return x == kPoison; };
  const bool is_whole = std::all_of(shared.begin(), shared.begin() + kMargin, is_poison) &&
                        std::all_of(shared.end() - kMargin, shared.end(), is_poison);
  return is_whole ? kDone : kBeyondShared;
}

}  // namespace

void __syncthreads() { swapcontext(&fibers[current].context, &scheduler); }

extern "C" size_t size_of_call() { return sizeof(rwkv::Call); }

// To float32, and from there back, as the kernels read and write elements.
extern "C" void read_and_write(const rwkv::Element* from, float* read, rwkv::Element* written,
                               int64_t count) {
  for (int64_t n = 0; n < count; ++n) {
    read[n] = rwkv::float_from(from[n]);
    written[n] = rwkv::element_from(read[n]);
  }
}

extern "C" void write_elements(const float* from, rwkv::Element* written, int64_t count) {
  for (int64_t n = 0; n < count; ++n) written[n] = rwkv::element_from(from[n]);
}

extern "C" int emulate(const char* name, const rwkv::Call* call, unsigned blocks, unsigned threads,
                       unsigned shared_bytes, unsigned order) {
  running = nullptr;
  for (const Entry& entry : kEntries) {
    if (strcmp(entry.name, name) == 0) running = entry.kernel;
  }
  if (!running) return kNoSuchKernel;
  arguments = call;
  gridDim = {blocks, 1, 1};
  blockDim = {threads, 1, 1};
  fibers.resize(threads);
  stacks.resize(threads * kStackBytes);
  std::vector<uint64_t> shared(shared_bytes / 8 + 2 * kMargin);
  std::mt19937 random(order);
  for (size_t block : numbered(blocks, order, random)) {
    blockIdx = {unsigned(block), 0, 0};
    const Outcome outcome = run_block(shared, order, random);
    if (outcome != kDone) return outcome;
  }
  return kDone;
}
