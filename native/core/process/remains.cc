#include "core/process/remains.h"

#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "core/cgroup/cgroup.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

/// One that has ended is in its cgroup for a moment still.
constexpr milliseconds kRemovePause = 2ms;
/// For one that takes its time on a busy machine: looked at again after the first, ten times as
/// long, and so on, and never after the last, since an idle agent isn't to be woken.
constexpr milliseconds kFirstPause = 100ms;
constexpr milliseconds kLastPause = 10s;
/// For those that tidy up while the next round runs already. The one that's known needs 2 s.
/// @source pytorch v2.13.0, torch/lib/libshm/manager.cpp, SHUTDOWN_TIMEOUT
constexpr milliseconds kLinger = 10s;

}  // namespace

bool removeCgroups(const std::vector<std::string>& folders) {
  bool removed = true;
  for (const std::string& folder : folders) removed = removeCgroup(folder) && removed;
  return removed;
}

Remains::~Remains() {
  for (const auto& group : groups_) {
    for (const auto& watch : group->strays) loop_.remove(watch->stray.pidfd.get(), watch.get());
  }
}

void Remains::add(Left left) {
  auto group = std::make_unique<Group>(
      Group{left.group, std::move(left.cookie), std::move(left.folders), {}});
  for (Stray& stray : left.strays) {
    auto watch = std::make_unique<Watch>();
    watch->owner = this;
    watch->group = group.get();
    watch->stray = std::move(stray);
    // Unwatched, it's looked for in the end.
    if (watch->stray.pidfd && loop_.add(watch->stray.pidfd.get(), EPOLLIN, watch.get()))
      group->strays.push_back(std::move(watch));
  }
  if (left.isLingering) {
    if (Guardian* const guardian = guardian_()) guardian->linger(left.group, kLinger);
    loop_.setTimer(loop_.now() + kLinger, [this, id = left.group] { endLingering(id); });
  }
  if (group->strays.empty()) removeLater(kFirstPause);
  groups_.push_back(std::move(group));
}

void Remains::remove() {
  std::erase_if(groups_, [this](const auto& group) {
    if (!group->strays.empty() || !removeCgroups(group->folders)) return false;
    if (Guardian* const guardian = guardian_()) guardian->end(group->id);
    return true;
  });
}

void Remains::removeLater(milliseconds pause) {
  loop_.setTimer(loop_.now() + pause, [this, pause] {
    remove();
    if (!isEmpty() && pause < kLastPause) removeLater(pause * 10);
  });
}

void Remains::removeWithin(milliseconds time) {
  const TimePoint end = monotonicNow() + time;
  for (remove(); !isEmpty() && monotonicNow() < end; remove())
    std::this_thread::sleep_for(kRemovePause);
}

void Remains::tell(Guardian& guardian) const {
  for (const auto& group : groups_) {
    guardian.begin(group->id, group->cookie);
    for (const std::string& folder : group->folders) guardian.addCgroup(group->id, folder);
  }
}

void Remains::onGone(Watch& watch) {
  Group& group = *watch.group;
  loop_.remove(watch.stray.pidfd.get(), &watch);
  std::erase_if(group.strays, [&](const auto& other) { return other.get() == &watch; });
  // Not at once: it's in its cgroup for a moment still.
  if (group.strays.empty()) loop_.setTimer(loop_.now() + kRemovePause, [this] { remove(); });
}

void Remains::endLingering(uint64_t group) {
  for (const auto& each : groups_) {
    if (each->id != group) continue;
    for (const auto& watch : each->strays) signalStray(watch->stray, SIGKILL, features_);
  }
}

}  // namespace regroup
