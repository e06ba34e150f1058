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

void StartWatch::at(Place place) {
  const std::lock_guard lock(mutex_);
  place_ = std::move(place);
}

void StartWatch::onStop(milliseconds giveUpAfter) {
  const std::lock_guard lock(mutex_);
  unheard_++;
  if (!isPending() || isGivenUp_) return;
  const TimePoint at = monotonicNow() + giveUpAfter;
  giveUpAt_ = std::min(giveUpAt_.value_or(at), at);
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
  if (isRunning_) signalEvent(changed_);
}

void StartWatch::hurry() {
  if (isPending()) spawner_.killChild();
}

/// Thread: its own.
void StartWatch::run() {
  (void)::prctl(PR_SET_NAME, "regroup-starts");
  while (isUnheard()) {
    if (waitReadable(changed_, kPatience)) continue;
    // Again and again: another worker's may have come in its place.
    spawner_.killChild();
    const std::lock_guard lock(mutex_);
    if (!giveUpAt_ || monotonicNow() < *giveUpAt_) continue;
    isRunning_ = false;
    isGivenUp_ = true;
    return onGivenUp_({place_, spawner_.child()});
  }
}

bool StartWatch::isUnheard() {
  const std::lock_guard lock(mutex_);
  drainEvent(changed_);
  isRunning_ = giveUpAt_ && !isEnding_;
  return isRunning_;
}

}  // namespace regroup
