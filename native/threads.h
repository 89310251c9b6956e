// A few threads that work on one step together: they spin for a short while, since the next piece of work is
// microseconds away, and then sleep, so that neighbours on the machine are left in peace.
#pragma once

#include <atomic>
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

  int count() const { return count_; }
  // Call work(thread) on every thread; returns when all have ended. If it throws on any of them, the others stop at
  // their next barrier, and `run` throws the first exception.
  void run(const std::function<void(int)>& work);
  // Inside `run`: wait until every thread is here.
  void barrier();

 private:
  struct Stopped {};  // thrown at a barrier that not all threads will reach
  void wait(const std::atomic<uint32_t>& value, uint32_t old) const;
  void loop(int thread);
  void work(int thread);

  int count_;
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
