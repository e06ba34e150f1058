#include <errno.h>
#include <signal.h>

#include <algorithm>

#include "core/process/supervisor_impl.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

void Supervisor::Impl::stop(GroupId id, const StopRequest& request) {
  Group* const found = find(id);
  if (found == nullptr || found->killing || found->phase == Phase::Draining) return;
  Group& group = *found;
  if (group.phase == Phase::Opening) return giveUpOpening(group, {"open", ECANCELED});

  const TimePoint killAt = loop_->now() + request.grace;
  if (!group.stop) {
    group.stop = Stop{request.target, killAt, request.killWait};
    for (auto& worker : group.workers) {
      if (request.grace <= 0ms) break;
      if (worker->live()) {
        signalWorker(worker->process, request.signal, request.target, features_);
        continueWorker(worker->process, request.target, features_);
      } else if (worker->held && group.phase == Phase::Running) {
        const int signal = request.target == Target::Group ? request.signal : SIGKILL;
        signalWorker(worker->process, signal, Target::Group, features_);
      }
    }
  } else {
    group.stop->killWait = std::min(group.stop->killWait, request.killWait);
    if (killAt >= group.stop->killAt) return;
    group.stop->killAt = killAt;
  }

  const bool running = group.phase == Phase::Running;
  const auto then = running ? &Impl::kill : &Impl::killStrays;
  if (request.grace <= 0ms) return (this->*then)(group);
  setTimer(group, running ? killAt : std::min(killAt, group.straysKillAt), then);
}

void Supervisor::Impl::signal(GroupId id, int signal, Target target) {
  Group* const group = find(id);
  if (group == nullptr) return;
  for (auto& worker : group->workers) {
    if (worker->live()) signalWorker(worker->process, signal, target, features_);
  }
}

void Supervisor::Impl::kill(Group& group) {
  group.killing = true;
  for (auto& worker : group.workers) {
    if (worker->live()) {
      killWorker(worker->process, features_);
    } else if (worker->held) {
      signalWorker(worker->process, SIGKILL, Target::Group, features_);
    }
  }
  setTimer(group, loop_->now() + killWait(group), &Impl::giveUp);
}

/// Nothing in user space helps a process that's stuck in the kernel; the agent goes on without.
void Supervisor::Impl::giveUp(Group& group) {
  for (auto& worker : group.workers) {
    if (!worker->live()) continue;
    const pid_t pid = worker->process.pid;
    group.stuck.push_back({worker->index, pid, processState(pid), waitChannel(pid)});
    worker->stuck = true;
    worker->held = false;
    worker->status = ExitStatus{};
  }
  group.live = 0;
  onAllGone(group);
}

}  // namespace regroup
