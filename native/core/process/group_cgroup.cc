#include <time.h>

#include "core/process/supervisor_impl.h"

namespace regroup {

using namespace std::chrono_literals;

namespace {

/// A killed process is in its cgroup until it's through with its exit, a moment after its end is
/// told.
constexpr std::chrono::milliseconds kRemovePause = 20ms;
constexpr int kRemoveTries = 50;

}  // namespace

/// A fresh one for each group, see Cgroup. Without one, which is common, what the group leaves
/// behind is found by its sessions and its cookie only.
void Supervisor::Impl::openCgroup(Group& group) {
  if (!features_.cgroup || group.cookie.empty()) return;
  if (group.cookie.find('/') != std::string::npos) return;
  const CgroupPlaces places = findCgroupPlaces();
  for (const std::string& place : {places.unified, places.freezer}) {
    if (place.empty()) continue;
    std::string path = place + "/regroup-" + group.cookie;
    // First, so that no moment is unguarded; a folder that's never made does it no harm.
    if (guardian_) guardian_->addCgroup(group.id, path);
    auto made = Cgroup::make(std::move(path));
    if (!made) continue;  // not delegated to us
    group.cgroup = *std::move(made);
    return;
  }
}

void Supervisor::Impl::closeCgroup(Group& group) {
  if (!group.cgroup) return;
  auto removed = group.cgroup->remove();
  if (!removed) leftCgroups_.push_back({*std::move(group.cgroup), kRemoveTries});
  group.cgroup.reset();
  if (!removed) removeLeftLater();
}

void Supervisor::Impl::removeLeftLater() {
  if (removing_) return;
  removing_ = true;
  loop_->setTimer(loop_->now() + kRemovePause, [this] {
    removing_ = false;
    removeLeft();
    if (!leftCgroups_.empty()) removeLeftLater();
  });
}

/// One with a process that's stuck in the kernel stays for ever; so it isn't tried for ever.
void Supervisor::Impl::removeLeft() {
  std::erase_if(leftCgroups_,
                [](LeftCgroup& left) { return left.cgroup.remove() || --left.triesLeft <= 0; });
}

/// Thread: any but the supervisor's, which has ended.
void Supervisor::Impl::removeLeftAtEnd() {
  for (int i = 0; i < kRemoveTries && !leftCgroups_.empty(); i++) {
    removeLeft();
    const timespec pause{0, std::chrono::nanoseconds(kRemovePause).count()};
    if (!leftCgroups_.empty()) (void)::nanosleep(&pause, nullptr);
  }
}

bool Supervisor::Impl::killsByCgroup(const Group& group) const {
  return group.cgroup && features_.cgroupKill && group.cgroup->canKill();
}

}  // namespace regroup
