#include <errno.h>
#include <signal.h>

#include <algorithm>
#include <utility>

#include "core/base/own_proc.h"
#include "core/base/proc.h"
#include "core/process/supervisor_impl.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

void Supervisor::Impl::stop(GroupId id, const StopRequest& request) {
  Group* const found = find(id);
  if (found == nullptr || found->phase == Phase::Draining) return;
  Group& group = *found;
  if (group.phase == Phase::Opening) return giveUpOpening(group, {"open", ECANCELED});
  // Whoever hasn't answered is a worker all the same: it's stopped like one.
  if (group.handOver) {
    finishHandOver(group);
    return stop(id, request);
  }
  const TimePoint killAt = loop_->now() + request.grace;
  group.hurried = group.hurried || request.grace <= 0ms;
  if (group.phase == Phase::Sweeping) return group.sweep->killBy(killAt, request.killWait);
  if (group.killing) return;

  if (!group.stop) {
    group.stop = Stop{request.target, killAt, request.killWait};
    for (auto& worker : group.workers) {
      if (request.grace <= 0ms) break;
      if (worker->live()) {
        signalWorker(worker->process, request.signal, request.target, features_);
        continueWorker(worker->process, request.target, features_);
      } else if (worker->held && request.target == Target::Group) {
        signalWorker(worker->process, request.signal, Target::Group, features_);
      } else {
        endLoaders(group, *worker);
      }
    }
  } else {
    group.stop->killWait = std::min(group.stop->killWait, request.killWait);
    if (killAt >= group.stop->killAt) return;
    group.stop->killAt = killAt;
  }
  if (request.grace <= 0ms) return kill(group);
  setTimer(group, killAt, &Impl::kill);
}

/// Once more where it has passed long ago: a group has started since then.
void Supervisor::Impl::onFence() {
  if (!isFenced()) return;  // it was moved meanwhile
  const TimePoint at = loop_->now();
  std::vector<GroupId> ids;
  for (const auto& [id, group] : groups_) {
    // One that opens its files has no worker yet.
    if (group->phase == Phase::Opening && !group->handOver) continue;
    killAtOnce(*group);
    ids.push_back(id);
  }
  // Before the ends of those groups, which some have with that.
  if ((*fence_)->takePassage()) emit(0, at, Fenced{});
  for (const GroupId id : ids) stop(id, {SIGKILL, Target::Group, 0ms, kKillWait});
}

/// Its workers and what they have started, without waiting for the workers' ends in between.
void Supervisor::Impl::killAtOnce(const Group& group) {
  if (group.phase != Phase::Opening && group.phase != Phase::Running) return;
  for (const auto& worker : group.workers) {
    if (worker->live() || worker->held)
      signalWorker(worker->process, SIGKILL, Target::Group, features_);
  }
}

void Supervisor::Impl::signal(GroupId id, int signal, Target target) {
  Group* const group = find(id);
  if (group == nullptr) return;
  for (auto& worker : group->workers) {
    if (worker->live()) signalWorker(worker->process, signal, target, features_);
  }
}

void Supervisor::Impl::signalLeader(GroupId id, size_t index, int signal) {
  Group* const group = find(id);
  if (group == nullptr || index >= group->workers.size()) return;
  const auto& worker = group->workers[index];
  if (worker->live()) signalWorker(worker->process, signal, Target::Leader, features_);
}

/// The workers themselves: what they leave may have to tidy up behind them.
void Supervisor::Impl::kill(Group& group) {
  group.killing = true;
  for (auto& worker : group.workers) {
    if (worker->live()) signalWorker(worker->process, SIGKILL, Target::Leader, features_);
  }
  group.giveUpAt = loop_->now() + killWait(group);
  awaitKilled(group);
}

void Supervisor::Impl::awaitKilled(Group& group) {
  const TimePoint next = loop_->now() + kTracedPause;
  if (next < group.giveUpAt) return setTimer(group, next, &Impl::endTracers);
  setTimer(group, group.giveUpAt, &Impl::giveUp);
}

/// Nobody gets the end of a worker that's traced before its tracer is gone, which may be one of its
/// own children.
void Supervisor::Impl::endTracers(Group& group) {
  for (auto& worker : group.workers) {
    if (!worker->live() || !procIsOurs()) continue;
    const auto status = regroup::statusOf(worker->process.pid);
    if (!status || !isDead(status)) continue;
    // At the first look its end may be under way to us.
    if (!std::exchange(worker->seenDead, true)) continue;
    signalWorker(worker->process, SIGKILL, Target::Group, features_);
  }
  awaitKilled(group);
}

/// Nothing in user space helps a process that's stuck in the kernel; the agent goes on without.
void Supervisor::Impl::giveUp(Group& group) {
  for (auto& worker : group.workers) {
    if (!worker->live()) continue;
    const pid_t pid = worker->process.pid;
    const auto status = procIsOurs() ? regroup::statusOf(pid) : std::nullopt;
    // A replaced one has no index of its own, and nobody was told of it.
    if (worker->standby != Standby::Replaced)
      group.stuck.push_back({worker->index, pid, status ? status->state : '?'});
    worker->stuck = true;
    worker->channel.reset();  // its end comes when there's no group any more
    worker->held = false;
    worker->status = ExitStatus{};
  }
  group.live = 0;
  onAllGone(group);
}

}  // namespace regroup
