#pragma once

#include <sys/types.h>

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/features.h"
#include "core/base/loop.h"
#include "core/base/proc.h"

namespace regroup {

/// In the environment of every worker, and so of whatever it starts, wherever that hides.
inline constexpr char kCookieName[] = "REGROUP_COOKIE";
/// In the environment of a process that asks to be left alone, with the value 1.
inline constexpr char kLeaveName[] = "REGROUP_LEAVE";

/// A process that a worker group left behind: a data loader, a daemon with its own session.
///
/// Invariant: it was checked *through* the pidfd, so that a signal to it hits no stranger.
struct Stray {
  pid_t pid = 0;
  Fd pidfd;          // none where the kernel has no pidfds; then the pid was right a moment ago
  pid_t parent = 0;  // 0: unknown
  pid_t group = 0;   // of processes
  bool isDetached = false;    // in a session of its own
  bool isFork = false;        // runs no program of its own, but its parent's
  bool asksToBeLeft = false;  // by its environment
  bool holdsGpu = true;       // as far as it's known, or asked for
  std::string command;        // as /proc/PID/comm has it
};

/// Since when processes have been seen, so that who was there before a round needn't be looked
/// into.
///
/// Thread: any.
class ProcessAges {
 public:
  /// Notes who's there now. Waits for nobody; costs a microsecond or two per process.
  void note();
  /// Whether this process was there by then. It's noted now if it's new.
  bool wasThere(pid_t pid, const ProcEntry& entry, TimePoint then);
  /// Forgets all but these.
  void keep(const std::vector<pid_t>& pids);

 private:
  struct Seen {
    ProcEntry entry;
    TimePoint first;
  };
  std::mutex seenMutex_;
  std::map<pid_t, Seen> seen_;  // guarded by seenMutex_
};

/// Whom a search is for.
struct Wanted {
  std::string cookie;
  /// Workers whose pids are held, i.e. unreaped, so that their sessions are theirs; they themselves
  /// aren't strays.
  std::vector<pid_t> leaders;
  /// The folder of the cgroup that holds the group: all are in it, and nobody else is looked at.
  /// Empty: it's in none.
  std::string cgroup;
  /// The group's first worker started then.
  TimePoint since;
  /// Whether whoever is detached may be left alone, and not only who asks for it.
  bool mayLeave = false;
  /// The folder of GPUs' files: who may be left alone mustn't hold one.
  std::string devices = "/dev";
};

/// Finds the living ones: those in the cgroup, or else by their session, and by their environment's
/// cookie for those that have left it. A process that runs as somebody else can't be looked into
/// and isn't found, save in a cgroup or by its session.
///
/// May wait for processes that are sick, though not for long: on a thread that may. What a sick one
/// doesn't show isn't known of it.
std::vector<Stray> findStrays(const Wanted& wanted, const Features& features, ProcessAges& ages);

/// The same without waiting for anybody: by cgroup or session, and with nothing that only the
/// process itself could show.
std::vector<Stray> findStraysAtOnce(const Wanted& wanted, const Features& features);

/// Those in the cgroup, less the leaders and ourselves. Waits for nobody.
std::vector<pid_t> strangersIn(const std::string& cgroup, const std::vector<pid_t>& leaders);

/// Whether it has ended, as far as it can be told: by its pidfd, else by a /proc that is ours.
bool hasEnded(const Stray& stray);
void signalStray(const Stray& stray, int signal, const Features& features);

}  // namespace regroup
