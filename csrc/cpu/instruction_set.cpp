#include "instruction_set.h"

#include <string.h>

#include <atomic>

#if defined(RWKV_X86) && defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace rwkv {

// What forward.cpp and backward.cpp have, once per instruction set.
#define RWKV_DECLARE(target)                            \
  namespace target {                                    \
  void weigh(const Strip&, int64_t, int64_t);           \
  void join(const Strip&, int64_t, int64_t);            \
  void emit(const Strip&, int64_t, int64_t);            \
  void weigh_half(const Strip&, int64_t, int64_t);      \
  void emit_half(const Strip&, int64_t, int64_t);       \
  void find_rates(const Strip&, int64_t, int64_t);      \
  void join_rates(const Strip&, int64_t, int64_t);      \
  void emit_slopes(const Strip&, int64_t, int64_t);     \
  void sum_slopes(const Strip&, int64_t, int64_t);      \
  int vector_width();                                   \
  }
#define RWKV_KERNELS(target)                                                            \
  {                                                                                     \
    #target, target::vector_width(),                                                    \
        {{target::weigh, true}, {target::join, false}, {target::emit, true}},           \
        {{target::weigh_half, true}, {target::emit_half, true}},                        \
        {{target::find_rates, true}, {target::join_rates, false},                       \
         {target::emit_slopes, true}, {target::sum_slopes, false}},                     \
  }

RWKV_DECLARE(baseline)
#if defined(RWKV_X86)
RWKV_DECLARE(avx2)
RWKV_DECLARE(avx512)
#endif

namespace {

bool always() { return true; }

#if defined(RWKV_X86)
#if defined(_MSC_VER) && !defined(__clang__)
// The machine has the instructions, and the system saves their registers.
bool has(unsigned leaf7_ebx, unsigned saved) {
  int one[4], seven[4];
  __cpuid(one, 0);
  if (one[0] < 7) return false;
  __cpuid(one, 1);
  const unsigned needed = (1u << 27) | (1u << 28) | (1u << 12);  // OSXSAVE, AVX, FMA
  if ((unsigned(one[2]) & needed) != needed) return false;
  __cpuidex(seven, 7, 0);
  return (unsigned(seven[1]) & leaf7_ebx) == leaf7_ebx && (_xgetbv(0) & saved) == saved;
}
bool has_avx2() { return has(1u << 5, 0x06); }
bool has_avx512() {  // AVX2, AVX-512 F, DQ, BW, VL
  return has((1u << 5) | (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31), 0xe6);
}
#else
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif
#endif

struct Choice {
  Kernels kernels;
  bool (*runs_here)();
};

// From the widest to the one that runs everywhere.
const Choice kChoices[] = {
#if defined(RWKV_X86)
    {RWKV_KERNELS(avx512), has_avx512},
    {RWKV_KERNELS(avx2), has_avx2},
#endif
    {RWKV_KERNELS(baseline), always},
};

std::atomic<const Kernels*> in_use{nullptr};

}  // namespace

const Kernels& kernels() {
  const Kernels* chosen = in_use.load();
  for (const Choice& choice : kChoices) {
    if (chosen) break;
    if (choice.runs_here()) chosen = &choice.kernels;
  }
  const Kernels* nothing = nullptr;  // a choice made meanwhile on another thread stands
  in_use.compare_exchange_strong(nothing, chosen);
  return *in_use.load();
}

bool use_kernels(const char* name) {
  for (const Choice& choice : kChoices) {
    if (strcmp(choice.kernels.name, name) == 0 && choice.runs_here()) {
      in_use.store(&choice.kernels);
      return true;
    }
  }
  return false;
}

}  // namespace rwkv
