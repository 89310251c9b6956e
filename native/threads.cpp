#include "threads.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace openbook {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto SPIN = std::chrono::microseconds(60);
constexpr uint32_t NEXT_JOB = 256;  // the rest of the word is how many threads take part
constexpr int LEAST_PATIENCE = 16, MOST_PATIENCE = 1024;  // runs with fewer threads before more are tried again

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Threads::Threads(int count) : count_(std::max(1, count)), active_(count_) {
  for (int thread = 1; thread < count_; ++thread) workers_.emplace_back([this, thread] { loop(thread); });
}

Threads::~Threads() {
  ended_.store(true);
  job_.fetch_add(NEXT_JOB);
  job_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

std::chrono::nanoseconds Threads::wait(const std::atomic<uint32_t>& value, uint32_t old) {
  const auto begin = Clock::now();
  for (int turn = 0;; ++turn) {
    if (value.load(std::memory_order_acquire) != old) return {};
    pause();
    if (turn % 64 == 63 && Clock::now() - begin > SPIN) break;
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
  return Clock::now() - begin;
}

void Threads::barrier(int thread) {
  if (active_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (failed_.load(std::memory_order_acquire)) throw Stopped();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == uint32_t(active_)) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_acq_rel);
    phase_.notify_all();
  } else {
    const auto asleep = wait(phase_, phase);
    if (thread == 0) waited_ += asleep;
    if (failed_.load(std::memory_order_acquire)) throw Stopped();
  }
}

void Threads::work(int thread) {
  try {
    (*work_)(thread);
  } catch (const Stopped&) {
  } catch (...) {
    {
      const std::lock_guard lock(failure_lock_);
      if (failure_ == nullptr) failure_ = std::current_exception();
    }
    failed_.store(true, std::memory_order_release);
    phase_.fetch_add(1, std::memory_order_acq_rel);  // whoever waits sees that it waits in vain
    phase_.notify_all();
  }
}

void Threads::run(const std::function<void(int)>& given) {
  const auto begin = Clock::now();
  work_ = &given;
  waited_ = {};
  done_.store(0, std::memory_order_relaxed);
  if (active_ > 1) {
    // One word says that there is work, and for how many: who sleeps through a run without it never joins it late.
    const uint32_t number = job_.load(std::memory_order_relaxed) / NEXT_JOB + 1;
    job_.store(number * NEXT_JOB + uint32_t(active_), std::memory_order_release);
    job_.notify_all();
  }
  work(0);
  for (uint32_t done; (done = done_.load(std::memory_order_acquire)) != uint32_t(active_ - 1);) waited_ += wait(done_, done);
  arrived_.store(0, std::memory_order_relaxed);
  failed_.store(false, std::memory_order_relaxed);
  adapt(Clock::now() - begin);
  if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// After a run: half the threads if it was mostly waiting, twice as many again after a while, ever longer if in vain.
void Threads::adapt(std::chrono::nanoseconds whole) {
  if (active_ > 1 && waited_ * 2 > whole) {
    patience_ = std::clamp(patience_ * 2, LEAST_PATIENCE, MOST_PATIENCE);
    runs_left_ = patience_;
    active_ /= 2;
  } else if (active_ < count_) {
    if (--runs_left_ <= 0) active_ = std::min(2 * active_, count_), runs_left_ = LEAST_PATIENCE;
  } else if (patience_ > 0) {
    --patience_;
  }
}

void Threads::loop(int thread) {
  uint32_t seen = 0;
  for (;;) {
    wait(job_, seen);
    seen = job_.load(std::memory_order_acquire);
    if (ended_.load()) return;
    if (thread >= int(seen % NEXT_JOB)) continue;
    work(thread);
    done_.fetch_add(1, std::memory_order_acq_rel);
    done_.notify_all();
  }
}

int usable_cores() {
  int cores = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = std::max(1, CPU_COUNT(&set));
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (file >> quota >> period && quota != "max" && period > 0)
    cores = std::min(cores, std::max(1, int(std::ceil(std::stod(quota) / period))));
#endif
  return cores;
}

}  // namespace openbook
