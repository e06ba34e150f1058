#include "core/process/fence.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>

#include <algorithm>

namespace regroup {

using std::chrono::nanoseconds;

BootTime BootClock::now() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return BootTime(std::chrono::seconds(now.tv_sec) + nanoseconds(now.tv_nsec));
}

Result<std::shared_ptr<Fence>> Fence::create() {
  Fd timer(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) return Error{"timerfd_create", errno};
  return std::shared_ptr<Fence>(new Fence(std::move(timer)));
}

void Fence::set(std::optional<BootTime> at) {
  const std::lock_guard lock(atMutex_);
  place(at);
}

void Fence::postpone(BootTime at) {
  const std::lock_guard lock(atMutex_);
  if (at_ && *at_ < at && !isOver()) place(at);
}

void Fence::place(std::optional<BootTime> at) {
  constexpr int64_t kSecond = 1'000'000'000;
  itimerspec due{};
  if (at) {
    // 0 would be no time at all.
    const int64_t ns = std::max<int64_t>(at->time_since_epoch().count(), 1);
    due.it_value = {.tv_sec = static_cast<time_t>(ns / kSecond),
                    .tv_nsec = static_cast<long>(ns % kSecond)};
  }
  at_ = at;
  isTaken_ = isTaken_ && isOver();
  // Fails for no time of these.
  (void)::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &due, nullptr);
}

bool Fence::hasPassed() const {
  const std::lock_guard lock(atMutex_);
  return isOver();
}

bool Fence::takePassage() {
  const std::lock_guard lock(atMutex_);
  return isOver() && !std::exchange(isTaken_, true);
}

}  // namespace regroup
