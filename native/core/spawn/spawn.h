#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "core/base/clone.h"
#include "core/base/features.h"
#include "core/base/start_signals.h"
#include "core/cgroup/cgroup.h"
#include "core/spawn/child.h"
#include "core/spawn/plan.h"
#include "core/spawn/process.h"

namespace regroup {

/// The ways to a child, best first. The next is taken where a kernel or a filter refuses one.
enum class SpawnMethod : uint8_t {
  Clone3,          // 5.3
  ClonePidfd,      // 5.2: clone(CLONE_PIDFD)
  ClonePidfdOpen,  // pidfd_open afterwards; safe, since an unreaped child's pid can't be reused
  Clone,           // no pidfd
};

/// Why there's no worker. Nothing is left of it.
struct SpawnFailure {
  StartStep step;  // Spawn: the clone itself failed
  Error error;
  int resource = 0;     // at Rlimits: the index of the limit
  int path = 0;         // at Exec: PreparedCommand::path()
  bool killed = false;  // SIGKILLed before execve, without a word: OOM, or a killed cgroup
};

/// What was optional, and the kernel refused: a binding, or a cgroup that limits nothing.
struct Refusal {
  StartStep step;
  Error error;
};

/// Of a worker that's about to be.
struct Cgroups {
  /// It's born in it, or joins it before anything else where the kernel can't do that.
  const Cgroup* born = nullptr;
  /// It mustn't run outside of it.
  bool limits = false;
  /// More that it mustn't run outside of: each a cgroup.procs.
  std::span<const int> joined;
};

/// Plan in, process or failure out.
///
/// Owner: Supervisor.
/// Thread: one that lives as long as its workers shall, since PR_SET_PDEATHSIG follows it.
class Spawner {
 public:
  static Result<Spawner> create(const Features& features);
  /// To be called before a batch: looks up what all its workers share.
  void refresh();

  /// `refused`: gets what a worker that has started had to do without; null: nobody asks.
  std::variant<Process, SpawnFailure> spawn(const PreparedCommand& command,
                                            std::vector<Refusal>* refused = nullptr,
                                            const Cgroups& cgroups = {});

  /// A child between clone and execve. It holds up the thread that spawns, for as long as its
  /// working directory or its program are on a disk that doesn't answer, or while it's stopped.
  struct Child {
    pid_t pid;
    StartStep step;
  };
  /// Thread: any. Nothing: there's none at this moment.
  std::optional<Child> child() const;
  /// Thread: any. SIGKILL to it, if there's one: then spawn() returns, unless it's stuck in the
  /// kernel.
  void killChild();

  SpawnMethod method() const { return method_; }
  /// For tests: no better way than this one.
  void limitTo(SpawnMethod method);

 private:
  Spawner(const Features& features, CloneStack stack, Mapping report);
  Cloned clone(ChildTask& task, const Cgroup* cgroup);
  void setCloning(bool isUnderWay);

  /// While it's true, the child that the report names is unreaped, and its number can't be a
  /// stranger's.
  struct Cloning {
    std::mutex mutex;
    bool isUnderWay = false;  // guarded by mutex
  };

  Features features_;
  SpawnMethod method_;
  CloneStack stack_;
  Mapping reportPage_;   // shared with the child
  ChildReport* report_;  // on it
  std::unique_ptr<Cloning> cloning_ = std::make_unique<Cloning>();
  uint64_t ignored_ = 0;  // by this process, now
  StartSignals start_;
  pid_t agentPid_ = 0;
};

}  // namespace regroup
