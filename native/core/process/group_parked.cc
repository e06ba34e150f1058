#include <errno.h>

#include <algorithm>
#include <utility>

#include "core/process/supervisor_impl.h"

namespace regroup {

namespace {

StartFailed fencedAt(size_t index) {
  return {index, StartStep::Spawn, {"clone", ECANCELED}, {}};
}

}  // namespace

/// Its streams are of the kinds that they'll be in its round, since programs look at that as they
/// start.
std::optional<StartFailed> Supervisor::Impl::openParked(Group& group, Worker& worker,
                                                        const WorkerPlan& plan, Stdio& stdio) {
  const auto fail = [&](const Error& error) {
    return StartFailed{worker.index, StartStep::Output, error, "/dev/null"};
  };
  auto null = nullFd(group);
  if (!null) return fail(null.error());
  stdio.fds = {plan.inheritStdin && isOpen(0) ? 0 : *null, *null, *null};
  for (const int stream : {0, 1}) {
    int& fd = stdio.fds[static_cast<size_t>(stream) + 1];
    switch (plan.streams[stream].to) {
      case StreamPlan::To::Inherit:
        if (isOpen(stream + 1)) fd = stream + 1;
        break;
      case StreamPlan::To::Null:
        break;
      case StreamPlan::To::File: {
        auto file = makeMemfd("regroup-standby");
        if (!file) return fail(file.error());
        stdio.ours.push_back(*std::move(file));
        fd = stdio.ours.back().get();
        break;
      }
      case StreamPlan::To::Pipe: {
        auto pipe = makePipe();
        if (!pipe) return fail(pipe.error());
        worker.parkedPipes[stream] = std::move(pipe->read);
        stdio.ours.push_back(std::move(pipe->write));
        fd = stdio.ours.back().get();
        break;
      }
    }
  }

  auto made = StandbyChannel::make(*loop_, [this, &worker](std::optional<std::string> message) {
    onSaid(worker, std::move(message));
  });
  if (!made) return fail(made.error());
  auto sent = made->ours->send(plan.standbyWords);
  if (!sent) return fail(sent.error());
  worker.channel = std::move(made->ours);
  worker.standby = Standby::Parked;
  stdio.fds.push_back(made->its.get());
  stdio.ours.push_back(std::move(made->its));
  return {};
}

void Supervisor::Impl::takeOver(GroupPlan plan, std::vector<std::string> orders,
                                std::optional<milliseconds> answerWait) {
  Group* const group = find(plan.group);
  const bool isThere = group != nullptr && group->parks && group->phase == Phase::Running &&
                       !group->stop && !group->killing && group->live > 0 &&
                       group->workers.size() == plan.workers.size() &&
                       orders.size() == plan.workers.size();
  if (!isThere) {
    emit(plan.group, loop_->now(), NotTaken{});
    starts_.over();
    return;
  }
  group->parks = false;
  group->drain = plan.drain;
  group->tidyUp = plan.tidyUp;
  group->handOver = std::make_unique<HandOver>();
  group->handOver->orders = std::move(orders);
  group->handOver->answerWait = answerWait.value_or(options_.answerWait);
  if (!openFiles(*group, plan)) handOver(*group, plan, {});
}

void Supervisor::Impl::handOver(Group& group, GroupPlan& plan, std::vector<SinkFiles> files) {
  HandOver& hand = *group.handOver;
  group.phase = Phase::Running;
  spawner_.refresh();
  const size_t count = plan.workers.size();
  hand.streams = {std::move(files), plan.tailBytes, pipeBytes(plan), {}};
  hand.plan = std::move(plan);
  hand.stdio.resize(count);
  hand.started.at.resize(count, loop_->now());
  hand.unanswered = count;
  // Whoever has an order may run its script before we kill it.
  if (isFenced()) group.failure = fencedAt(0);
  for (size_t i = 0; i < count && !group.failure; i++) {
    group.failure =
        openStdio(group, *group.workers[i], hand.plan.workers[i], hand.streams, hand.stdio[i]);
    noteUsage(group, *group.workers[i]);
  }
  for (size_t i = 0; i < count && !group.failure; i++) giveOrder(group, i);
  if (group.failure) return onAnswered(group);
  hand.timer = loop_->setTimer(loop_->now() + hand.answerWait, [this, &group] {
    group.handOver->timer.reset();
    onNoAnswer(group);
  });
}

void Supervisor::Impl::giveOrder(Group& group, size_t index) {
  HandOver& hand = *group.handOver;
  Worker& worker = *group.workers[index];
  std::vector<int> fds;
  for (const size_t stream : {0, 1}) {
    const StreamPlan::To to = hand.plan.workers[index].streams[stream].to;
    if (to == StreamPlan::To::File || to == StreamPlan::To::Pipe)
      fds.push_back(hand.stdio[index].fds[stream + 1]);
  }
  worker.standby = Standby::Ordered;
  const bool isThere = worker.live() && worker.channel;
  if (isThere && worker.channel->send(hand.orders[index], fds)) return;
  replace(group, index);
}

/// By a process that starts from the plan: nothing of the script has run in the standby.
void Supervisor::Impl::replace(Group& group, size_t index) {
  HandOver& hand = *group.handOver;
  auto old = std::exchange(group.workers[index], makeWorker(group, index));
  Worker& worker = *group.workers[index];
  worker.limits = std::move(old->limits);
  for (const size_t stream : {0, 1})
    worker.streams[stream] = std::exchange(old->streams[stream], {});
  old->standby = Standby::Replaced;
  old->channel.reset();
  if (old->live()) signalWorker(old->process, SIGKILL, Target::Group, features_);
  // Behind the others: it's waited for, and its number stays ours, as theirs do.
  group.workers.push_back(std::move(old));

  // The guardian, which hears the fence as well, may be what ended the standby.
  if (!group.failure && isFenced()) group.failure = fencedAt(index);
  noteUsage(group, worker);
  if (!group.failure) {
    const WorkerPlan& plan = hand.plan.workers[index];
    starts_.at({group.id, index, plan.command.file, plan.command.cwd});
    group.failure = spawnWorker(group, worker, plan, hand.stdio[index], hand.started.unbound);
  }
  if (!group.failure && guardian_) guardian_->watch(group.id, {&worker.process.pid, 1});
  hand.started.at[index] = loop_->now();
  hand.stdio[index].ours.clear();
  hand.unanswered--;
  onAnswered(group);
}

void Supervisor::Impl::onSaid(Worker& worker, std::optional<std::string> message) {
  Group& group = *worker.group;
  if (worker.standby == Standby::Parked) {
    if (message && !std::exchange(worker.hasSaid, true)) {
      emit(group.id, loop_->now(), StandbySaid{worker.index, *std::move(message)});
      return;
    }
    // Whatever it does now, it's no standby. One that went on talking would fill our memory.
    worker.channel.reset();
    if (worker.live()) signalWorker(worker.process, SIGKILL, Target::Group, features_);
    return;
  }
  if (worker.standby != Standby::Ordered) return;
  // What each says first is that it has parked; this one's order was there before.
  if (message && !std::exchange(worker.hasSaid, true)) {
    emit(group.id, loop_->now(), StandbySaid{worker.index, *std::move(message)});
    return;
  }
  if (!message || typeOfMessage(*message) != "started") {
    if (message) emit(group.id, loop_->now(), StandbySaid{worker.index, *std::move(message)});
    return replace(group, worker.index);
  }
  HandOver& hand = *group.handOver;
  worker.standby = Standby::None;
  worker.channel.reset();
  hand.started.at[worker.index] = loop_->now();
  hand.stdio[worker.index].ours.clear();
  hand.unanswered--;
  onAnswered(group);
}

/// Later, since whoever calls it goes on with the group, which may end by this.
void Supervisor::Impl::onAnswered(Group& group) {
  if (group.handOver->unanswered == 0 || group.failure) postFinish(group);
}

void Supervisor::Impl::postFinish(Group& group) {
  post([id = group.id](Impl& self) {
    Group* const found = self.find(id);
    if (found != nullptr && found->handOver) self.finishHandOver(*found);
  });
}

void Supervisor::Impl::onNoAnswer(Group& group) {
  const size_t count = group.handOver->plan.workers.size();
  const auto isUnanswered = [&](size_t index) {
    return group.workers[index]->standby == Standby::Ordered;
  };
  for (size_t i = 0; i < count; i++) {
    // Its answer may be there, and unread.
    if (isUnanswered(i)) group.workers[i]->channel->drain();
    if (isUnanswered(i)) replace(group, i);
  }
}

/// Whoever hasn't answered is taken for a worker.
void Supervisor::Impl::finishHandOver(Group& group) {
  const auto hand = std::move(group.handOver);
  if (hand->timer) loop_->cancelTimer(*hand->timer);
  closeFiles(std::move(hand->streams.done));
  group.null.reset();
  forgetStandbys(group);
  starts_.over();
  if (group.failure) {
    onFence();  // told before the failure that it may be
    return failStart(group);
  }

  for (size_t i = 0; i < hand->plan.workers.size(); i++)
    hand->started.pids.push_back(group.workers[i]->process.pid);
  if (guardian_ && group.cgroups.isHeld()) guardian_->isHeld(group.id);
  emit(group.id, loop_->now(), std::move(hand->started));
  for (auto& [at, exited] : hand->exits) emit(group.id, at, std::move(exited));
  startEarly(group);
  if (group.live == 0) return onAllGone(group);
  killReplaced(group);
  onFence();
}

/// Standbys that are killed, and not gone, once nobody else is left: the group waits for them no
/// longer than for workers.
void Supervisor::Impl::killReplaced(Group& group) {
  const bool hasWorkers = std::any_of(
      group.workers.begin(), group.workers.end(),
      [](const auto& worker) { return worker->live() && worker->standby != Standby::Replaced; });
  if (!hasWorkers && !group.killing) kill(group);
}

/// What a standby has had, by its imports, is none of its round's.
void Supervisor::Impl::noteUsage(const Group& group, Worker& worker) {
  const WorkerCgroups* const limited = group.cgroups.limited();
  if (limited != nullptr) worker.before = limited->usageOf(worker.index);
}

/// They're workers from now on, or about to be killed.
void Supervisor::Impl::forgetStandbys(Group& group) {
  for (auto& worker : group.workers) {
    if (worker->standby != Standby::Replaced) worker->standby = Standby::None;
    worker->channel.reset();
    worker->limits = {};
    for (Fd& pipe : worker->parkedPipes) pipe.reset();
  }
}

/// @returns false: nothing is under way that this end would have to wait for
bool Supervisor::Impl::keepBack(Worker& worker, TimePoint at, Exited exited) {
  Group& group = *worker.group;
  if (!group.handOver) return false;
  switch (worker.standby) {
    case Standby::Parked:  // replaced when its turn comes
    case Standby::Replaced:
      break;
    case Standby::Ordered:
      replace(group, worker.index);
      break;
    case Standby::None: {
      const bool isFailure = !endedWell(exited.status);
      group.handOver->exits.emplace_back(at, std::move(exited));
      // The others may import for minutes yet: a failure isn't told behind that.
      if (isFailure) postFinish(group);
      break;
    }
  }
  return true;
}

}  // namespace regroup
