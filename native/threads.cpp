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

constexpr auto SPIN = std::chrono::microseconds(60);

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Threads::Threads(int count) : count_(std::max(1, count)) {
  for (int thread = 1; thread < count_; ++thread) workers_.emplace_back([this, thread] { loop(thread); });
}

Threads::~Threads() {
  ended_.store(true);
  job_.fetch_add(1);
  job_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Threads::wait(const std::atomic<uint32_t>& value, uint32_t old) const {
  const auto begin = std::chrono::steady_clock::now();
  for (int turn = 0;; ++turn) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
    if (turn % 64 == 63 && std::chrono::steady_clock::now() - begin > SPIN) break;
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

void Threads::barrier() {
  if (count_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (failed_.load(std::memory_order_acquire)) throw Stopped();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == uint32_t(count_)) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_acq_rel);
    phase_.notify_all();
  } else {
    wait(phase_, phase);
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
  work_ = &given;
  done_.store(0, std::memory_order_relaxed);
  if (count_ > 1) {
    job_.fetch_add(1, std::memory_order_acq_rel);
    job_.notify_all();
  }
  work(0);
  for (uint32_t done; (done = done_.load(std::memory_order_acquire)) != uint32_t(count_ - 1);) wait(done_, done);
  arrived_.store(0, std::memory_order_relaxed);
  failed_.store(false, std::memory_order_relaxed);
  if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Threads::loop(int thread) {
  uint32_t seen = 0;
  for (;;) {
    wait(job_, seen);
    seen = job_.load(std::memory_order_acquire);
    if (ended_.load()) return;
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
