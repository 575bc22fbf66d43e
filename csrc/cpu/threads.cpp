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

namespace rwkv {
namespace {

class Pool {
 public:
  // False if another caller has the pool.
  bool run(int64_t tasks, int helpers, void (*work)(void*, int64_t), void* context) {
    std::unique_lock<std::mutex> mine(busy_, std::try_to_lock);
    if (!mine.owns_lock()) return false;
    helpers = grow(helpers);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      work_ = work;
      context_ = context;
      tasks_ = tasks;
      next_.store(0, std::memory_order_relaxed);
      wanted_ = helpers;
      running_ = helpers;
      ++round_;
    }
    wake_.notify_all();
    take_tasks();
    std::unique_lock<std::mutex> lock(mutex_);
    // Helpers that have not woken by now find nothing to do, and need not be waited for.
    running_ -= wanted_;
    wanted_ = 0;
    done_.wait(lock, [this] { return running_ == 0; });
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
    std::unique_lock<std::mutex> lock(mutex_);
    uint64_t seen = 0;
    for (;;) {
      wake_.wait(lock, [&] { return round_ != seen; });
      seen = round_;
      if (wanted_ == 0) continue;
      --wanted_;
      lock.unlock();
      take_tasks();
      lock.lock();
      if (--running_ == 0) done_.notify_one();
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

  std::mutex mutex_;  // guards what follows, but for next_
  std::condition_variable wake_;
  std::condition_variable done_;
  void (*work_)(void*, int64_t) = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  int wanted_ = 0;   // helpers that may still join this round
  int running_ = 0;  // helpers that joined or may join, and have not finished
  uint64_t round_ = 0;
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

}  // namespace rwkv
