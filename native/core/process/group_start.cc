#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "core/process/supervisor_impl.h"

namespace regroup {

using namespace std::chrono_literals;

namespace {

/// Sixteen times the default; doubles the throughput.
constexpr int kPipeBytes = 1024 * 1024;
/// An unprivileged user has 64 MiB of pipe buffers altogether (fs.pipe-user-pages-soft); beyond
/// it new pipes get a single page. Half of it is for others.
constexpr size_t kAllPipesBytes = 32 * 1024 * 1024;
constexpr int kDefaultPipeBytes = 64 * 1024;
/// A standby is started beside a round that runs, whose workers' ends go unheard meanwhile. One
/// that doesn't exec within this has a disk that is dead.
constexpr std::chrono::milliseconds kStandbyStart = 2s;

/// What the step that failed was about.
std::string detailOf(const SpawnFailure& failure, const Command& command,
                     const PreparedCommand& prepared) {
  if (failure.step == StartStep::Cwd) return command.cwd;
  const auto at = static_cast<size_t>(failure.resource);
  // There's none if it failed for nofileSoft.
  if (failure.step == StartStep::Rlimits && at < command.limits.resources.size())
    return describe(command.limits.resources[at]);
  return prepared.path(failure.path);
}

/// A name that none of PATH's folders has.
bool isNotFound(const SpawnFailure& failure, const Command& command) {
  const int code = failure.error.code;
  return failure.step == StartStep::Exec && (code == ENOENT || code == EACCES) &&
         command.file.find('/') == std::string::npos;
}

StartFailed toFailure(size_t index, const SpawnFailure& failure, const Command& command,
                      const PreparedCommand& prepared) {
  if (isNotFound(failure, command)) return {index, StartStep::Resolve, failure.error, command.file};
  return {index, failure.killed ? StartStep::KilledBeforeExec : failure.step, failure.error,
          detailOf(failure, command, prepared)};
}

StartFailed toFailure(size_t index, UsageRefusal refusal) {
  return StartFailed{index, StartStep::Cgroup, refusal.error, std::move(refusal.path)};
}

}  // namespace

void Supervisor::Impl::start(GroupPlan plan) {
  auto owned = std::make_unique<Group>();
  Group& group = *owned;
  group.id = plan.group;
  group.cookie = std::move(plan.cookie);
  group.drain = plan.drain;
  group.tidyUp = std::move(plan.tidyUp);
  group.parks = plan.parks;
  if (!groups_.emplace(group.id, std::move(owned)).second) {
    emit(plan.group, loop_->now(), StartFailed{0, StartStep::Resolve, {"startGroup", EEXIST}, {}});
    starts_.over();
    return;
  }

  // A standby has no files before its round.
  if (!group.parks && openFiles(group, plan)) return;
  launch(group, plan, {});
  starts_.over();
}

void Supervisor::Impl::launch(Group& group, GroupPlan& plan, std::vector<SinkFiles> files) {
  group.phase = Phase::Running;
  spawner_.refresh();
  beginPreload(plan);
  starts_.at({group.id, 0, options_.guardian, {}});
  guard(group);
  preparePreload(group, plan);
  openCgroup(group);
  if (auto refusal = openLimits(group, plan)) group.failure = toFailure(0, std::move(*refusal));
  StreamsStart streams{std::move(files), plan.tailBytes, pipeBytes(plan), {}};
  if (!group.cgroups.isHeld()) search_.noteThoseThere();
  group.since = loop_->now();
  Started started;
  group.workers.reserve(plan.workers.size());
  for (size_t i = 0; i < plan.workers.size() && !group.failure; i++) {
    group.failure = startWorker(group, plan.workers[i], i, streams, started.unbound);
    if (group.failure) break;
    const pid_t pid = group.workers.back()->process.pid;
    // At once, not for all together: it may start others before its neighbour has started.
    if (guardian_) guardian_->watch(group.id, {&pid, 1});
    started.pids.push_back(pid);
    started.at.push_back(loop_->now());
  }
  group.null.reset();
  closeFiles(std::move(streams.done));

  if (!group.failure) {
    if (guardian_ && group.cgroups.isHeld()) guardian_->isHeld(group.id);
    emit(group.id, loop_->now(), std::move(started));
    if (!group.parks) startEarly(group);
    if (group.live == 0) onAllGone(group);  // a group of none
    return onFence();
  }
  failStart(group);
}

/// None is to be left.
void Supervisor::Impl::failStart(Group& group) {
  group.phase = Phase::Running;
  group.drain = 0ms;
  if (group.live > 0) return kill(group);
  const bool hadSome = std::any_of(group.workers.begin(), group.workers.end(),
                                   [](const auto& worker) { return worker->held; });
  if (hadSome) return onAllGone(group);
  drain(group);
}

/// Makes the guardian know of the group.
void Supervisor::Impl::guard(Group& group) {
  if (options_.guardian.empty() || unguardable_) return;
  auto guardian = needGuardian(&group);
  if (!guardian) {
    unguardable_ = true;
    emit(group.id, loop_->now(), Unguarded{guardian.error()});
    return;
  }
  guardian_->begin(group.id, group.cookie);
}

/// A guardian that somebody has killed is replaced, and told all that there is but `starting`.
Result<void> Supervisor::Impl::needGuardian(const Group* starting) {
  if (guardian_ && guardian_->alive()) return {};
  auto guardian =
      Guardian::start(spawner_, *loop_, options_.guardian, fence_ ? (*fence_).get() : nullptr);
  if (!guardian) {
    guardian_.reset();
    return guardian.error();
  }
  guardian_ = *std::move(guardian);
  for (const Guests::Guest& guest : guests_.all()) guardian_->begin(guest.id, guest.cookie);
  for (const auto& [id, other] : groups_) {
    if (other.get() != starting) tellGuardian(*other);
  }
  remains_.tell(*guardian_);
  tellHome(0);
  if (lastNotice_) guardian_->setLastNotice(*lastNotice_);
  return {};
}

void Supervisor::Impl::tellGuardian(const Group& group) {
  std::vector<pid_t> leaders;
  for (const auto& worker : group.workers) {
    if (worker->held || worker->stuck) leaders.push_back(worker->process.pid);
  }
  guardian_->begin(group.id, group.cookie);
  guardian_->watch(group.id, leaders);
  for (const std::string& folder : group.cgroups.folders()) guardian_->addCgroup(group.id, folder);
  if (group.cgroups.isHeld()) guardian_->isHeld(group.id);
}

int Supervisor::Impl::pipeBytes(const GroupPlan& plan) const {
  size_t pipes = streams_.size();
  for (const WorkerPlan& worker : plan.workers) {
    for (const StreamPlan& stream : worker.streams) pipes += stream.to == StreamPlan::To::Pipe;
  }
  if (pipes == 0) return kDefaultPipeBytes;
  return static_cast<int>(std::bit_floor(std::min<size_t>(kPipeBytes, kAllPipesBytes / pipes)));
}

/// A worker runs outside of the group's cgroup, and so does what it starts: it's found by /proc
/// only.
void Supervisor::Impl::noteOutside(Group& group) {
  if (group.cgroups.noteOutside()) search_.noteThoseThere();
}

Result<int> Supervisor::Impl::nullFd(Group& group) {
  if (!group.null) {
    auto null = openFile("/dev/null", O_RDWR);
    if (!null) return null.error();
    group.null = *std::move(null);
  }
  return group.null.get();
}

std::optional<StartFailed> Supervisor::Impl::openStream(Group& group, StreamStart& start) {
  Worker& worker = start.worker;
  StreamSinks& sinks = start.plan.sinks;
  StreamsStart& streams = start.streams;
  const size_t file = 2 * worker.index + start.stream;
  const auto fail = [&](const Error& error, std::string detail) {
    return StartFailed{worker.index, StartStep::Output, error, std::move(detail)};
  };
  switch (start.plan.to) {
    case StreamPlan::To::Inherit:
      start.fd = start.stream + 1;
      if (isOpen(start.fd)) return {};
      [[fallthrough]];  // a daemon's closed stdout: its workers get none either
    case StreamPlan::To::Null: {
      auto null = nullFd(group);
      if (!null) return fail(null.error(), "/dev/null");
      start.fd = *null;
      return {};
    }
    case StreamPlan::To::File:
      streams.done.push_back(std::move(streams.files[file].file.fd));
      start.fd = streams.done.back().get();
      return {};
    case StreamPlan::To::Pipe:
      break;
  }

  auto pump = needPump();
  if (!pump) return fail(pump.error(), {});
  auto pipe = makePipe();
  if (!pipe) return fail(pipe.error(), {});
  // EPERM: the user's budget is spent; the pipe works, if slower.
  if (streams.pipeBytes > kDefaultPipeBytes) (void)setPipeSize(pipe->write, streams.pipeBytes);
  sinks.tailBytes = streams.tailBytes;
  SinkFiles files;
  if (!streams.files.empty()) files = std::move(streams.files[file]);
  // The loop is shared: what's posted once it has ended isn't run, and we may be gone then.
  auto id = (*pump)->add(std::move(pipe->read), std::move(sinks), std::move(files),
                         [this, loop = loop_](OutputTrouble trouble) {
                           loop->post([this, trouble = std::move(trouble)] { onTrouble(trouble); });
                         });
  if (!id) return fail(id.error(), {});
  worker.streams[start.stream] = *id;
  streams_[*id] = {group.id, worker.index};
  start.ours = std::move(pipe->write);
  start.fd = start.ours.get();
  return {};
}

std::unique_ptr<Supervisor::Impl::Worker> Supervisor::Impl::makeWorker(Group& group, size_t index) {
  auto worker = std::make_unique<Worker>();
  worker->owner = this;
  worker->group = &group;
  worker->index = index;
  // Not live until it's spawned.
  worker->status = ExitStatus{};
  return worker;
}

std::optional<StartFailed> Supervisor::Impl::startWorker(Group& group, WorkerPlan& plan,
                                                         size_t index, StreamsStart& streams,
                                                         std::vector<Unbound>& unbound) {
  group.workers.push_back(makeWorker(group, index));
  Worker& worker = *group.workers.back();
  starts_.at({group.id, index, plan.command.file, plan.command.cwd},
             group.parks ? std::optional(kStandbyStart) : std::nullopt);
  Stdio stdio;
  auto failed = group.parks ? openParked(group, worker, plan, stdio)
                            : openStdio(group, worker, plan, streams, stdio);
  if (failed) return failed;
  return spawnWorker(group, worker, plan, stdio, unbound);
}

std::optional<StartFailed> Supervisor::Impl::openStdio(Group& group, Worker& worker,
                                                       WorkerPlan& plan, StreamsStart& streams,
                                                       Stdio& stdio) {
  stdio.fds = {0, 1, 2};
  if (!plan.inheritStdin || !isOpen(0)) {
    auto null = nullFd(group);
    if (!null) return StartFailed{worker.index, StartStep::Output, null.error(), "/dev/null"};
    stdio.fds[0] = *null;
  }
  for (const int stream : {0, 1}) {
    StreamStart start{
        .worker = worker, .plan = plan.streams[stream], .streams = streams, .stream = stream};
    auto failed = openStream(group, start);
    if (failed) return failed;
    stdio.fds[static_cast<size_t>(stream) + 1] = start.fd;
    if (start.ours) stdio.ours.push_back(std::move(start.ours));
  }
  return {};
}

/// Those of the standby that it replaces, if it does.
std::optional<StartFailed> Supervisor::Impl::takeLimits(Group& group, Worker& worker,
                                                        const WorkerPlan& plan,
                                                        WorkerCgroups::Membership& limits) {
  limits = std::move(worker.limits);
  const WorkerCgroups* const limited = group.cgroups.limited();
  if (limited == nullptr || limits.born || !limits.joined.empty()) return {};
  auto added = limited->add(worker.index, plan.usage);
  if (auto* refusal = std::get_if<UsageRefusal>(&added))
    return toFailure(worker.index, std::move(*refusal));
  limits = std::move(*std::get_if<WorkerCgroups::Membership>(&added));
  return {};
}

std::optional<StartFailed> Supervisor::Impl::spawnWorker(Group& group, Worker& worker,
                                                         const WorkerPlan& plan, const Stdio& stdio,
                                                         std::vector<Unbound>& unbound) {
  const size_t index = worker.index;
  auto command = PreparedCommand::prepare(plan.command, stdio.fds);
  if (!command) return StartFailed{index, StartStep::Resolve, command.error(), plan.command.file};
  WorkerCgroups::Membership limits;
  if (auto failed = takeLimits(group, worker, plan, limits)) return failed;
  std::vector<int> joined;
  for (const Cgroup& each : limits.joined) joined.push_back(each.procs());
  Cgroups cgroups{.joined = joined};
  cgroups.born = group.cgroups.own();
  if (limits.born) cgroups = {&*limits.born, true, joined};
  std::vector<Refusal> refused;
  auto spawned = spawner_.spawn(*command, &refused, cgroups);
  if (auto* failure = std::get_if<SpawnFailure>(&spawned))
    return toFailure(index, *failure, plan.command, *command);
  for (const Refusal& each : refused) {
    if (each.step == StartStep::Cgroup)
      noteOutside(group);
    else
      unbound.push_back({index, each.step, each.error});
  }
  if (group.parks) worker.limits = std::move(limits);
  worker.process = std::move(*std::get_if<Process>(&spawned));
  auto watched = watch(worker);
  if (!watched) {
    // Out of epoll watches or threads: nobody would tell us of its end, so it ends here.
    signalWorker(worker.process, SIGKILL, Target::Group, features_);
    (void)waitForExit(worker.process.pid, Reap::Yes, true);
    return StartFailed{index, StartStep::Spawn, watched.error(), {}};
  }
  worker.status.reset();
  worker.held = true;
  group.live++;
  return {};
}

Result<void> Supervisor::Impl::watch(Worker& worker) {
  if (worker.process.pidfd) return loop_->add(worker.process.pidfd.get(), EPOLLIN, &worker);

  // Fallback: kernel < 5.3 has no pollable pidfd.
  auto waiter = Thread::start([loop = loop_, this, pid = worker.process.pid, at = &worker] {
    (void)waitForExit(pid, Reap::No, true);
    // Unrun if the loop has ended, and `this` with it.
    loop->post([this, at] { onWorkerReady(*at); });
  });
  if (!waiter) return waiter.error();
  worker.waiter = *std::move(waiter);
  return {};
}

/// A waiter can't be called back; it holds nothing of ours but the loop.
void Supervisor::Impl::leaveWaiter(Worker& worker) {
  if (worker.waiter.joinable()) worker.waiter.leave();
}

}  // namespace regroup
