#pragma once

#include <chrono>

namespace regroup {

/// CLOCK_BOOTTIME: the time since the machine's boot, its sleep included. For what holds between
/// machines, where monotonicNow() would stand still in one that sleeps.
struct BootClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;

  static time_point now();
};

using BootTime = BootClock::time_point;

}  // namespace regroup
