#include <signal.h>

#include <algorithm>

#include "core/process/supervisor_impl.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

/// For what a group leaves behind when it ends well: time to finish an upload, not to hang on.
constexpr milliseconds kStrayGrace = 5s;
/// Between two looks where no pidfd tells of a stray's end.
constexpr milliseconds kNoPidfdPause = 5ms;
/// Between two looks at a worker that has ended, and whose tracer hasn't waited for it.
constexpr milliseconds kTracedPause = 50ms;

bool endedWell(const ExitStatus& status) {
  return status.how == ExitStatus::How::Exited && status.code == 0;
}

}  // namespace

void Supervisor::Impl::onWorkerReady(Worker& worker) {
  if (worker.waiter.joinable()) worker.waiter.join();
  if (worker.process.pidfd) loop_->remove(worker.process.pidfd.get(), &worker);
  // Read but not reaped, see Supervisor's comment; but one that we gave up on was told already.
  auto status = statusOf(worker.process, worker.stuck ? Reap::Yes : Reap::No);
  if (status && !*status) {
    // A debugger's: its pidfd is readable as for any zombie, but the status is ours only once the
    // tracer has waited, or is gone. Watched, the pidfd would wake us again and again, and nothing
    // is documented to tell of the tracer's wait.
    loop_->setTimer(loop_->now() + kTracedPause, [this, &worker] { onWorkerReady(worker); });
    return;
  }

  if (!worker.stuck) return onGone(worker, status ? *status : std::nullopt);
  // One that we gave up on has come loose.
  worker.stuck = false;
  std::erase_if(abandoned_, [&](const auto& other) { return other.get() == &worker; });
  removeLeft();
}

/// `status`: nothing if somebody else took it.
void Supervisor::Impl::onGone(Worker& worker, std::optional<ExitStatus> status) {
  const TimePoint at = loop_->now();
  Group& group = *worker.group;
  worker.held = status.has_value();
  worker.status = status.value_or(ExitStatus{});
  group.live--;
  if (!group.failure) {
    std::optional<Usage> usage;
    // The folder won't be there when this has arrived.
    if (group.limited && !endedWell(*worker.status)) usage = group.limited->usageOf(worker.index);
    emit(group.id, at, Exited{worker.index, worker.process.pid, *worker.status, usage});
  }

  // The leader had its chance; what it leaves would only hold the GPU. Not so where the whole group
  // was signalled: a shell dies at once, and what it runs may still be saving.
  const bool leaderOnly = group.stop && group.stop->target == Target::Leader;
  if ((leaderOnly || group.killing) && worker.held)
    signalWorker(worker.process, SIGKILL, Target::Group, features_);
  if (group.live == 0 && group.phase == Phase::Running) onAllGone(group);
}

void Supervisor::Impl::onAllGone(Group& group) {
  cancelTimer(group);
  group.phase = Phase::Sweeping;
  const bool well = std::all_of(group.workers.begin(), group.workers.end(),
                                [](const auto& worker) { return endedWell(*worker->status); });
  const bool inGrace = group.stop && group.stop->target == Target::Group && !group.failure;
  if (!inGrace && (group.stop || group.failure || !well)) group.killing = true;
  if (group.killing) return killStrays(group);
  group.straysKillAt = inGrace ? group.stop->killAt : loop_->now() + kStrayGrace;
  setTimer(group, group.straysKillAt, &Impl::killStrays);
  sweep(group);
}

void Supervisor::Impl::killStrays(Group& group) {
  group.killing = true;
  dropStrayWatches(group);
  setTimer(group, loop_->now() + killWait(group), &Impl::drain);
  sweep(group);
}

/// Again and again until none is found: one may have forked while we looked.
void Supervisor::Impl::sweep(Group& group) {
  std::vector<pid_t> leaders;
  for (const auto& worker : group.workers) {
    // Nobody has reaped a stuck one either. It's told as such, and reading its environment could
    // get us stuck as well.
    if (worker->held || worker->stuck) leaders.push_back(worker->process.pid);
  }
  // One that forks faster than we look would get away.
  const bool freeze = group.killing && group.cgroup && !killsByCgroup(group);
  if (freeze) group.cgroup->freeze(true);
  auto strays = findStrays(group.cookie, leaders, features_);
  if (group.cgroup) addMembers(*group.cgroup, leaders, features_, strays);
  if (!strays.empty() && group.killing && killsByCgroup(group)) (void)group.cgroup->kill();

  bool watched = true;
  for (Stray& stray : strays) {
    // In the grace of a group that was signalled as a whole they have had their signal.
    if (group.killing || !group.stop) {
      // Once: where no pidfd can be watched we're here every few milliseconds.
      const bool isNew = group.strays.insert(stray.pid).second;
      if (group.killing) {
        signalStray(stray, SIGKILL, features_);
      } else if (isNew) {
        signalStray(stray, SIGTERM, features_);
        signalStray(stray, SIGCONT, features_);
      }
    }
    auto watch = std::make_unique<StrayWatch>();
    watch->owner = this;
    watch->group = &group;
    watch->stray = std::move(stray);
    const int pidfd = watch->stray.pidfd.get();
    watched = watched && pidfd >= 0 && loop_->add(pidfd, EPOLLIN, watch.get());
    group.strayWatches.push_back(std::move(watch));
  }
  if (freeze) group.cgroup->freeze(false);
  if (strays.empty()) return drain(group);
  if (group.killing) {
    for (const auto& worker : group.workers) {
      if (worker->held) signalWorker(worker->process, SIGKILL, Target::Group, features_);
    }
  }
  if (watched) return;
  // Fallback: kernel < 5.3 has no pollable pidfd. Bounded by the group's timer.
  dropStrayWatches(group);
  loop_->setTimer(loop_->now() + kNoPidfdPause, [this, id = group.id] {
    Group* const again = find(id);
    if (again != nullptr && again->phase == Phase::Sweeping) sweep(*again);
  });
}

void Supervisor::Impl::onStrayGone(StrayWatch& watch) {
  Group& group = *watch.group;
  loop_->remove(watch.stray.pidfd.get(), &watch);
  std::erase_if(group.strayWatches, [&](const auto& other) { return other.get() == &watch; });
  if (group.strayWatches.empty()) sweep(group);
}

void Supervisor::Impl::dropStrayWatches(Group& group) {
  for (auto& watch : group.strayWatches) {
    if (watch->stray.pidfd) loop_->remove(watch->stray.pidfd.get(), watch.get());
  }
  group.strayWatches.clear();
}

void Supervisor::Impl::drain(Group& group) {
  cancelTimer(group);
  dropStrayWatches(group);
  group.phase = Phase::Draining;
  std::vector<StreamId> streams;
  for (auto& worker : group.workers) {
    if (worker->held) (void)statusOf(worker->process, Reap::Yes);
    worker->held = false;
    for (auto& stream : worker->streams) {
      if (stream) streams.push_back(*stream);
    }
  }
  if (streams.empty()) return closeCgroups(group);
  // The loop is shared: what's posted once it has ended isn't run, and we may be gone then.
  pump_->finish(std::move(streams), group.drain, [this, loop = loop_, id = group.id](auto tails) {
    loop->post([this, id, tails = std::move(tails)]() mutable {
      Group* const group = find(id);
      if (group == nullptr) return;
      group->tails = std::move(tails);
      closeCgroups(*group);
    });
  });
}

void Supervisor::Impl::end(Group& group) {
  const GroupId id = group.id;
  Ended ended{std::move(group.stuck), group.strays.size(), {}};
  size_t next = 0;
  for (auto& worker : group.workers) {
    for (size_t stream = 0; stream < 2; stream++) {
      if (!worker->streams[stream]) continue;
      streams_.erase(*worker->streams[stream]);
      if (next < group.tails.size())
        ended.tails.push_back({worker->index, stream, std::move(group.tails[next++])});
    }
    if (!worker->stuck) continue;
    worker->group = nullptr;
    abandoned_.push_back(std::move(worker));
  }
  auto failure = std::move(group.failure);
  groups_.erase(id);
  if (failure) {
    emit(id, loop_->now(), *std::move(failure));
  } else {
    emit(id, loop_->now(), std::move(ended));
  }
  if (groups_.empty()) tellIdle();
}

}  // namespace regroup
