#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/base/fd.h"
#include "core/cgroup/cgroup.h"
#include "core/cgroup/places.h"
#include "core/cgroup/usage.h"

namespace regroup {

/// The cgroups that hold the workers of one group to their limits: `worker-<index>`, below a folder
/// of the group's in each hierarchy that has one of the controllers.
///
/// Owner: a worker group. Thread: supervisor.
class WorkerCgroups {
 public:
  /// A worker's membership. Descriptors are needed until it's spawned.
  struct Membership {
    std::optional<Cgroup> born;  // version 2
    std::vector<Cgroup> joined;  // version 1
  };

  /// Nothing is made yet. ENOENT: no hierarchy that we see has such a controller.
  static std::variant<WorkerCgroups, UsageRefusal> find(const CgroupPlaces& places,
                                                        const std::string& cookie,
                                                        Controllers needed);

  /// What version 2 has to give; 0: nothing.
  Controllers unified() const;
  /// The group's folders in version 1. They aren't the group's Cgroup, which may be in neither of
  /// these.
  std::vector<std::string> folders() const;

  /// Makes these, and lets those below have what they need. The group's cgroup of version 2 is
  /// there, if it's needed.
  std::optional<UsageRefusal> make();
  /// Before the worker is spawned.
  std::variant<Membership, UsageRefusal> add(size_t index, const UsageLimits& limits) const;
  /// As counted until now.
  Usage usageOf(size_t index) const;

 private:
  struct Hierarchy {
    std::string folder;
    bool unified;
    Controllers controllers;
    Fd mark;  // of the folder, in version 1
  };
  const Hierarchy* with(Controllers one) const;

  std::vector<Hierarchy> hierarchies_;
};

}  // namespace regroup
