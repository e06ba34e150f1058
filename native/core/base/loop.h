#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/base/fd.h"
#include "core/base/result.h"

namespace regroup {

using TimePoint = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

/// CLOCK_MONOTONIC, in nanoseconds; the same clock as Node's process.hrtime.
TimePoint monotonicNow();

/// One epoll loop with its wake-up and its timers. It sleeps until something happens: no
/// tick, and no polling but for moments, where it was told to linger.
///
/// Owner: the object whose thread calls run().
/// Thread: the one that calls run(), but post() and stop(), which any thread may call.
class Loop {
 public:
  using Clock = TimePoint (*)();
  using TimerId = uint64_t;

  /// Told that its descriptor is ready. It may remove and destroy itself or any other
  /// watcher in the call: events of removed watchers in the same batch are dropped.
  class Watcher {
   public:
    virtual ~Watcher() = default;
    virtual void onReady(uint32_t events) = 0;
  };

  static Result<std::unique_ptr<Loop>> create(Clock clock = monotonicNow);
  ~Loop();

  /// Watches `fd` for `events` (EPOLLIN…, level-triggered unless EPOLLET is in it). The
  /// watcher isn't owned and must be removed before it or the descriptor goes.
  Result<void> add(int fd, uint32_t events, Watcher* watcher);
  Result<void> modify(int fd, uint32_t events, Watcher* watcher);
  void remove(int fd, Watcher* watcher);

  /// Runs `task` on the loop's thread, soon, in the order of the calls. After stop() tasks
  /// that were posted before it still run; later ones are destroyed unrun.
  void post(std::function<void()> task);

  TimerId setTimer(TimePoint due, std::function<void()> task);
  /// A timer that has fired or was cancelled is ignored.
  void cancelTimer(TimerId id);

  /// While events follow each other closely, looks again for so long before it sleeps. A thread
  /// that sleeps takes tens of microseconds to be woken, most of what a small request costs. 0:
  /// never.
  void lingerFor(std::chrono::nanoseconds linger) { linger_ = linger; }

  TimePoint now() const { return clock_(); }

  /// Returns after stop().
  void run();
  void stop();

 private:
  Loop(Clock clock, Fd epoll, Fd wakeup);
  int wait(epoll_event* events);
  void runTasks();
  void runTimers();
  int timeoutMs() const;

  const Clock clock_;
  Fd epoll_;
  Fd wakeup_;  // eventfd
  std::mutex tasksMutex_;
  std::vector<std::function<void()>> tasks_;  // guarded by tasksMutex_
  bool stopping_ = false;                     // guarded by tasksMutex_
  bool stopped_ = false;                      // loop's thread
  std::chrono::nanoseconds linger_{0};
  bool close_ = false;  // the last events followed those before closely
  TimerId nextTimer_ = 1;
  std::map<std::pair<TimePoint, TimerId>, std::function<void()>> timers_;
  std::map<TimerId, TimePoint> timerDue_;
  epoll_event* batch_ = nullptr;  // the events being handed out, for remove()
  int batchSize_ = 0;
};

}  // namespace regroup
