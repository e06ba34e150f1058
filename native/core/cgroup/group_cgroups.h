#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/cgroup/cgroup.h"
#include "core/cgroup/home.h"
#include "core/cgroup/places.h"
#include "core/cgroup/usage.h"
#include "core/cgroup/worker_cgroups.h"

namespace regroup {

/// The cgroups of one worker group: its own, by which whatever it leaves is found, and those that
/// hold its workers to their limits.
///
/// Owner: a worker group. Thread: supervisor.
class GroupCgroups {
 public:
  /// Whom is told of a folder before it's made, so that no moment is unguarded.
  using Announce = std::function<void(const std::string& folder)>;

  /// Makes its own, in version 2 or in the freezer. Without one, which is common, what it leaves is
  /// found by its sessions and its cookie only. False: `refusal` says why not.
  bool open(const CgroupPlaces& places, const std::string& cookie, const Announce& announce);
  /// Of version 2, which comes first. Its folder is empty where no hierarchy is mounted.
  UsageRefusal refusal() const { return refusal_.value_or(UsageRefusal{"", {"open", ENOENT}}); }

  /// Makes those of its workers, after `open`. Unlike its own they're a must: who asks for a limit
  /// wants no worker without.
  ///
  /// @param share gives controllers of version 2 to cgroups below ours
  std::optional<UsageRefusal> limit(
      const CgroupPlaces& places, const std::string& cookie, Controllers needed,
      const std::function<std::optional<UsageRefusal>(Controllers)>& share,
      const Announce& announce);

  /// Null: there's none.
  const Cgroup* own() const { return own_ ? &*own_ : nullptr; }
  /// Null: nobody asked for limits.
  const WorkerCgroups* limited() const { return limited_ ? &*limited_ : nullptr; }

  /// Whether its own has all workers, and so whatever they start.
  bool isHeld() const { return own_ && !isAnybodyOutside_; }
  /// A worker runs outside of it. Whether it was held before.
  bool noteOutside();

  /// All that were made, or may have been.
  std::vector<std::string> folders() const;

 private:
  std::optional<Cgroup> own_;
  std::optional<UsageRefusal> refusal_;  // where it was tried first
  std::optional<WorkerCgroups> limited_;
  bool isAnybodyOutside_ = false;
};

}  // namespace regroup
