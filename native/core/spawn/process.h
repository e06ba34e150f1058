#pragma once

#include <sys/types.h>

#include "core/base/fd.h"

namespace regroup {

/// A worker, from a successful execve until it's reaped.
///
/// Invariant: while this lives the process is unreaped, so neither its pid nor its process
/// group's number, which is the same, can be reused; unless somebody else in the host's process
/// took its status, against which there's holdsPid().
/// Owner: Supervisor. Others name a worker by group and index, and ask.
/// Thread: supervisor.
struct Process {
  pid_t pid;  // of its session and its process group, too
  Fd pidfd;   // none where the kernel has no pidfds
};

}  // namespace regroup
