#pragma once

#include <span>
#include <string>
#include <string_view>

namespace regroup {

/// What this kernel, and the container's filter in front of it, let us do. Probed, never
/// concluded from a version: distributions backport, filters take away.
struct Features {
  bool clone3 = false;
  bool clearSighand = false;     // CLONE_CLEAR_SIGHAND, 5.5; with clone3 only
  bool clonePidfd = false;       // CLONE_PIDFD of clone(2), 5.2
  bool pidfd = false;            // pidfd_open, and epoll on it, 5.3
  bool pidfdSignal = false;      // pidfd_send_signal, 5.1
  bool pidfdWait = false;        // waitid(P_PIDFD), 5.4
  bool closeRange = false;       // 5.9
  bool cgroup = false;           // whether one may be made is seen by making it
  bool cgroupKill = false;       // so with cgroup.kill, 5.14
  bool cloneIntoCgroup = false;  // CLONE_INTO_CGROUP, 5.7; with clone3 only
  bool sealFutureWrite = false;  // F_SEAL_FUTURE_WRITE on a memfd, 5.1
  bool earlyWaitv = false;       // futex_waitv, 5.16
};

/// A feature's name in `disable` and in reports.
struct FeatureName {
  std::string_view name;
  bool Features::*flag;
};
std::span<const FeatureName> featureNames();

/// Tries each once, with calls that do no harm, less those named in `disable`; unknown names
/// there mean nothing. Costs a throw-away child, 0.1 ms. EPERM and ENOSYS both mean "not here":
/// old containers answer the one, new ones the other.
Features probeFeatures(std::span<const std::string> disable = {});

}  // namespace regroup
