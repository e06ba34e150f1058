#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/fd.h"
#include "core/base/helpers.h"
#include "core/base/thread.h"
#include "core/cgroup/group_cgroups.h"
#include "core/cgroup/home.h"
#include "core/cgroup/places.h"
#include "core/preload/preload_check.h"
#include "core/process/early_watch.h"
#include "core/process/guardian.h"
#include "core/process/guests.h"
#include "core/process/remains.h"
#include "core/process/standby_channel.h"
#include "core/process/start_watch.h"
#include "core/process/stray_search.h"
#include "core/process/stray_sweep.h"
#include "core/process/supervisor.h"
#include "core/spawn/process.h"
#include "core/spawn/spawn.h"

namespace regroup {

inline bool endedWell(const ExitStatus& status) {
  return status.how == ExitStatus::How::Exited && status.code == 0;
}

/// Owner: Supervisor and its thread, which may be left behind.
/// Thread: supervisor, but for the constructor, startThread(), post(), starts() and stopThread().
class Supervisor::Impl {
 public:
  using milliseconds = std::chrono::milliseconds;

  Impl(Options options, const Features& features, std::shared_ptr<Loop> loop, Spawner spawner);
  ~Impl();
  static Result<void> startThread(const std::shared_ptr<Impl>& impl);
  /// Before the thread starts. Without it there's no fence, for whoever wants one.
  void watchFence();

  /// Thread: any.
  void post(std::function<void(Impl&)> task) {
    loop_->post([this, task = std::move(task)] { task(*this); });
  }
  /// Thread: any, one at a time.
  milliseconds owes();
  /// Thread: any.
  StartWatch& starts() { return starts_; }
  /// Thread: any.
  const Result<std::shared_ptr<Fence>>& fence() const { return fence_; }

  /// Thread: any but the supervisor's. One that doesn't end is left behind, and nobody is told
  /// anything any more.
  void stopThread();

  void start(GroupPlan plan);
  void takeOver(GroupPlan plan, std::vector<std::string> orders,
                std::optional<milliseconds> answerWait);
  void stop(GroupId id, const StopRequest& request);
  void signal(GroupId id, int signal, Target target);
  void signalLeader(GroupId id, size_t index, int signal);
  void killAll(milliseconds atMost, std::shared_ptr<Fd> done);
  void reapOrphans();
  void beginGuest(std::string cookie, const Fd& done);
  void endGuest(const std::string& cookie);
  void setLastNotice(const LastNotice& notice);

 private:
  struct Group;

  enum class Standby : uint8_t {
    None,      // a worker
    Parked,    // waits for its order
    Ordered,   // has got it, and hasn't answered
    Replaced,  // didn't become a worker: another one is in its place
  };

  struct Worker final : Loop::Watcher {
    Impl* owner;
    Group* group;  // null once it has ended
    size_t index;
    Process process;
    std::optional<ExitStatus> status;  // once it's gone
    bool stuck = false;                // we gave up on it, and it hasn't come loose
    bool held = false;                 // a zombie that keeps its pid ours
    bool seenDead = false;             // before it was held: a tracer has it
    std::optional<StreamId> streams[2];
    Standby standby = Standby::None;
    std::unique_ptr<StandbyChannel> channel;  // to a standby, while it's one
    bool hasSaid = false;                     // as a standby, that it waits
    Fd parkedPipes[2];                        // behind what a standby has as stdout and stderr
    Usage before;                             // of its cgroup: counted before it was a worker
    WorkerCgroups::Membership limits;         // of a standby, for whoever replaces it
    Thread waiter;                            // where no pidfd tells of its end

    bool live() const { return !status && !stuck; }
    void onReady(uint32_t) override { owner->onWorkerReady(*this); }
  };

  struct FenceWatcher final : Loop::Watcher {
    Impl* owner;
    void onReady(uint32_t) override { owner->onFence(); }
  };

  enum class Phase : uint8_t { Opening, Running, Sweeping, Draining };

  struct Stop {
    Target target;
    TimePoint killAt;
    milliseconds killWait;
  };

  struct Opening;
  /// What the streams of a group that starts have in common.
  struct StreamsStart {
    std::vector<SinkFiles> files;  // two for each worker
    size_t tailBytes = 0;
    int pipeBytes = 0;
    std::vector<Fd> done;  // files that their workers have now
  };
  /// One stream of a worker that starts.
  struct StreamStart {
    Worker& worker;
    StreamPlan& plan;
    StreamsStart& streams;
    int stream;   // 0: stdout, 1: stderr
    int fd = -1;  // what the worker gets as this stream, once it's open
    Fd ours;      // the one behind `fd`, if it's to be closed when the worker is spawned
  };
  /// What a worker gets as its first descriptors.
  struct Stdio {
    std::vector<int> fds;
    std::vector<Fd> ours;  // to be closed when the worker has them
  };

  /// A group of standbys that becomes one of workers: from takeOver() until all have answered, or
  /// have been replaced.
  struct HandOver {
    GroupPlan plan;
    std::vector<std::string> orders;
    milliseconds answerWait;
    StreamsStart streams;
    std::vector<Stdio> stdio;  // of each worker, for whoever replaces it
    Started started;
    size_t unanswered = 0;
    std::vector<std::pair<TimePoint, Exited>> exits;  // of those who have answered
    std::optional<Loop::TimerId> timer;
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
    bool killing = false;                // SIGKILL was sent to the workers
    TimePoint giveUpAt;                  // while killing
    bool hurried = false;                // and nobody has time any more
    std::optional<Loop::TimerId> timer;  // the grace, or the wait after SIGKILL
    std::vector<StuckWorker> stuck;
    TimePoint since;  // before the first worker
    TidyUp tidyUp;
    std::unique_ptr<StraySweep> sweep;  // once there may be something to sweep
    GroupCgroups cgroups;
    int removals = 0;  // of its cgroups, that were tried again
    std::vector<std::string> tails;
    std::shared_ptr<Opening> opening;    // in Phase::Opening
    bool parks = false;                  // its workers are standbys
    std::unique_ptr<HandOver> handOver;  // while they become a round's workers
    Fd null;
    std::unique_ptr<EarlyWatch> early;  // none: their ends are told when they're gone
  };

  /// Workers that are reaped as soon as the guardian knows that their numbers aren't theirs any
  /// more.
  struct Unreaped {
    GroupId group;
    std::vector<Process> processes;
  };

  /// From SIGKILL to giving up, where no stop says it.
  static constexpr milliseconds kKillWait{5000};
  /// Between two looks at workers that have ended, and whose tracers haven't waited for them.
  static constexpr milliseconds kTracedPause{50};

  Group* find(GroupId id) {
    const auto found = groups_.find(id);
    return found == groups_.end() ? nullptr : found->second.get();
  }

  /// Thread: any.
  void emit(GroupId group, TimePoint at, decltype(SupervisorEvent::what) what) {
    const std::lock_guard lock(listenerMutex_);
    if (hasListener_) options_.onEvent({group, at, std::move(what)});
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
  /// No worker may run.
  bool isFenced() { return fence_ && (*fence_)->hasPassed(); }
  static milliseconds killWait(const Group& group) {
    return group.stop ? group.stop->killWait : kKillWait;
  }

  // group_files.cc
  bool openFiles(Group& group, GroupPlan& plan);
  void watchOpening(Group& group, size_t seen);
  void giveUpOpening(Group& group, Error error);
  Result<Helpers*> needHelpers();
  Result<Pump*> needPump();
  void closeFiles(std::vector<Fd> files);

  // group_start.cc
  void launch(Group& group, GroupPlan& plan, std::vector<SinkFiles> files);
  void guard(Group& group);
  Result<void> needGuardian(const Group* starting);
  void tellGuardian(const Group& group);
  std::optional<StartFailed> startWorker(Group& group, WorkerPlan& plan, size_t index,
                                         StreamsStart& streams, std::vector<Unbound>& unbound);
  std::optional<StartFailed> openStream(Group& group, StreamStart& start);
  std::optional<StartFailed> openStdio(Group& group, Worker& worker, WorkerPlan& plan,
                                       StreamsStart& streams, Stdio& stdio);
  std::optional<StartFailed> spawnWorker(Group& group, Worker& worker, const WorkerPlan& plan,
                                         const Stdio& stdio, std::vector<Unbound>& unbound);
  std::optional<StartFailed> takeLimits(Group& group, Worker& worker, const WorkerPlan& plan,
                                        WorkerCgroups::Membership& limits);
  std::unique_ptr<Worker> makeWorker(Group& group, size_t index);
  void failStart(Group& group);
  void noteOutside(Group& group);
  Result<int> nullFd(Group& group);
  int pipeBytes(const GroupPlan& plan) const;
  Result<void> watch(Worker& worker);
  static void leaveWaiter(Worker& worker);

  Result<std::optional<ExitStatus>> statusOf(const Process& process, Reap reap) const {
    // Fallback: kernel < 5.4 has no P_PIDFD.
    return process.pidfd && features_.pidfdWait ? waitForExit(process.pidfd, reap)
                                                : waitForExit(process.pid, reap);
  }

  // group_preload.cc
  void beginPreload(const GroupPlan& plan);
  void preparePreload(Group& group, GroupPlan& plan);
  void startEarly(Group& group);
  void onHint(GroupId id, size_t index, TimePoint at);
  // group_parked.cc
  std::optional<StartFailed> openParked(Group& group, Worker& worker, const WorkerPlan& plan,
                                        Stdio& stdio);
  void handOver(Group& group, GroupPlan& plan, std::vector<SinkFiles> files);
  void giveOrder(Group& group, size_t index);
  void replace(Group& group, size_t index);
  void onSaid(Worker& worker, std::optional<std::string> message);
  void onAnswered(Group& group);
  void postFinish(Group& group);
  void onNoAnswer(Group& group);
  void finishHandOver(Group& group);
  void killReplaced(Group& group);
  static void noteUsage(const Group& group, Worker& worker);
  static void forgetStandbys(Group& group);
  bool keepBack(Worker& worker, TimePoint at, Exited exited);
  // group_cgroup.cc
  void openCgroup(Group& group);
  static void removeStale(const CgroupPlaces& places);
  GroupCgroups::Announce announceTo(GroupId group);
  std::optional<UsageRefusal> openLimits(Group& group, const GroupPlan& plan);
  void tellHome(Controllers needed);
  void closeCgroups(Group& group);
  void leaveRemains(Group& group);

  // group_stop.cc
  void kill(Group& group);
  void awaitKilled(Group& group);
  void endTracers(Group& group);
  void giveUp(Group& group);
  void onFence();
  void killAtOnce(const Group& group);

  // group_end.cc
  void onWorkerReady(Worker& worker);
  void onGone(Worker& worker, std::optional<ExitStatus> status);
  void onAllGone(Group& group);
  StraySweep& sweepOf(Group& group);
  StraySweep::How howToSweep(const Group& group) const;
  void endLoaders(Group& group, const Worker& ended);
  void drain(Group& group);
  void reap(Group& group);
  void reapNow(GroupId group);
  void end(Group& group);

  // supervisor.cc
  void tearDown();
  void onStartHangs(const StartWatch::Hanging& hanging);
  void tellIdle();
  void onTrouble(OutputTrouble trouble);

  const Options options_;
  const Features features_;
  const std::shared_ptr<Loop> loop_;  // shared with waiters, which may outlive us
  std::mutex listenerMutex_;
  bool hasListener_ = true;  // guarded by listenerMutex_
  Spawner spawner_;
  StartWatch starts_;
  StraySearch search_;
  Result<std::shared_ptr<Fence>> fence_;
  /// When the thread was asked for an answer that it hasn't given; the clock's origin: it owes
  /// none.
  std::atomic<TimePoint> askedAt_{};
  FenceWatcher fenceWatcher_;
  std::shared_ptr<Pump> pump_;
  std::shared_ptr<Helpers> helpers_;  // for files; none before the first is opened
  std::unique_ptr<Guardian> guardian_;
  std::optional<LastNotice> lastNotice_;
  std::optional<PreloadCheck> preloadCheck_;  // none: nothing is to be preloaded
  bool unguardable_ = false;                  // it was tried
  bool ungroupable_ = false;                  // so it was told
  bool isStaleRemoved_ = false;
  std::map<GroupId, std::unique_ptr<Group>> groups_;
  Guests guests_;
  CgroupHome& home_ = CgroupHome::ofThisProcess();
  bool inHome_ = false;  // has entered
  Remains remains_;
  std::vector<Unreaped> unreaped_;
  std::map<StreamId, std::pair<GroupId, size_t>> streams_;  // whose they are
  std::vector<std::unique_ptr<Worker>> abandoned_;          // stuck; reaped if they ever end
  std::vector<std::shared_ptr<Fd>> idle_;                   // told when no group is left
  Fd ended_;  // eventfd: the thread has nothing left to do
  Thread thread_;
};

}  // namespace regroup
