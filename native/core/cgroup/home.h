#pragma once

#include <optional>
#include <string>

#include "core/cgroup/places.h"
#include "core/cgroup/usage.h"

namespace regroup {

/// Where this process makes cgroups: in its own.
///
/// Version 2 shares out controllers only in a cgroup without processes of its own, the root
/// excepted. So where limits are asked for this process may have to move into a cgroup below the
/// one where it was, with all that's there beside it: the guardian, a shell that waits for us.
/// Nobody notices, and nothing else helps.
///
/// Owner: Supervisor. Thread: supervisor, but for restore().
class CgroupHome {
 public:
  /// As they are now, or as they were before we moved.
  CgroupPlaces places() const { return fixed_ ? *fixed_ : findCgroupPlaces(); }

  /// Which of these the cgroups below ours of version 2 haven't.
  Controllers missing(Controllers needed) const;

  /// Lets them have these.
  /// ENOENT: ours hasn't one itself. EBUSY: somebody in ours can't be moved.
  std::optional<UsageRefusal> share(Controllers missing);

  /// Those that they have from us.
  Controllers shared() const { return shared_; }

  /// Where we move to, should it be needed.
  std::string leaf() const;

  /// Brings back what was changed, and whoever was moved. No cgroup of ours may be left below.
  void restore();

 private:
  std::optional<UsageRefusal> clear(const std::string& folder);

  std::optional<CgroupPlaces> fixed_;
  Controllers shared_ = 0;  // by us
  bool moved_ = false;
};

}  // namespace regroup
