#include "core/process/start_watch.h"

#include <sys/prctl.h>

#include <algorithm>
#include <utility>

#include "core/base/syscall.h"

namespace regroup {

using namespace std::chrono_literals;

namespace {

/// Starting hundreds of workers takes some hundred milliseconds. A stop that has waited for longer
/// isn't going to be heard.
constexpr std::chrono::milliseconds kPatience = 1s;

}  // namespace

StartWatch::StartWatch(Spawner& spawner, OnGivenUp onGivenUp)
    : spawner_(spawner), onGivenUp_(std::move(onGivenUp)) {
  // Without a descriptor there's no supervisor either.
  if (auto changed = makeEventFd()) changed_ = *std::move(changed);
}

StartWatch::~StartWatch() {
  {
    const std::lock_guard lock(mutex_);
    isEnding_ = true;
  }
  signalEvent(changed_);
  if (thread_.joinable()) thread_.join();
}

void StartWatch::at(Place place, std::optional<milliseconds> atMost) {
  const std::lock_guard lock(mutex_);
  place_ = std::move(place);
  if (giveUpAt_) return;  // a stop's time is nearer
  killAt_.reset();
  if (!atMost || isGivenUp_) return;
  killAt_ = monotonicNow() + *atMost;
  needThread();
}

void StartWatch::over() {
  const std::lock_guard lock(mutex_);
  pending_--;
  if (!killAt_ || giveUpAt_) return;
  killAt_.reset();
  if (isRunning_) signalEvent(changed_);
}

void StartWatch::onStop(milliseconds giveUpAfter) {
  const std::lock_guard lock(mutex_);
  unheard_++;
  if (!isPending() || isGivenUp_) return;
  // Another one changes nothing of what the first has set, however soon it comes.
  const TimePoint now = monotonicNow();
  giveUpAt_ = std::min(giveUpAt_.value_or(now + giveUpAfter), now + giveUpAfter);
  killAt_ = std::min(killAt_.value_or(now + kPatience), now + kPatience);
  if (isRunning_) signalEvent(changed_);  // it may wait for something later
  needThread();
}

/// `mutex_` is held.
void StartWatch::needThread() {
  if (isRunning_) return;
  if (thread_.joinable()) thread_.join();  // it has ended
  auto thread = Thread::start([this] { run(); });
  if (!thread) return;  // no thread can be had: then the guardian is who's left
  thread_ = *std::move(thread);
  isRunning_ = true;
}

void StartWatch::onHeard() {
  const std::lock_guard lock(mutex_);
  if (--unheard_ > 0) return;
  giveUpAt_.reset();
  killAt_.reset();
  if (isRunning_) signalEvent(changed_);
}

void StartWatch::hurry() {
  if (isPending()) spawner_.killChild();
}

/// Thread: its own.
void StartWatch::run() {
  (void)::prctl(PR_SET_NAME, "regroup-starts");
  while (const auto wait = nextWait()) {
    if (waitReadable(changed_, *wait)) continue;
    // Held while we kill: the start of somebody else, who has another time, isn't begun meanwhile.
    const std::lock_guard lock(mutex_);
    const TimePoint now = monotonicNow();
    const bool isLast = giveUpAt_ && now >= *giveUpAt_;
    if (!isLast && !(killAt_ && now >= *killAt_)) continue;
    // Again and again: another worker's may have come in its place.
    spawner_.killChild();
    killAt_ = now + kPatience;
    if (!isLast) continue;
    isRunning_ = false;
    isGivenUp_ = true;
    return onGivenUp_({place_, spawner_.child()});
  }
}

/// @returns nothing if there's nothing to wait for
std::optional<StartWatch::milliseconds> StartWatch::nextWait() {
  const std::lock_guard lock(mutex_);
  drainEvent(changed_);
  isRunning_ = killAt_ && !isEnding_;
  if (!isRunning_) return std::nullopt;
  const TimePoint next = std::min(*killAt_, giveUpAt_.value_or(*killAt_));
  const auto left = std::chrono::ceil<milliseconds>(next - monotonicNow());
  return std::max(left, milliseconds(0));
}

}  // namespace regroup
