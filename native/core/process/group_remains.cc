#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>

#include "core/process/supervisor_impl.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

/// A killed process is in its cgroup until it's through with its exit, a moment after its end is
/// told.
constexpr milliseconds kRemovePause = 2ms;
constexpr int kRemoveTries = 100;
/// For those that tidy up while the next round runs already. The one that's known needs 2 s.
/// @source pytorch v2.13.0, torch/lib/libshm/manager.cpp, SHUTDOWN_TIMEOUT
constexpr milliseconds kLinger = 10s;

bool removeAll(const std::vector<std::string>& folders) {
  bool removed = true;
  for (const std::string& folder : folders) removed = removeCgroup(folder) && removed;
  return removed;
}

}  // namespace

/// Whoever hears of the group's end may end at once, and nobody would remove them then.
void Supervisor::Impl::closeCgroups(Group& group) {
  // One with a process that lingers, or is stuck in the kernel, stays for as long as that does.
  const bool isLeft = !group.stuck.empty() || (group.sweep && group.sweep->hasRemains());
  if (isLeft) {
    leaveRemains(group);
    return end(group);
  }
  if (!removeAll(cgroupFolders(group))) {
    if (group.removals++ < kRemoveTries)
      return setTimer(group, loop_->now() + kRemovePause, &Impl::closeCgroups);
    // Somebody who was left alone, and couldn't be moved out, isn't ours any more.
    if (!group.sweep || group.sweep->left().empty()) {
      leaveRemains(group);
      return end(group);
    }
  }
  if (guardian_) guardian_->end(group.id);
  end(group);
}

void Supervisor::Impl::leaveRemains(Group& group) {
  auto remains = std::make_unique<Remains>();
  remains->group = group.id;
  remains->cookie = group.cookie;
  remains->folders = cgroupFolders(group);
  bool isLingering = false;
  for (Stray& stray : group.sweep ? group.sweep->takeRemains() : std::vector<Stray>()) {
    isLingering = isLingering || group.sweep->isLingering(stray);
    auto watch = std::make_unique<RemainsWatch>();
    watch->owner = this;
    watch->remains = remains.get();
    watch->stray = std::move(stray);
    // Unwatched, it's looked for in the end.
    if (watch->stray.pidfd && loop_->add(watch->stray.pidfd.get(), EPOLLIN, watch.get()))
      remains->strays.push_back(std::move(watch));
  }
  if (isLingering) {
    if (guardian_) guardian_->linger(group.id, kLinger);
    loop_->setTimer(loop_->now() + kLinger, [this, id = group.id] {
      const auto at = std::find_if(remains_.begin(), remains_.end(),
                                   [&](const auto& each) { return each->group == id; });
      if (at != remains_.end()) endLingering(**at);
    });
  }
  remains_.push_back(std::move(remains));
}

void Supervisor::Impl::endLingering(Remains& remains) {
  for (const auto& watch : remains.strays) signalStray(watch->stray, SIGKILL, features_);
}

void Supervisor::Impl::onRemainsReady(RemainsWatch& watch) {
  Remains& remains = *watch.remains;
  loop_->remove(watch.stray.pidfd.get(), &watch);
  std::erase_if(remains.strays, [&](const auto& other) { return other.get() == &watch; });
  // Not at once: it's in its cgroup for a moment still.
  if (remains.strays.empty())
    loop_->setTimer(loop_->now() + kRemovePause, [this] { removeRemains(); });
}

/// When somebody has come loose or has ended, and in the end.
void Supervisor::Impl::removeRemains() {
  std::erase_if(remains_, [this](const auto& remains) {
    if (!remains->strays.empty() || !removeAll(remains->folders)) return false;
    if (guardian_) guardian_->end(remains->group);
    return true;
  });
}

/// The guardian sees to them, if there's one, and to groups that we couldn't wait for.
void Supervisor::Impl::outliveRemains() {
  removeRemains();
  if (guardian_ && (!remains_.empty() || !groups_.empty())) guardian_->outlive();
}

}  // namespace regroup
