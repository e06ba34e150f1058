#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/base/fd.h"
#include "core/base/result.h"
#include "core/spawn/binding.h"
#include "core/spawn/limits.h"
#include "core/spawn/steps.h"

namespace regroup {

/// What a worker shall be, in words.
struct Command {
  std::string file;  // a path, or a name that's looked up along PATH of `env`
  std::vector<std::string> argv;
  std::vector<std::string> env;      // NAME=value; the whole environment
  std::string cwd;                   // empty: ours
  std::optional<rlim_t> nofileSoft;  // lowered to it; nothing: ours, as it was before we raised it
  Binding binding;
  Limits limits;
  bool outlivesUs = false;  // else it's killed when the thread that spawned it ends
};

/// Written by the child, on a page that it shares with us: also where CLONE_VM is emulated by a
/// fork (qemu-user), what it says arrives.
struct ChildReport {
  StartStep step = StartStep::Spawn;  // the one begun last
  int error;                          // errno, if that one failed
  int affinityError;  // errno of an optional binding that was refused, and the start went on
  int memoryError;
  int cgroupError;  // the same of a cgroup that limits nothing: it runs outside of it
  int resource;     // index of the resource limit that was tried last
  int path;         // index of the path that was tried last, or that may not be run
  pid_t pid;        // its own; 0: it hasn't begun
};
static_assert(std::is_trivially_destructible_v<ChildReport>);

/// All that a child needs, decided beforehand: pointers into what others own.
///
/// Invariant: descriptor `fds[i]` becomes number i; where the two differ, fds[i] is no number
/// below fdCount, so that no move overwrites the source of another.
struct SpawnPlan {
  const char* const* paths;  // tried in turn
  int pathCount;
  char* const* argv;
  char* const* envp;
  const char* cwd;  // null: ours
  const int* fds;
  int fdCount;
  uint64_t resetSignals;  // to default, as a bit mask
  uint64_t ignoredSignals;
  uint64_t blockedSignals;
  const rlim_t* nofileSoft;  // null: ours
  BindingCalls binding;
  LimitCalls limits;
  // Each a cgroup.procs, to join that one; -1: none, or it's born in it. It runs without the first,
  // unless that limits it, but not without the others.
  int cgroupProcs;
  bool cgroupLimits;
  const int* limitProcs;
  int limitProcsCount;
  pid_t agentPid;
  bool outlivesUs;
  bool closeRange;
};
static_assert(std::is_trivially_destructible_v<SpawnPlan>);

/// Where a program of this name may be: along the PATH of `env`, as execvp would look for it. One
/// with a slash is taken as it is. Which of them there is, the child finds out: looking at a dead
/// disk may take for ever.
std::vector<std::string> pathsOf(const std::string& name, std::span<const std::string> env);

/// Owns what a SpawnPlan of one worker points to.
class PreparedCommand {
 public:
  /// `fds`: the worker's descriptors 0, 1, 2…, which must stay open until it's spawned; one
  /// that names itself (fds[1] == 1) is inherited.
  static Result<PreparedCommand> prepare(const Command& command, std::span<const int> fds);

  /// Filled, but for what the spawner knows: signals, pid and features.
  SpawnPlan plan() const;
  /// Of ChildReport::path.
  const std::string& path(int index) const { return paths_[static_cast<size_t>(index)]; }

 private:
  PreparedCommand() = default;

  std::vector<std::string> paths_;
  std::vector<const char*> pathPointers_;
  std::string cwd_;
  std::vector<std::string> strings_;  // argv, then env
  std::vector<char*> pointers_;       // the same, each part with a null at its end
  size_t envStart_ = 0;
  std::vector<Fd> moved_;
  std::vector<int> fds_;
  std::optional<rlim_t> nofileSoft_;
  PreparedBinding binding_;
  PreparedLimits limits_;
  bool outlivesUs_ = false;
};

}  // namespace regroup
