#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "core/base/fd.h"
#include "core/base/result.h"

namespace regroup {

/// Those that live in the cgroup itself.
std::vector<pid_t> processesIn(const std::string& path);
/// Those that live in the cgroup and in those that they have made below. A moment later they may be
/// gone, and their pids another's.
std::vector<pid_t> membersOf(const std::string& path);
/// Removes a cgroup and those below. EBUSY: somebody is in it still, or was just now.
Result<void> removeCgroup(const std::string& path);
/// Marks a cgroup as somebody's who is alive, for as long as the descriptor of its folder is open
/// here: so that removeStaleCgroups() leaves it alone. Where it can't be marked it is only younger
/// than a stale one.
void markAsOurs(const Fd& folder);
/// Removes those below `place` that an agent has made for its groups, and left empty, since it was
/// killed together with its guardian. Never one that's marked, or that has just been made.
void removeStaleCgroups(const std::string& place);

/// Moves a process out of a cgroup into the one above, or, if that takes nobody, since it shares
/// out controllers, into `refuge`. Where neither takes it, it stays.
void moveOut(pid_t pid, const std::string& path, const std::string& refuge);
/// Writes one of a cgroup's files, whole.
Result<void> writeControl(const std::string& file, std::string_view text);

/// A cgroup of ours, of version 2 or of one hierarchy of version 1.
///
/// Invariant: it's made for one round, and not used again after `kill`: Linux 6.18 kills whatever
/// is cloned into a cgroup whose cgroup.kill was ever written to. Owner: a worker group. Thread:
/// supervisor.
class Cgroup {
 public:
  /// Makes the folder, and marks it as ours. EACCES, EROFS: it isn't delegated to us. EEXIST: it's
  /// somebody else's.
  static Result<Cgroup> make(std::string path);

  const std::string& path() const { return path_; }
  /// For CLONE_INTO_CGROUP.
  int folder() const { return folder_.get(); }
  /// Whoever writes 0 to it, is in it.
  int procs() const { return procs_.get(); }

  std::vector<pid_t> members() const { return membersOf(path_); }

  /// Not before Linux 5.14, and never in version 1.
  bool canKill() const;
  /// Kills all of them at once, those that are just being forked as well.
  Result<void> kill() const;

  /// Keeps them from running, so that none forks while they're being signalled one by one.
  /// Nothing where the hierarchy can't.
  void freeze(bool frozen) const;

 private:
  Cgroup(std::string path, Fd folder, Fd procs)
      : path_(std::move(path)), folder_(std::move(folder)), procs_(std::move(procs)) {}

  std::string path_;
  Fd folder_;
  Fd procs_;
};

}  // namespace regroup
