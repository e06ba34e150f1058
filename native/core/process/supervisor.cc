#include "core/process/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <unordered_set>

#include "core/base/thread.h"
#include "core/process/process.h"
#include "core/process/strays.h"
#include "core/spawn/spawn.h"

namespace regroup {

using namespace std::chrono_literals;

namespace {

using std::chrono::milliseconds;

/// For what a group leaves behind when it ends well: time to finish an upload, not to hang on.
constexpr milliseconds kStrayGrace = 5s;
/// From SIGKILL to giving up, where no stop says it.
constexpr milliseconds kKillWait = 5s;
constexpr milliseconds kCloseWait = 5s;
/// Between two looks where no pidfd tells of a stray's end.
constexpr milliseconds kNoPidfdPause = 5ms;

/// Sixteen times the default; doubles the throughput.
constexpr int kPipeBytes = 1024 * 1024;
/// An unprivileged user has 64 MiB of pipe buffers altogether (fs.pipe-user-pages-soft); beyond
/// it new pipes get a single page. Half of it is for others.
constexpr size_t kAllPipesBytes = 32 * 1024 * 1024;
constexpr int kDefaultPipeBytes = 64 * 1024;

StartStep toStartStep(const SpawnFailure& failure) {
  if (failure.killed) return StartStep::KilledBeforeExec;
  switch (failure.step) {
    case ChildStep::None:
      return StartStep::Spawn;
    case ChildStep::Session:
      return StartStep::Session;
    case ChildStep::ParentDeath:
      return StartStep::ParentDeath;
    case ChildStep::Stdio:
      return StartStep::Stdio;
    case ChildStep::Signals:
      return StartStep::Signals;
    case ChildStep::Rlimits:
      return StartStep::Rlimits;
    case ChildStep::Cwd:
      return StartStep::Cwd;
    case ChildStep::Exec:
      return StartStep::Exec;
  }
  return StartStep::Spawn;
}

bool endedWell(const ExitStatus& status) {
  return status.how == ExitStatus::How::Exited && status.code == 0;
}

}  // namespace

/// Thread: supervisor, but for the constructor, startThread(), post() and stopThread().
class Supervisor::Impl {
 public:
  Impl(Options options, const Features& features, std::shared_ptr<Loop> loop, Spawner spawner)
      : options_(std::move(options)),
        features_(features),
        loop_(std::move(loop)),
        spawner_(std::move(spawner)) {}

  Result<void> startThread() {
    auto thread = Thread::start([this] {
      (void)::prctl(PR_SET_NAME, "regroup-watch");
      loop_->run();
    });
    if (!thread) return thread.error();
    thread_ = *std::move(thread);
    return {};
  }

  ~Impl() {
    for (auto& [id, group] : groups_) {
      for (auto& worker : group->workers) leaveWaiter(*worker);
    }
    for (auto& worker : abandoned_) leaveWaiter(*worker);
  }

  /// Thread: any.
  void post(std::function<void(Impl&)> task) {
    loop_->post([this, task = std::move(task)] { task(*this); });
  }

  /// Thread: any but the supervisor's.
  void stopThread() {
    loop_->stop();
    thread_.join();
    // No pump, no thread of it: its last tasks were posted to a loop that has ended.
    pump_.reset();
  }

  void start(GroupPlan plan);
  void stop(GroupId id, const StopRequest& request);
  void signal(GroupId id, int signal, Target target);
  void killAll(milliseconds atMost, std::shared_ptr<Fd> done);

 private:
  struct Group;

  struct Worker final : Loop::Watcher {
    Impl* owner;
    Group* group;  // null once we gave up on it
    size_t index;
    Process process;
    std::optional<ExitStatus> status;  // once it's gone
    bool stuck = false;
    bool held = false;  // a zombie that keeps its pid ours
    std::optional<StreamId> streams[2];
    Thread waiter;  // where no pidfd tells of its end

    bool live() const { return !status && !stuck; }
    void onReady(uint32_t) override { owner->onWorkerReady(*this); }
  };

  struct StrayWatch final : Loop::Watcher {
    Impl* owner;
    Group* group;
    Stray stray;
    void onReady(uint32_t) override { owner->onStrayGone(*this); }
  };

  enum class Phase : uint8_t { Running, Sweeping, Draining };

  struct Stop {
    Target target;
    TimePoint killAt;
    milliseconds killWait;
  };

  struct Group {
    GroupId id;
    std::string cookie;
    milliseconds drain;
    Phase phase = Phase::Running;
    std::vector<std::unique_ptr<Worker>> workers;
    size_t live = 0;
    std::optional<Stop> stop;
    std::optional<StartFailed> failure;
    bool killing = false;  // SIGKILL was sent, or strays get nothing milder
    std::optional<Loop::TimerId> timer;  // the grace, or the wait after SIGKILL, or the strays'
    std::vector<StuckWorker> stuck;
    std::vector<std::unique_ptr<StrayWatch>> strayWatches;
    TimePoint straysKillAt;
    std::unordered_set<pid_t> strays;
    Fd null;
  };

  Group* find(GroupId id) {
    const auto found = groups_.find(id);
    return found == groups_.end() ? nullptr : found->second.get();
  }

  void emit(GroupId group, TimePoint at, decltype(SupervisorEvent::what) what) {
    options_.onEvent({group, at, std::move(what)});
  }

  void setTimer(Group& group, TimePoint due, void (Impl::*then)(Group&)) {
    cancelTimer(group);
    group.timer = loop_->setTimer(due, [this, &group, then] {
      group.timer.reset();
      (this->*then)(group);
    });
  }
  void cancelTimer(Group& group) {
    if (group.timer) loop_->cancelTimer(*group.timer);
    group.timer.reset();
  }

  std::optional<StartFailed> startWorker(Group& group, WorkerPlan& plan, size_t index,
                                         size_t tailBytes, int pipeBytes);
  std::optional<StartFailed> openStream(Group& group, StreamPlan& plan, Worker& worker, int stream,
                                        size_t tailBytes, int pipeBytes, Fd& ours, int& fd);
  Result<int> nullFd(Group& group);
  int pipeBytes(const GroupPlan& plan) const;
  Result<void> watch(Worker& worker);
  void leaveWaiter(Worker& worker);

  Result<std::optional<ExitStatus>> statusOf(const Process& process, Reap reap) const {
    // Fallback: kernel < 5.4 has no P_PIDFD.
    return process.pidfd && features_.pidfdWait ? waitForExit(process.pidfd, reap)
                                                : waitForExit(process.pid, reap);
  }
  void onWorkerReady(Worker& worker);
  void onGone(Worker& worker);

  void kill(Group& group);
  void giveUp(Group& group);
  void onAllGone(Group& group);
  void sweep(Group& group);
  void killStrays(Group& group);
  void onStrayGone(StrayWatch& watch);
  void dropStrayWatches(Group& group);
  void drain(Group& group);
  void end(Group& group, std::vector<std::string> tails);
  void onTrouble(OutputTrouble trouble);

  const Options options_;
  const Features features_;
  const std::shared_ptr<Loop> loop_;  // shared with waiters, which may outlive us
  Spawner spawner_;
  std::unique_ptr<Pump> pump_;
  std::map<GroupId, std::unique_ptr<Group>> groups_;
  std::map<StreamId, std::pair<GroupId, size_t>> streams_;  // whose they are
  std::vector<std::unique_ptr<Worker>> abandoned_;          // stuck; reaped if they ever end
  std::vector<std::shared_ptr<Fd>> idle_;                   // told when no group is left
  Thread thread_;
};

// ---- start

void Supervisor::Impl::start(GroupPlan plan) {
  auto owned = std::make_unique<Group>();
  Group& group = *owned;
  group.id = plan.group;
  group.cookie = std::move(plan.cookie);
  group.drain = plan.drain;
  if (!groups_.emplace(group.id, std::move(owned)).second) {
    emit(plan.group, loop_->now(), StartFailed{0, StartStep::Resolve, {"startGroup", EEXIST}, {}});
    return;
  }

  spawner_.refresh();
  const int pipeSize = pipeBytes(plan);
  Started started;
  group.workers.reserve(plan.workers.size());
  for (size_t i = 0; i < plan.workers.size() && !group.failure; i++) {
    group.failure = startWorker(group, plan.workers[i], i, plan.tailBytes, pipeSize);
    if (group.failure) break;
    started.pids.push_back(group.workers.back()->process.pid);
    started.at.push_back(loop_->now());
  }
  group.null.reset();

  if (!group.failure) {
    emit(group.id, loop_->now(), std::move(started));
    if (group.live == 0) onAllGone(group);  // a group of none
    return;
  }
  group.drain = 0ms;
  if (group.live == 0) return drain(group);
  kill(group);
}

int Supervisor::Impl::pipeBytes(const GroupPlan& plan) const {
  size_t pipes = streams_.size();
  for (const WorkerPlan& worker : plan.workers) {
    for (const StreamPlan& stream : worker.streams) pipes += stream.to == StreamPlan::To::Pipe;
  }
  if (pipes == 0) return kDefaultPipeBytes;
  return static_cast<int>(std::bit_floor(std::min<size_t>(kPipeBytes, kAllPipesBytes / pipes)));
}

Result<int> Supervisor::Impl::nullFd(Group& group) {
  if (!group.null) {
    auto null = openFile("/dev/null", O_RDWR);
    if (!null) return null.error();
    group.null = *std::move(null);
  }
  return group.null.get();
}

std::optional<StartFailed> Supervisor::Impl::openStream(Group& group, StreamPlan& plan,
                                                        Worker& worker, int stream,
                                                        size_t tailBytes, int pipeBytes, Fd& ours,
                                                        int& fd) {
  const auto fail = [&](const Error& error, std::string detail) {
    return StartFailed{worker.index, StartStep::Output, error, std::move(detail)};
  };
  switch (plan.to) {
    case StreamPlan::To::Inherit:
      fd = stream + 1;
      if (isOpen(fd)) return {};
      [[fallthrough]];  // a daemon's closed stdout: its workers get none either
    case StreamPlan::To::Null: {
      auto null = nullFd(group);
      if (!null) return fail(null.error(), "/dev/null");
      fd = *null;
      return {};
    }
    case StreamPlan::To::File: {
      const char* const path = plan.sinks.file.c_str();
      auto file = openFile(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
      if (!file) return fail(file.error(), plan.sinks.file);
      ours = *std::move(file);
      fd = ours.get();
      return {};
    }
    case StreamPlan::To::Pipe:
      break;
  }

  if (!pump_) {
    auto pump = Pump::start({.onTrouble =
                                 [this](OutputTrouble trouble) {
                                   post([trouble = std::move(trouble)](Impl& self) {
                                     self.onTrouble(trouble);
                                   });
                                 },
                             .stdoutFd = options_.stdoutFd,
                             .stderrFd = options_.stderrFd});
    if (!pump) return fail(pump.error(), {});
    pump_ = *std::move(pump);
  }
  auto pipe = makePipe();
  if (!pipe) return fail(pipe.error(), {});
  // EPERM: the user's budget is spent; the pipe works, if slower.
  if (pipeBytes > kDefaultPipeBytes) (void)setPipeSize(pipe->write, pipeBytes);
  plan.sinks.tailBytes = tailBytes;
  std::string path = plan.sinks.file.empty() ? plan.sinks.filteredFile : plan.sinks.file;
  auto id = pump_->add(std::move(pipe->read), std::move(plan.sinks));
  if (!id) return fail(id.error(), std::move(path));
  worker.streams[stream] = *id;
  streams_[*id] = {group.id, worker.index};
  ours = std::move(pipe->write);
  fd = ours.get();
  return {};
}

std::optional<StartFailed> Supervisor::Impl::startWorker(Group& group, WorkerPlan& plan,
                                                         size_t index, size_t tailBytes,
                                                         int pipeBytes) {
  group.workers.push_back(std::make_unique<Worker>());
  Worker& worker = *group.workers.back();
  worker.owner = this;
  worker.group = &group;
  worker.index = index;
  // Not live until it's spawned.
  worker.status = ExitStatus{};

  int fds[3] = {0, 1, 2};
  Fd ours[2];  // closed when it's spawned
  if (!plan.inheritStdin || !isOpen(0)) {
    auto null = nullFd(group);
    if (!null) return StartFailed{index, StartStep::Output, null.error(), "/dev/null"};
    fds[0] = *null;
  }
  for (int i = 0; i < 2; i++) {
    auto failed = openStream(group, plan.streams[i], worker, i, tailBytes, pipeBytes, ours[i],
                             fds[i + 1]);
    if (failed) return failed;
  }

  auto command = PreparedCommand::prepare(plan.command, fds);
  if (!command)
    return StartFailed{index, StartStep::Resolve, command.error(), plan.command.file};
  auto spawned = spawner_.spawn(*command);
  if (auto* failure = std::get_if<SpawnFailure>(&spawned)) {
    const bool cwd = failure->step == ChildStep::Cwd;
    return StartFailed{index, toStartStep(*failure), failure->error,
                       cwd ? plan.command.cwd : command->path()};
  }
  worker.process = std::move(*std::get_if<Process>(&spawned));
  auto watched = watch(worker);
  if (!watched) {
    // Out of epoll watches or threads: nobody would tell us of its end, so it ends here.
    killWorker(worker.process, features_);
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

// ---- ends

void Supervisor::Impl::onWorkerReady(Worker& worker) {
  if (worker.group != nullptr) return onGone(worker);

  // One that we gave up on has come loose.
  (void)statusOf(worker.process, Reap::Yes);
  if (worker.process.pidfd) loop_->remove(worker.process.pidfd.get(), &worker);
  if (worker.waiter.joinable()) worker.waiter.join();
  std::erase_if(abandoned_, [&](const auto& other) { return other.get() == &worker; });
}

void Supervisor::Impl::onGone(Worker& worker) {
  const TimePoint at = loop_->now();
  Group& group = *worker.group;
  // Read but not reaped: see Supervisor's comment.
  auto status = statusOf(worker.process, Reap::No);
  if (status && !*status) return;  // it lives; the wake-up was for nothing
  worker.status = status ? **status : ExitStatus{};
  worker.held = static_cast<bool>(status);
  if (worker.waiter.joinable()) {
    worker.waiter.join();
  } else {
    loop_->remove(worker.process.pidfd.get(), &worker);
  }
  group.live--;
  if (!group.failure)
    emit(group.id, at, Exited{worker.index, worker.process.pid, *worker.status});

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

// ---- stop

void Supervisor::Impl::stop(GroupId id, const StopRequest& request) {
  Group* const found = find(id);
  if (found == nullptr || found->killing || found->phase == Phase::Draining) return;
  Group& group = *found;

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
  const milliseconds wait = group.stop ? group.stop->killWait : kKillWait;
  setTimer(group, loop_->now() + wait, &Impl::giveUp);
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

// ---- strays

void Supervisor::Impl::killStrays(Group& group) {
  group.killing = true;
  dropStrayWatches(group);
  const milliseconds wait = group.stop ? group.stop->killWait : kKillWait;
  setTimer(group, loop_->now() + wait, &Impl::drain);
  sweep(group);
}

/// Again and again until none is found: one may have forked while we looked.
void Supervisor::Impl::sweep(Group& group) {
  std::vector<pid_t> leaders;
  for (const auto& worker : group.workers) {
    if (worker->held) leaders.push_back(worker->process.pid);
  }
  auto strays = findStrays(group.cookie, leaders, features_);
  if (strays.empty()) return drain(group);

  bool watched = true;
  for (Stray& stray : strays) {
    // In the grace of a group that was signalled as a whole they have had their signal.
    if (group.killing || !group.stop) {
      group.strays.insert(stray.pid);
      signalStray(stray, group.killing ? SIGKILL : SIGTERM, features_);
      if (!group.killing) signalStray(stray, SIGCONT, features_);
    }
    auto watch = std::make_unique<StrayWatch>();
    watch->owner = this;
    watch->group = &group;
    watch->stray = std::move(stray);
    const int pidfd = watch->stray.pidfd.get();
    watched = watched && pidfd >= 0 && loop_->add(pidfd, EPOLLIN, watch.get());
    group.strayWatches.push_back(std::move(watch));
  }
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

// ---- the end

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
  if (streams.empty()) return end(group, {});
  pump_->finish(std::move(streams), group.drain, [this, id = group.id](auto tails) {
    post([id, tails = std::move(tails)](Impl& self) mutable {
      if (Group* const group = self.find(id)) self.end(*group, std::move(tails));
    });
  });
}

void Supervisor::Impl::end(Group& group, std::vector<std::string> tails) {
  const GroupId id = group.id;
  Ended ended{std::move(group.stuck), group.strays.size(), {}};
  size_t next = 0;
  for (auto& worker : group.workers) {
    for (size_t stream = 0; stream < 2; stream++) {
      if (!worker->streams[stream]) continue;
      streams_.erase(*worker->streams[stream]);
      if (next < tails.size())
        ended.tails.push_back({worker->index, stream, std::move(tails[next++])});
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
  if (!groups_.empty()) return;
  for (auto& done : std::exchange(idle_, {})) (void)!::write(done->get(), "\1\0\0\0\0\0\0\0", 8);
}

void Supervisor::Impl::killAll(milliseconds atMost, std::shared_ptr<Fd> done) {
  idle_.push_back(std::move(done));
  std::vector<GroupId> ids;
  for (const auto& [id, group] : groups_) ids.push_back(id);
  for (const GroupId id : ids) stop(id, {SIGKILL, Target::Group, 0ms, atMost});
  if (!groups_.empty()) return;
  for (auto& told : std::exchange(idle_, {})) (void)!::write(told->get(), "\1\0\0\0\0\0\0\0", 8);
}

void Supervisor::Impl::onTrouble(OutputTrouble trouble) {
  const auto found = streams_.find(trouble.stream);
  if (found == streams_.end()) return;
  const auto [group, index] = found->second;
  emit(group, loop_->now(),
       OutputFailed{index, std::move(trouble.path), trouble.error, trouble.droppedLines});
}

// ---- the outside

Result<std::unique_ptr<Supervisor>> Supervisor::start(Options options) {
  const Features features = probeFeatures(options.disable);
  auto spawner = Spawner::create(features);
  if (!spawner) return spawner.error();
  auto loop = Loop::create();
  if (!loop) return loop.error();
  auto impl = std::make_unique<Impl>(std::move(options), features,
                                     std::shared_ptr<Loop>(*std::move(loop)), *std::move(spawner));
  auto started = impl->startThread();
  if (!started) return started.error();
  return std::unique_ptr<Supervisor>(new Supervisor(std::move(impl)));
}

Supervisor::Supervisor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Supervisor::~Supervisor() { close(); }

void Supervisor::startGroup(GroupPlan plan) {
  if (!impl_) return;
  // Shared only because std::function must be copyable.
  auto shared = std::make_shared<GroupPlan>(std::move(plan));
  impl_->post([shared](Impl& self) { self.start(std::move(*shared)); });
}

void Supervisor::stopGroup(GroupId group, StopRequest request) {
  if (impl_) impl_->post([=](Impl& self) { self.stop(group, request); });
}

void Supervisor::signalGroup(GroupId group, int signal, Target target) {
  if (impl_) impl_->post([=](Impl& self) { self.signal(group, signal, target); });
}

void Supervisor::killAll(milliseconds atMost) {
  if (!impl_) return;
  auto done = makeEventFd();
  if (!done) return;  // out of descriptors: the kill below would go unheard; close() still kills
  auto shared = std::make_shared<Fd>(*std::move(done));
  impl_->post([=](Impl& self) { self.killAll(atMost, shared); });
  (void)waitReadable(*shared, atMost);
}

void Supervisor::close() {
  if (!impl_) return;
  killAll(kCloseWait);
  impl_->stopThread();
  impl_.reset();
}

}  // namespace regroup
