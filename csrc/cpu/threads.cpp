#include "threads.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace rwkv {
namespace {

// Some tens of microseconds: waking a thread that sleeps takes as long, and the phases of
// one call, or the layers of one network, follow each other sooner.
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  __asm__ __volatile__("yield");
#endif
}

// Look now and then for a while; true as soon as `is_done()` is.
template <class Test>
bool spin_until(Test is_done) {
  for (int i = 0; i < kSpins; ++i) {
    if (is_done()) return true;
    relax();
  }
  return false;
}

class Pool {
 public:
  // False if another caller has the pool.
  bool run(int64_t tasks, int helpers, void (*work)(void*, int64_t), void* context) {
    std::unique_lock<std::mutex> mine(busy_, std::try_to_lock);
    if (!mine.owns_lock()) return false;
    helpers = grow(helpers);
    bool is_anyone_asleep;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      work_ = work;
      context_ = context;
      tasks_ = tasks;
      next_.store(0, std::memory_order_relaxed);
      wanted_ = helpers;
      running_.store(helpers, std::memory_order_relaxed);
      round_.fetch_add(1, std::memory_order_release);
      is_anyone_asleep = asleep_ > 0;
    }
    if (is_anyone_asleep) wake_.notify_all();
    take_tasks();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      // Helpers that have not come by now find nothing to do, and need not be waited for.
      running_.fetch_sub(wanted_, std::memory_order_relaxed);
      wanted_ = 0;
    }
    const auto is_done = [this] { return running_.load(std::memory_order_acquire) == 0; };
    if (spin_until(is_done)) return true;
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, is_done);
    return true;
  }

 private:
  // Start helpers until there are `helpers`; return how many there are at most that.
  int grow(int helpers) {
    while (count_ < helpers) {
      try {
        std::thread([this] { help(); }).detach();
      } catch (const std::system_error&) {
        return count_;  // the system gives no more threads: fewer do as well
      }
      ++count_;
    }
    return helpers;
  }

  void help() {
    uint64_t seen = 0;
    const auto is_called = [&] { return round_.load(std::memory_order_acquire) != seen; };
    for (;;) {
      spin_until(is_called);
      std::unique_lock<std::mutex> lock(mutex_);
      ++asleep_;
      wake_.wait(lock, is_called);
      --asleep_;
      seen = round_.load(std::memory_order_relaxed);
      if (wanted_ == 0) continue;
      --wanted_;
      lock.unlock();
      take_tasks();
      lock.lock();
      if (running_.fetch_sub(1, std::memory_order_release) == 1) done_.notify_one();
    }
  }

  void take_tasks() {
    for (;;) {
      const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks_) return;
      work_(context_, task);
    }
  }

  std::mutex busy_;  // held by the caller whose work is done
  int count_ = 0;    // helpers that exist; guarded by busy_

  std::mutex mutex_;  // guards what follows, but for the atomic ones when they are only read
  std::condition_variable wake_;
  std::condition_variable done_;
  void (*work_)(void*, int64_t) = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  int wanted_ = 0;  // helpers that may still join this round
  int asleep_ = 0;
  std::atomic<int> running_{0};  // helpers that joined or may join, and have not finished
  std::atomic<uint64_t> round_{0};
  std::atomic<int64_t> next_{0};
};

// Never destroyed: helpers sleep in it until the process ends. A forked child has none
// of its parent's helpers, so it starts anew.
std::atomic<Pool*> pool{nullptr};

Pool* the_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    pool = new (std::nothrow) Pool;
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { pool = new (std::nothrow) Pool; });
#endif
  });
  return pool.load();
}

}  // namespace

void run_tasks(int64_t tasks, int threads, void (*work)(void*, int64_t), void* context) noexcept {
  const int64_t useful = threads < tasks ? threads : tasks;
  Pool* const helpers = useful > 1 ? the_pool() : nullptr;
  if (helpers && helpers->run(tasks, int(useful) - 1, work, context)) return;
  for (int64_t task = 0; task < tasks; ++task) work(context, task);
}

void wait_until(const std::atomic<int64_t>& count, int64_t target) noexcept {
  const auto is_reached = [&] { return count.load(std::memory_order_acquire) >= target; };
  while (!spin_until(is_reached)) std::this_thread::yield();
}

}  // namespace rwkv
