#pragma once

#include <span>
#include <variant>
#include <vector>

#include "core/base/clone.h"
#include "core/base/features.h"
#include "core/base/start_signals.h"
#include "core/cgroup/cgroup.h"
#include "core/process/process.h"
#include "core/spawn/child.h"
#include "core/spawn/plan.h"

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
  ChildStep step;  // None: the clone itself failed
  Error error;
  int resource = 0;     // at Rlimits: the index of the limit
  bool killed = false;  // SIGKILLed before execve, without a word: OOM, or a killed cgroup
};

/// A binding that was optional, and that the kernel refused.
struct RefusedBinding {
  ChildStep step;
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
  Spawner(Spawner&&) noexcept;
  ~Spawner();

  /// To be called before a batch: looks up what all its workers share.
  void refresh();

  /// `refused`: gets what a worker that has started had to do without; null: nobody asks.
  std::variant<Process, SpawnFailure> spawn(const PreparedCommand& command,
                                            std::vector<RefusedBinding>* refused = nullptr,
                                            const Cgroups& cgroups = {});

  SpawnMethod method() const { return method_; }
  /// For tests: no better way than this one.
  void limitTo(SpawnMethod method);

 private:
  Spawner(const Features& features, CloneStack stack, ChildReport* report);
  Cloned clone(ChildTask& task, const Cgroup* cgroup);

  Features features_;
  SpawnMethod method_;
  CloneStack stack_;
  ChildReport* report_;  // a shared page
  uint64_t ignored_ = 0;  // by this process, now
  StartSignals start_;
  pid_t agentPid_ = 0;
};

}  // namespace regroup
