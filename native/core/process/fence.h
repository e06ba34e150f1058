#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "core/base/boot_time.h"
#include "core/base/fd.h"
#include "core/base/result.h"

namespace regroup {

/// A deadline past which no worker of this process may run, since others may have taken their
/// place. It's a timer of the kernel's, which the supervisor and the guardian both watch: whoever
/// moves it waits for neither, and neither can miss it for the other.
///
/// Owner: shared. Thread: any.
class Fence {
 public:
  static Result<std::shared_ptr<Fence>> create();

  /// Moves it, forward or back; nothing: there's none.
  void set(std::optional<BootTime> at);
  /// Moves it forward, if there's one and it hasn't passed.
  void postpone(BootTime at);
  /// It stays so until it's moved.
  bool hasPassed() const;
  /// Whether it has passed, and nobody has asked this since it did.
  bool takePassage();

  /// A timerfd(2), readable from then on until it's moved. Nobody reads it: whoever did would take
  /// that from the others.
  const Fd& timer() const { return timer_; }

 private:
  explicit Fence(Fd timer) : timer_(std::move(timer)) {}
  bool isOver() const { return at_ && BootClock::now() >= *at_; }
  void place(std::optional<BootTime> at);

  const Fd timer_;
  mutable std::mutex atMutex_;
  std::optional<BootTime> at_;  // guarded by atMutex_
  bool isTaken_ = false;        // guarded by atMutex_
};

}  // namespace regroup
