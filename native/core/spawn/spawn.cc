#include "core/spawn/spawn.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "core/base/syscall.h"

namespace regroup {

namespace {

constexpr uint64_t kAllSignals = ~uint64_t{0};

SpawnMethod bestMethod(const Features& features) {
  if (!features.pidfd) return SpawnMethod::Clone;
  if (features.clone3) return SpawnMethod::Clone3;
  if (features.clonePidfd) return SpawnMethod::ClonePidfd;
  return SpawnMethod::ClonePidfdOpen;
}

void tellRefused(const ChildReport& report, std::vector<Refusal>& refused) {
  const auto tell = [&](StartStep step, int error) {
    if (error != 0) refused.push_back({step, {rowOf(step).call, error}});
  };
  tell(StartStep::Cgroup, report.cgroupError);
  tell(StartStep::Affinity, report.affinityError);
  tell(StartStep::Memory, report.memoryError);
}

/// "Not here": the kernel doesn't know the call or a flag, or a filter is in front of it.
bool isRefusal(int error) {
  return error == ENOSYS || error == EPERM || error == EINVAL;
}

}  // namespace

Result<Spawner> Spawner::create(const Features& features) {
  auto stack = CloneStack::map();
  if (!stack) return stack.error();
  auto report = Mapping::anonymous(sizeof(ChildReport), MAP_SHARED);
  if (!report) return report.error();
  return Spawner(features, *std::move(stack), *std::move(report));
}

Spawner::Spawner(const Features& features, CloneStack stack, Mapping report)
    : features_(features),
      method_(bestMethod(features)),
      stack_(std::move(stack)),
      reportPage_(std::move(report)),
      report_(reinterpret_cast<ChildReport*>(reportPage_.data())) {
  refresh();
}

void Spawner::refresh() {
  ignored_ = ignoredSignals();
  start_ = startSignals();
  agentPid_ = ::getpid();
}

void Spawner::limitTo(SpawnMethod method) {
  method_ = std::max(method_, method);
}

Cloned Spawner::clone(ChildTask& task, const Cgroup* cgroup) {
  SpawnPlan plan = *task.plan;
  plan.ignoredSignals = start_.ignored;
  plan.blockedSignals = start_.blocked;
  ChildTask copy{&plan, task.report};
  bool into = cgroup != nullptr && features_.cloneIntoCgroup;
  while (true) {
    const bool clone3 = method_ == SpawnMethod::Clone3;
    const bool clear = clone3 && features_.clearSighand;
    plan.resetSignals = (clear ? ignored_ : kAllSignals) & ~start_.ignored;
    uint64_t flags = clear ? kCloneClearSighand : 0;
    into = into && clone3;
    if (into) flags |= kCloneIntoCgroup;
    plan.cgroupProcs = cgroup == nullptr || into ? -1 : cgroup->procs();
    if (method_ <= SpawnMethod::ClonePidfd) flags |= CLONE_PIDFD;
    Cloned child = cloneChild(stack_, clone3 ? CloneCall::Clone3 : CloneCall::Clone, flags, SIGCHLD,
                              runChild, &copy, into ? cgroup->folder() : -1);
    if (child.pid >= 0) return child;
    if (into && child.error != EAGAIN && child.error != ENOMEM) {
      // A cgroup that refuses it may have many reasons; joining it is tried once more then.
      into = false;
      continue;
    }
    if (!isRefusal(child.error)) return child;
    if (clear) {
      features_.clearSighand = false;
    } else if (method_ < SpawnMethod::ClonePidfdOpen) {
      method_ = static_cast<SpawnMethod>(static_cast<int>(method_) + 1);
    } else {
      return child;
    }
  }
}

void Spawner::setCloning(bool isUnderWay) {
  const std::lock_guard lock(cloning_->mutex);
  cloning_->isUnderWay = isUnderWay;
  if (isUnderWay) *report_ = {};  // the pid of the one before
}

std::optional<Spawner::Child> Spawner::child() const {
  const std::lock_guard lock(cloning_->mutex);
  const pid_t pid = __atomic_load_n(&report_->pid, __ATOMIC_ACQUIRE);
  if (!cloning_->isUnderWay || pid <= 0) return std::nullopt;
  return Child{pid, __atomic_load_n(&report_->step, __ATOMIC_RELAXED)};
}

void Spawner::killChild() {
  const std::lock_guard lock(cloning_->mutex);
  const pid_t pid = __atomic_load_n(&report_->pid, __ATOMIC_ACQUIRE);
  if (cloning_->isUnderWay && pid > 0) (void)killPid(pid, SIGKILL);
}

std::variant<Process, SpawnFailure> Spawner::spawn(const PreparedCommand& command,
                                                   std::vector<Refusal>* refused,
                                                   const Cgroups& cgroups) {
  SpawnPlan plan = command.plan();
  plan.cgroupLimits = cgroups.limits;
  plan.limitProcs = cgroups.joined.data();
  plan.limitProcsCount = static_cast<int>(cgroups.joined.size());
  plan.agentPid = agentPid_;
  plan.closeRange = features_.closeRange;
  ChildTask task{&plan, report_};
  Cloned child;
  {
    // A handler of the host's must not run in the child, on our memory.
    SignalBlock block;
    setCloning(true);
    child = clone(task, cgroups.born);
    setCloning(false);
  }
  if (child.pid < 0) return SpawnFailure{StartStep::Spawn, {"clone", child.error}};

  Process process{child.pid, std::move(child.pidfd)};
  const ChildReport report = *report_;
  if (report.error != 0 || report.step != StartStep::Exec) {
    // Reaped right here: it's a zombie, or about to be one. ECHILD: somebody else did.
    (void)waitForExit(process.pid, Reap::Yes, true);
    const bool killed = report.error == 0;
    return SpawnFailure{
        report.step, {rowOf(report.step).call, report.error}, report.resource, report.path, killed};
  }
  if (refused != nullptr) tellRefused(report, *refused);
  if (process.pidfd || method_ == SpawnMethod::Clone) return process;

  auto pidfd = openPidfd(process.pid);
  if (pidfd) {
    process.pidfd = *std::move(pidfd);
    return process;
  }
  // Somebody else took its status already: it has been a worker, if only for a moment.
  if (pidfd.error().code == ESRCH) return process;
  // Out of descriptors. Still our child, or there'd be no such process.
  (void)killPid(process.pid, SIGKILL);
  (void)waitForExit(process.pid, Reap::Yes, true);
  return SpawnFailure{StartStep::Spawn, pidfd.error()};
}

}  // namespace regroup
