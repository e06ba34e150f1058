#include <errno.h>

#include <utility>

#include "core/process/supervisor_impl.h"

namespace regroup {

using namespace std::chrono_literals;

namespace {

/// A killed process is in its cgroup until it's through with its exit, a moment after its end is
/// told.
constexpr std::chrono::milliseconds kRemovePause = 2ms;
constexpr int kRemoveTries = 100;

}  // namespace

void Supervisor::Impl::openCgroup(Group& group) {
  if (!features_.cgroup || group.cookie.empty()) return;
  if (group.cookie.find('/') != std::string::npos) return;
  const CgroupPlaces places = home_.places();
  if (!std::exchange(isStaleRemoved_, true)) removeStale(places);
  if (group.cgroups.open(places, group.cookie, announceTo(group.id))) return;
  if (std::exchange(ungroupable_, true)) return;
  const auto [path, error] = group.cgroups.refusal();
  emit(group.id, loop_->now(), Ungrouped{path, error});
}

GroupCgroups::Announce Supervisor::Impl::announceTo(GroupId group) {
  return [this, group](const std::string& folder) {
    if (guardian_) guardian_->addCgroup(group, folder);
  };
}

/// Once, for those of whom nobody else is left.
void Supervisor::Impl::removeStale(const CgroupPlaces& places) {
  for (const std::string* const place :
       {&places.unified, &places.freezer, &places.memory, &places.pids, &places.cpu}) {
    if (!place->empty()) removeStaleCgroups(*place);
  }
}

std::optional<UsageRefusal> Supervisor::Impl::openLimits(Group& group, const GroupPlan& plan) {
  Controllers needed = 0;
  for (const WorkerPlan& worker : plan.workers) needed |= controllersOf(worker.usage);
  if (needed == 0) return {};
  const CgroupPlaces places = features_.cgroup ? home_.places() : CgroupPlaces{};
  const auto share = [this](Controllers unified) {
    if (!std::exchange(inHome_, true)) home_.enter();
    tellHome(unified);
    return home_.share(unified);
  };
  return group.cgroups.limit(places, group.cookie, needed, share, announceTo(group.id));
}

/// Before anything of it is changed.
void Supervisor::Impl::tellHome(Controllers needed) {
  if (guardian_ && inHome_)
    guardian_->willMove(home_.sharedWith(needed), home_.places().unified, home_.leaf());
}

/// Whoever hears of the group's end may end at once, and nobody would remove them then.
void Supervisor::Impl::closeCgroups(Group& group) {
  // One with a process that lingers, or is stuck in the kernel, stays for as long as that does.
  const bool isLeft = !group.stuck.empty() || (group.sweep && group.sweep->hasRemains());
  if (isLeft) {
    leaveRemains(group);
    return end(group);
  }
  if (!removeCgroups(group.cgroups.folders())) {
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
  Remains::Left left{group.id, group.cookie, group.cgroups.folders(), {}};
  if (group.sweep) left.strays = group.sweep->takeRemains();
  for (const Stray& stray : left.strays)
    left.isLingering = left.isLingering || group.sweep->isLingering(stray);
  remains_.add(std::move(left));
}

}  // namespace regroup
