#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/base/thread.h"
#include "core/spawn/spawn.h"

namespace regroup {

/// Hears stops while the supervisor's thread can't: the start of a worker may hold it up without
/// end, where a program, a working directory or a folder of PATH lies on a disk that doesn't
/// answer, or where somebody stops the child before it has exec'd.
///
/// A stop that isn't heard ends that child; where SIGKILL doesn't help either, the supervisor is
/// given up.
///
/// A start that nobody waits for, as that of a standby, mustn't hold up others' either: it's ended
/// by itself once it takes too long.
///
/// Owner: Supervisor. Thread: any, but what says otherwise.
class StartWatch {
 public:
  using milliseconds = std::chrono::milliseconds;

  /// What the thread is about.
  struct Place {
    uint64_t group = 0;
    size_t index = 0;
    std::string what;  // the file
    std::string cwd;
  };
  struct Hanging {
    Place place;
    std::optional<Spawner::Child> child;  // none: the thread itself hangs
  };
  /// Called on a thread of ours, once.
  using OnGivenUp = std::function<void(Hanging)>;

  StartWatch(Spawner& spawner, OnGivenUp onGivenUp);
  ~StartWatch();
  StartWatch(const StartWatch&) = delete;
  StartWatch& operator=(const StartWatch&) = delete;

  /// A start was ordered, and will be over some time.
  void expect() { pending_++; }
  /// Thread: supervisor. @param atMost a child that takes longer is killed. Nothing: a stop ends it
  void at(Place place, std::optional<milliseconds> atMost = std::nullopt);
  /// Thread: supervisor.
  void over();
  bool isPending() const { return pending_ > 0; }
  bool isGivenUp() const { return isGivenUp_; }

  /// A stop is about to be ordered. @param giveUpAfter if it isn't heard by then
  void onStop(milliseconds giveUpAfter);
  /// Thread: supervisor. It's heard.
  void onHeard();
  /// Whoever waits for a start can't do so any more.
  void hurry();

 private:
  void needThread();
  void run();
  std::optional<milliseconds> nextWait();

  Spawner& spawner_;
  const OnGivenUp onGivenUp_;
  std::atomic<int> pending_{0};
  std::atomic<bool> isGivenUp_{false};
  Fd changed_;  // eventfd: a stop was ordered or heard, a start is over, or we end
  std::mutex mutex_;
  Place place_;                        // guarded by mutex_, as are the following
  size_t unheard_ = 0;                 // stops
  std::optional<TimePoint> giveUpAt_;  // while there's one that came during a start
  std::optional<TimePoint> killAt_;    // then, and while there's a start with a time of its own
  bool isRunning_ = false;
  bool isEnding_ = false;
  Thread thread_;
};

}  // namespace regroup
