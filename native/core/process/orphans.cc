#include "core/process/orphans.h"

#include <unistd.h>

#include <algorithm>

#include "core/base/own_proc.h"
#include "core/base/proc.h"
#include "core/base/syscall.h"

namespace regroup {

size_t reapOrphans(std::span<const pid_t> ours) {
  // Else its zombies are strangers whose numbers our own children may have, whose statuses somebody
  // waits for.
  if (!procIsOurs()) return 0;
  const pid_t self = ::getpid();
  size_t reaped = 0;
  for (const pid_t pid : allProcesses()) {
    if (pid <= 1 || std::find(ours.begin(), ours.end(), pid) != ours.end()) continue;
    const auto status = statusOf(pid);
    if (!status || status->state != 'Z' || status->parent != self) continue;
    // One whose other threads go on isn't to be waited for yet.
    auto end = waitForExit(pid, Reap::Yes);
    if (end && *end) reaped++;
  }
  return reaped;
}

}  // namespace regroup
