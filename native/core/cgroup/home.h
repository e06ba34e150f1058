#pragma once

#include <mutex>
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
/// One for the whole process: of several supervisors the first moves it, and the last brings it
/// back.
///
/// Thread: any.
class CgroupHome {
 public:
  static CgroupHome& ofThisProcess();

  /// As they are now, or, while somebody has entered, as they were before.
  CgroupPlaces places() const;

  /// From now on it may be moved.
  void enter();
  /// The last brings back what was changed, and whoever was moved. No cgroup of its own may be left
  /// below.
  void leave();

  /// What the cgroups below ours of version 2 would have from us, with these.
  Controllers sharedWith(Controllers needed) const;

  /// Lets them have these, where they haven't.
  /// ENOENT: ours hasn't one itself. EBUSY: somebody in ours can't be moved.
  std::optional<UsageRefusal> share(Controllers needed);

  /// Where we move to, should it be needed.
  std::string leaf() const;

 private:
  Controllers missing(Controllers needed) const;
  std::optional<UsageRefusal> clear(const std::string& folder);
  void restore();

  mutable std::mutex mutex_;
  size_t users_ = 0;        // guarded by mutex_, as are all of these
  CgroupPlaces places_;     // while there are users
  Controllers shared_ = 0;  // by us
  bool moved_ = false;
};

}  // namespace regroup
