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

/// A fresh one for each group, see Cgroup. Without one, which is common, what the group leaves
/// behind is found by its sessions and its cookie only.
void Supervisor::Impl::openCgroup(Group& group) {
  if (!features_.cgroup || group.cookie.empty()) return;
  if (group.cookie.find('/') != std::string::npos) return;
  const CgroupPlaces places = home_.places();
  if (!std::exchange(isStaleRemoved_, true)) removeStale(places);
  for (const std::string& place : {places.unified, places.freezer}) {
    if (place.empty()) continue;
    std::string path = place + "/regroup-" + group.cookie;
    // First, so that no moment is unguarded; a folder that's never made does it no harm.
    if (guardian_) guardian_->addCgroup(group.id, path);
    auto made = Cgroup::make(path);
    if (made) {
      group.cgroup = *std::move(made);
      return;
    }
    // Not delegated to us. Version 2 comes first: it's the one that limits may need.
    if (!group.cgroupRefusal) group.cgroupRefusal = UsageRefusal{std::move(path), made.error()};
  }
  if (std::exchange(ungroupable_, true)) return;
  const auto [path, error] = group.cgroupRefusal.value_or(UsageRefusal{"", {"open", ENOENT}});
  emit(group.id, loop_->now(), Ungrouped{path, error});
}

/// Once, for those of whom nobody else is left.
void Supervisor::Impl::removeStale(const CgroupPlaces& places) {
  for (const std::string* const place :
       {&places.unified, &places.freezer, &places.memory, &places.pids, &places.cpu}) {
    if (!place->empty()) removeStaleCgroups(*place);
  }
}

/// Unlike the group's own cgroup they're a must: who asks for a limit wants no worker without.
std::optional<UsageRefusal> Supervisor::Impl::openLimits(Group& group, const GroupPlan& plan) {
  Controllers needed = 0;
  for (const WorkerPlan& worker : plan.workers) needed |= controllersOf(worker.usage);
  if (needed == 0) return {};
  const CgroupPlaces places = features_.cgroup ? home_.places() : CgroupPlaces{};
  auto found = WorkerCgroups::find(places, group.cookie, needed);
  if (auto* refusal = std::get_if<UsageRefusal>(&found)) return std::move(*refusal);
  group.limited = std::move(*std::get_if<WorkerCgroups>(&found));

  if (const Controllers unified = group.limited->unified(); unified != 0) {
    // The group's own was tried there first.
    if (group.cgroupRefusal) return std::move(group.cgroupRefusal);
    if (!std::exchange(inHome_, true)) home_.enter();
    tellHome(unified);
    if (auto refusal = home_.share(unified)) return refusal;
  }
  for (const std::string& folder : group.limited->folders()) {
    if (guardian_) guardian_->addCgroup(group.id, folder);
  }
  return group.limited->make();
}

/// Before anything of it is changed.
void Supervisor::Impl::tellHome(Controllers needed) {
  if (guardian_ && inHome_)
    guardian_->willMove(home_.sharedWith(needed), home_.places().unified, home_.leaf());
}

/// All that were made for it, or may have been.
std::vector<std::string> Supervisor::Impl::cgroupFolders(const Group& group) const {
  std::vector<std::string> folders;
  if (group.limited) folders = group.limited->folders();
  if (group.cgroup) folders.push_back(group.cgroup->path());
  return folders;
}

/// Whoever hears of the group's end may end at once, and nobody would remove them then.
void Supervisor::Impl::closeCgroups(Group& group) {
  // One with a process that lingers, or is stuck in the kernel, stays for as long as that does.
  const bool isLeft = !group.stuck.empty() || (group.sweep && group.sweep->hasRemains());
  if (isLeft) {
    leaveRemains(group);
    return end(group);
  }
  if (!removeCgroups(cgroupFolders(group))) {
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
  Remains::Left left{group.id, group.cookie, cgroupFolders(group), {}};
  if (group.sweep) left.strays = group.sweep->takeRemains();
  for (const Stray& stray : left.strays)
    left.isLingering = left.isLingering || group.sweep->isLingering(stray);
  remains_.add(std::move(left));
}

}  // namespace regroup
