#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/features.h"
#include "core/cgroup/cgroup.h"

namespace regroup {

/// In the environment of every worker, and so of whatever it starts, wherever that hides.
inline constexpr char kCookieName[] = "REGROUP_COOKIE";

/// A process that a worker group left behind: a data loader, a daemon with its own session.
///
/// Invariant: it was checked *through* the pidfd, so that a signal to it hits no stranger.
struct Stray {
  pid_t pid;
  Fd pidfd;  // none where the kernel has no pidfds; then the pid was right a moment ago
};

/// Finds the living ones, by their environment's cookie, and by their session for those that
/// changed their environment. A process that runs as somebody else can't be looked into and
/// isn't found.
///
/// `leaders`: workers whose pids are held, i.e. unreaped, so that their sessions are theirs;
/// they themselves aren't strays. Costs some microseconds per process on the machine.
std::vector<Stray> findStrays(const std::string& cookie, std::span<const pid_t> leaders,
                              const Features& features);

/// Adds those that are in the cgroup, whatever they did to their session and environment.
void addMembers(const Cgroup& cgroup, std::span<const pid_t> leaders, const Features& features,
                std::vector<Stray>& strays);

void signalStray(const Stray& stray, int signal, const Features& features);

/// One letter of /proc/PID/stat; '?' if there's no such process.
char processState(pid_t pid);
/// /proc/PID/wchan: where in the kernel it sleeps; empty where we may not know.
std::string waitChannel(pid_t pid);

}  // namespace regroup
