#pragma once

#include <pthread.h>

#include <cstddef>
#include <functional>
#include <utility>

#include "core/base/result.h"

namespace regroup {

/// A thread that takes no signals but its own faults: those of the host's process are for the
/// host's threads. Unlike std::thread, which ends the process where no thread can be had
/// (pids.max, a filter), starting one may fail.
///
/// Invariant: joined or left before it's destroyed.
class Thread {
 public:
  Thread() = default;
  static Result<Thread> start(std::function<void()> body);
  Thread(Thread&& other) noexcept
      : handle_(other.handle_), joinable_(std::exchange(other.joinable_, false)) {}
  Thread& operator=(Thread&& other) noexcept {
    assert(!joinable_);
    handle_ = other.handle_;
    joinable_ = std::exchange(other.joinable_, false);
    return *this;
  }
  ~Thread() { assert(!joinable_); }

  bool joinable() const { return joinable_; }
  void join();
  /// It runs on, and nobody will know when it has ended. From then on this code stays loaded.
  void leave();

 private:
  explicit Thread(pthread_t handle) : handle_(handle), joinable_(true) {}

  pthread_t handle_{};
  bool joinable_ = false;
};

/// Whether so many more threads can be had, by starting them. For a library that ends the process
/// where it can't have its own.
Result<void> probeThreads(size_t count);

/// For a thread that may run on for good, before it's started: whoever unloads us (Node, when a
/// worker thread ends) mustn't take its code away.
void stayLoaded();

}  // namespace regroup
