#include "core/base/features.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/clone.h"
#include "core/base/raw.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

constexpr FeatureName kNames[] = {
    {"clone3", &Features::clone3},
    {"clear-sighand", &Features::clearSighand},
    {"clone-pidfd", &Features::clonePidfd},
    {"pidfd", &Features::pidfd},
    {"pidfd-signal", &Features::pidfdSignal},
    {"pidfd-wait", &Features::pidfdWait},
    {"close_range", &Features::closeRange},
    {"cgroup", &Features::cgroup},
    {"cgroup-kill", &Features::cgroupKill},
    {"clone-into-cgroup", &Features::cloneIntoCgroup},
    {"seal-future-write", &Features::sealFutureWrite},
    {"early-waitv", &Features::earlyWaitv},
};

[[gnu::no_sanitize("address", "undefined", "thread")]] void exitAtOnce(void*) {
  rawCall(SYS_exit_group, 0);
}

/// Whether a child comes to be this way, with a pidfd. It ends at once, and without a signal,
/// so that the host's waitpid(-1) doesn't see it.
bool probeClone(const CloneStack& stack, CloneCall call, uint64_t flags) {
  const Cloned child = cloneChild(stack, call, flags | CLONE_PIDFD, 0, exitAtOnce, nullptr);
  if (child.pid < 0) return false;
  // ECHILD, from a host that ignores SIGCHLD, is fine: it's gone.
  (void)waitForExit(child.pid, Reap::Yes, true);
  return static_cast<bool>(child.pidfd);
}

/// Without a child: a kernel that knows the flag wants the descriptor first, and this one can't be.
bool probeIntoCgroup(const CloneStack& stack) {
  const Cloned child =
      cloneChild(stack, CloneCall::Clone3, kCloneIntoCgroup, 0, exitAtOnce, nullptr, INT_MAX);
  return child.pid < 0 && child.error == EBADF;
}

}  // namespace

std::span<const FeatureName> featureNames() {
  return kNames;
}

Features probeFeatures(std::span<const std::string> disable) {
  const auto wanted = [&](std::string_view name) {
    return std::find(disable.begin(), disable.end(), name) == disable.end();
  };
  Features features;
  // Fallback: kernel < 5.5 has no CLONE_CLEAR_SIGHAND: a handler of the host's mustn't run in the
  // child, on our memory.
  SignalBlock block;

  // Without these the host couldn't even run; a failure here leaves the plainest ways.
  if (auto stack = CloneStack::map()) {
    if (wanted("clone3")) {
      features.clearSighand =
          wanted("clear-sighand") && probeClone(*stack, CloneCall::Clone3, kCloneClearSighand);
      features.clone3 = features.clearSighand || probeClone(*stack, CloneCall::Clone3, 0);
    }
    features.cloneIntoCgroup =
        features.clone3 && wanted("clone-into-cgroup") && probeIntoCgroup(*stack);
    // A kernel with clone3 knows the flag too; don't spend another child on it.
    features.clonePidfd =
        wanted("clone-pidfd") && (features.clone3 || probeClone(*stack, CloneCall::Clone, 0));
  }

  if (wanted("pidfd")) {
    if (auto self = openPidfd(::getpid())) {
      features.pidfd = true;
      features.pidfdSignal = wanted("pidfd-signal") && static_cast<bool>(sendSignal(*self, 0));
      if (wanted("pidfd-wait")) {
        // We aren't our own child: ECHILD where the kernel understands the question, EINVAL
        // where it doesn't.
        auto answer = waitForExit(*self, Reap::No);
        features.pidfdWait = !answer && answer.error().code == ECHILD;
      }
    }
  }

  features.cgroup = wanted("cgroup");
  features.cgroupKill = wanted("cgroup-kill");
  features.closeRange = wanted("close_range") && rawCall(kSysCloseRange, ~0u, ~0u, 0) == 0;
  // It refuses to wait for nothing.
  features.earlyWaitv = wanted("early-waitv") && rawCall(kSysFutexWaitv) == -EINVAL;
  if (wanted("seal-future-write")) {
    auto memfd = makeMemfd("regroup-probe");
    features.sealFutureWrite = memfd && addSeals(*memfd, F_SEAL_FUTURE_WRITE);
  }
  return features;
}

}  // namespace regroup
