// A few threads that work on one step together: they spin for a short while, since the next piece of work is
// microseconds away, and then sleep, so that neighbours on the machine are left in peace. Where neighbours take the
// cores, threads that wait for each other are slower than one: then half of them work, until it is time to try more again.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace openbook {

class Threads {
 public:
  explicit Threads(int count);  // the calling thread is one of them
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  // How many take part; it may change between calls of `run`, never within one.
  int count() const { return active_; }
  int most() const { return count_; }
  // Call work(thread) on every thread; returns when all have ended. If it throws on any of them, the others stop at
  // their next barrier, and `run` throws the first exception.
  void run(const std::function<void(int)>& work);
  // Inside `run`, by each thread with its number: wait until every thread is here.
  void barrier(int thread);

 private:
  struct Stopped {};  // thrown at a barrier that not all threads will reach
  // Spin, then sleep, until the value changes; how long it was asleep.
  static std::chrono::nanoseconds wait(const std::atomic<uint32_t>& value, uint32_t old);
  void loop(int thread);
  void work(int thread);
  void adapt(std::chrono::nanoseconds whole);

  int count_, active_;
  std::chrono::nanoseconds waited_{0};  // by the calling thread in this run, asleep
  int runs_left_ = 0;                   // with fewer threads, until more are tried again
  int patience_ = 0;                    // how many runs that will be the next time
  std::vector<std::thread> workers_;
  const std::function<void(int)>* work_ = nullptr;
  alignas(64) std::atomic<uint32_t> job_{0};
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  std::atomic<bool> failed_{false};
  std::mutex failure_lock_;
  std::exception_ptr failure_;
  std::atomic<bool> ended_{false};
};

// Cores that this process may use: its affinity and its control group's quota; at least 1.
int usable_cores();

}  // namespace openbook
