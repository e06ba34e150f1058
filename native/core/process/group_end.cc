#include <algorithm>
#include <utility>

#include "core/process/supervisor_impl.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

/// The peak stays that of all who were in the cgroup: it can't be told apart.
Usage usageSince(const Usage& before, Usage now) {
  now.oomKills -= std::min(now.oomKills, before.oomKills);
  now.pidsRefused -= std::min(now.pidsRefused, before.pidsRefused);
  return now;
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
  remains_.remove();
}

/// `status`: nothing if somebody else took it.
void Supervisor::Impl::onGone(Worker& worker, std::optional<ExitStatus> status) {
  const TimePoint at = loop_->now();
  Group& group = *worker.group;
  worker.held = status.has_value();
  worker.status = status.value_or(ExitStatus{});
  group.live--;
  // What it said before it died may be unread: that it has become a worker, for one.
  if (worker.channel) worker.channel->drain();
  worker.channel.reset();
  if (!group.failure && worker.standby != Standby::Replaced) {
    std::optional<Usage> usage;
    // The folder won't be there when this has arrived.
    const WorkerCgroups* const limited = group.cgroups.limited();
    if (limited != nullptr && !endedWell(*worker.status))
      usage = usageSince(worker.before, limited->usageOf(worker.index));
    Exited exited{worker.index, worker.process.pid, *worker.status, usage};
    if (!keepBack(worker, at, exited)) emit(group.id, at, std::move(exited));
  }

  if (!worker.held && guardian_) guardian_->letGo(group.id, worker.process.pid);
  endLoaders(group, worker);
  if (group.phase != Phase::Running || group.handOver) return;
  if (group.live == 0) return onAllGone(group);
  killReplaced(group);
}

/// Once the group is being stopped. Not so where the whole group was signalled: a shell dies at
/// once, and what it runs may still be saving.
void Supervisor::Impl::endLoaders(Group& group, const Worker& ended) {
  if (!group.stop || group.stop->target != Target::Leader || !ended.held) return;
  if (group.phase != Phase::Running || group.live == 0) return;  // all are looked at then
  std::vector<pid_t> workers;
  for (const auto& worker : group.workers) {
    if (worker->held || worker->live()) workers.push_back(worker->process.pid);
  }
  sweepOf(group).endLoaders(workers, ended.process.pid);
}

StraySweep& Supervisor::Impl::sweepOf(Group& group) {
  if (!group.sweep) {
    const bool isMoved = inHome_;
    group.sweep = std::make_unique<StraySweep>(
        *loop_, search_, features_,
        StraySweep::Subject{.cookie = group.cookie,
                            .cgroup = group.cgroups.own(),
                            .isHeld = group.cgroups.isHeld(),
                            .folders = group.cgroups.folders(),
                            .refuge = isMoved ? home_.leaf() : std::string(),
                            .since = group.since,
                            .tidyUp = group.tidyUp});
  }
  return *group.sweep;
}

StraySweep::How Supervisor::Impl::howToSweep(const Group& group) const {
  using How = StraySweep::How;
  if (group.failure || group.hurried) return How::Kill;
  if (group.stop && group.stop->target == Target::Group) return How::Wait;
  const bool well = std::all_of(group.workers.begin(), group.workers.end(), [](const auto& worker) {
    return worker->standby == Standby::Replaced || endedWell(*worker->status);
  });
  return well && !group.stop ? How::Clean : How::Tidy;
}

void Supervisor::Impl::onAllGone(Group& group) {
  cancelTimer(group);
  group.phase = Phase::Sweeping;
  std::vector<pid_t> workers;
  for (const auto& worker : group.workers) {
    // Nobody has reaped a stuck one either. It's told as such, and is no stray.
    if (worker->held || worker->stuck) workers.push_back(worker->process.pid);
  }
  const TimePoint killAt = group.stop ? group.stop->killAt : loop_->now();
  sweepOf(group).begin(howToSweep(group), std::move(workers), killAt, killWait(group),
                       [this, id = group.id] { drain(*find(id)); });
}

void Supervisor::Impl::drain(Group& group) {
  cancelTimer(group);
  group.phase = Phase::Draining;
  reap(group);
  std::vector<StreamId> streams;
  for (auto& worker : group.workers) {
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

/// Their numbers may be strangers' from then on, so the guardian must have let go of them.
void Supervisor::Impl::reap(Group& group) {
  Unreaped unreaped{group.id, {}};
  std::vector<pid_t> stuck;
  for (auto& worker : group.workers) {
    if (worker->stuck) stuck.push_back(worker->process.pid);
    if (!std::exchange(worker->held, false)) continue;
    unreaped.processes.push_back({worker->process.pid, std::exchange(worker->process.pidfd, Fd())});
  }
  if (guardian_) {
    guardian_->letGo(group.id);
    guardian_->watch(group.id, stuck);
  }
  unreaped_.push_back(std::move(unreaped));
  if (!guardian_) return reapNow(group.id);
  guardian_->whenTold([this, id = group.id] { reapNow(id); });
}

void Supervisor::Impl::reapNow(GroupId group) {
  std::erase_if(unreaped_, [&](const Unreaped& each) {
    if (each.group != group) return false;
    for (const Process& process : each.processes) (void)statusOf(process, Reap::Yes);
    return true;
  });
}

void Supervisor::Impl::end(Group& group) {
  const GroupId id = group.id;
  Ended ended{std::move(group.stuck), {}, {}, {}};
  if (group.sweep) {
    ended.strays = group.sweep->signalled();
    ended.left = group.sweep->left();
  }
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
