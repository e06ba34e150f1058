#include "core/process/signals.h"

#include <errno.h>
#include <signal.h>

#include "core/base/syscall.h"

namespace regroup {

bool holdsPid(const Process& process) {
  if (process.pidfd) {
    auto alive = sendSignal(process.pidfd, 0);
    if (alive) return true;
    if (alive.error().code == ESRCH) return false;
  }
  auto child = waitForExit(process.pid, Reap::No);
  return child || child.error().code != ECHILD;
}

void signalWorker(const Process& process, int signal, Target target, const Features& features) {
  if (target == Target::Leader && process.pidfd && features.pidfdSignal) {
    (void)sendSignal(process.pidfd, signal);
    return;
  }
  if (!holdsPid(process)) return;
  if (target == Target::Group) {
    (void)killGroup(process.pid, signal);
  } else {
    // Fallback: kernel < 5.1 has no pidfd_send_signal.
    (void)killPid(process.pid, signal);
  }
}

void continueWorker(const Process& process, Target target, const Features& features) {
  signalWorker(process, SIGCONT, target, features);
}

}  // namespace regroup
