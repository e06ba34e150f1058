#include "core/cgroup/group_cgroups.h"

#include <errno.h>

#include <utility>

namespace regroup {

bool GroupCgroups::open(const CgroupPlaces& places, const std::string& cookie,
                        const Announce& announce) {
  for (const std::string& place : {places.unified, places.freezer}) {
    if (place.empty()) continue;
    std::string path = place + "/regroup-" + cookie;
    // First: a folder that's never made does no harm.
    announce(path);
    auto made = Cgroup::make(path);
    if (made) {
      own_ = *std::move(made);
      return true;
    }
    // Not delegated to us. Version 2 comes first: it's the one that limits may need.
    if (!refusal_) refusal_ = UsageRefusal{std::move(path), made.error()};
  }
  return false;
}

std::optional<UsageRefusal> GroupCgroups::limit(
    const CgroupPlaces& places, const std::string& cookie, Controllers needed,
    const std::function<std::optional<UsageRefusal>(Controllers)>& share,
    const Announce& announce) {
  auto found = WorkerCgroups::find(places, cookie, needed);
  if (auto* refusal = std::get_if<UsageRefusal>(&found)) return std::move(*refusal);
  limited_ = std::move(*std::get_if<WorkerCgroups>(&found));

  if (const Controllers unified = limited_->unified(); unified != 0) {
    // Its own was tried there first.
    if (refusal_) return refusal_;
    if (auto refusal = share(unified)) return refusal;
  }
  for (const std::string& folder : limited_->folders()) announce(folder);
  return limited_->make();
}

bool GroupCgroups::noteOutside() {
  const bool wasHeld = isHeld();
  isAnybodyOutside_ = true;
  return wasHeld;
}

std::vector<std::string> GroupCgroups::folders() const {
  std::vector<std::string> folders;
  if (limited_) folders = limited_->folders();
  if (own_) folders.push_back(own_->path());
  return folders;
}

}  // namespace regroup
