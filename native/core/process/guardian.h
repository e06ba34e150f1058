#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/base/features.h"
#include "core/base/result.h"
#include "core/cgroup/usage.h"
#include "core/process/process.h"
#include "core/spawn/spawn.h"

namespace regroup {

/// Our end of the guardian, a process that outlives us if we're killed, and then kills whatever is
/// left of the groups that it was told of. See native/guardian.
///
/// What it can't be told, because it's gone or doesn't read, is lost to it: the workers'
/// parent-death signal is the other half.
///
/// Owner: Supervisor. Thread: supervisor.
class Guardian {
 public:
  /// Starts it. @param program its executable's path
  static Result<std::unique_ptr<Guardian>> start(Spawner& spawner, const std::string& program,
                                                 const Features& features);
  /// Says goodbye, and waits for its end, but not for long.
  ~Guardian();
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;

  /// Before the group's first worker, so that no moment is unguarded.
  void begin(uint64_t group, const std::string& cookie);
  /// Before the folder is made: it's killed through it, and removes it.
  void addCgroup(uint64_t group, const std::string& path);
  /// Before it happens, of ours of version 2: it gives `controllers` to those below, and all that's
  /// in ours may move to `leaf`.
  void willMove(Controllers controllers, const std::string& home, const std::string& leaf);
  void watch(uint64_t group, std::span<const pid_t> leaders);
  /// Nothing is left of it.
  void end(uint64_t group);
  /// Lets it see to what's left, as if we were killed, instead of a goodbye.
  void outlive();

  bool alive() const;
  pid_t pid() const { return process_.pid; }

 private:
  Guardian(Process process, Fd socket, const Features& features)
      : process_(std::move(process)), socket_(std::move(socket)), features_(features) {}
  void tell(const std::string& lines);

  Process process_;
  Fd socket_;
  const Features features_;
};

}  // namespace regroup
