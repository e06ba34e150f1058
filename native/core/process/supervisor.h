#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/base/features.h"
#include "core/base/last_notice.h"
#include "core/base/loop.h"
#include "core/base/result.h"
#include "core/base/syscall.h"
#include "core/cgroup/usage.h"
#include "core/output/pump.h"
#include "core/process/fence.h"
#include "core/process/signals.h"
#include "core/process/tidy.h"
#include "core/spawn/plan.h"

namespace regroup {

/// Names a worker group; chosen by the caller, unique while its supervisor lives.
using GroupId = uint64_t;

/// Where one stream of one worker goes.
struct StreamPlan {
  enum class To : uint8_t {
    Inherit,  // our own descriptor, untouched
    Null,
    File,  // straight into sinks.file: costs nothing, survives us
    Pipe,  // through the pump, to `sinks`
  };
  To to = To::Inherit;
  StreamSinks sinks;
};

struct WorkerPlan {
  Command command;
  std::string standbyWords;  // of a standby: sent to it as it starts
  bool inheritStdin = false;
  UsageLimits usage;
  StreamPlan streams[2];  // stdout, stderr
};

struct GroupPlan {
  GroupId group;
  std::string cookie;  // see strays.h; the caller puts it into each worker's environment
  std::vector<WorkerPlan> workers;
  size_t tailBytes;                 // kept of the end of each piped stream
  std::chrono::milliseconds drain;  // for a pipe that somebody still holds
  TidyUp tidyUp = {};
  /// Its workers are standbys: each has a socket to us as descriptor 3, prints nowhere, and waits
  /// for takeOver(). Else they're workers like any.
  bool parks = false;
};

struct StopRequest {
  int signal;
  Target target;
  std::chrono::milliseconds grace;     // from now to SIGKILL
  std::chrono::milliseconds killWait;  // from SIGKILL to giving up
};

/// A worker that SIGKILL didn't end in time.
struct StuckWorker {
  size_t index;
  pid_t pid;
  char state;
};

/// A worker runs without a binding that was optional.
struct Unbound {
  size_t index;
  StartStep step;
  Error error;
};

/// All workers have exec'd; element i is of workers[i].
struct Started {
  std::vector<pid_t> pids;
  std::vector<TimePoint> at;
  std::vector<Unbound> unbound;
};
/// None is left.
struct StartFailed {
  size_t index;
  StartStep step;
  Error error;
  std::string detail;  // the path, resource limit or controller that the step was about
};
/// Told at once, before its output is drained.
struct Exited {
  size_t index;
  pid_t pid;
  ExitStatus status;
  std::optional<Usage> usage;  // of those with limits of usage, and that haven't ended well
};
/// A worker is ending with a failure, and not gone yet: its memory is being freed. Exited follows.
struct Dying {
  size_t index;
  pid_t pid;
  ExitStatus status;
};
/// A message of a standby, but for the one by which it becomes a worker of the round. While it
/// waits for its order it may send one; a second one ends it.
struct StandbySaid {
  size_t index;
  std::string message;
};
/// The standbys aren't there any more, or are being stopped: the round has none of them.
struct NotTaken {};
/// The last event of a group that had started.
struct Ended {
  struct Tail {
    size_t index;
    size_t stream;  // 0 stdout, 1 stderr
    std::string bytes;
  };
  std::vector<StuckWorker> stuck;
  std::vector<NamedProcess> strays;  // that had to be signalled
  std::vector<NamedProcess> left;    // that were left alone
  std::vector<Tail> tails;           // of piped streams only
};
struct OutputFailed {
  size_t index;
  std::string path;
  Error error;
  uint64_t droppedLines;
};

/// There's no guardian; told once, with the first group.
struct Unguarded {
  Error error;
};

/// The start of a worker holds up the supervisor, a stop wasn't heard, and SIGKILL to the child
/// hasn't helped: the supervisor is given up. Nothing else is told after this, of no group.
struct StartHangs {
  size_t index;
  StartStep step;
  std::string detail;  // the path that it's about
  pid_t pid;           // of the child; 0: the supervisor itself hangs
};

/// No cgroup could be made for a group; told once, with the first.
struct Ungrouped {
  std::string path;  // of the folder; empty: no hierarchy is to be seen
  Error error;
};

/// The fence has passed, and every worker was sent SIGKILL. It's of no group.
struct Fenced {};

struct SupervisorEvent {
  GroupId group;
  TimePoint at;
  std::variant<Started, StartFailed, StartHangs, Dying, Exited, StandbySaid, NotTaken, Ended,
               OutputFailed, Unguarded, Ungrouped, Fenced>
      what;
};

/// Starts, watches and ends worker groups, on a thread of its own: it works while JS is
/// blocked, and PR_SET_PDEATHSIG follows it. It alone spawns, waits and signals.
///
/// A worker whose end was told stays a zombie until its group has ended: so its process group's
/// number stays ours, and what it left behind can be killed without hitting a stranger.
///
/// Thread: any.
class Supervisor {
 public:
  struct Options {
    std::vector<std::string> disable;  // names of features to do without
    std::string guardian;              // the guardian's program; empty: none
    /// What workers preload, if their program takes it: paths of libraries. Empty: not that one.
    struct Preloads {
      std::string early;      // for an early notice of their deaths
      std::string exitGuard;  // against an abort when Python ends
    };
    Preloads preloads;
    /// Called on the supervisor's thread, once per event, in order. StartHangs comes from another
    /// thread, as the last one.
    std::function<void(SupervisorEvent)> onEvent;
    /// Gives what carries output, which may be shared with others; called when something is piped.
    /// Empty: one of our own.
    std::function<Result<std::shared_ptr<Pump>>()> pump;
    int stdoutFd = 1;  // our own pump's console, for tests
    int stderrFd = 2;
    /// A log file that takes longer to be opened fails its group's start.
    std::chrono::milliseconds openWait{30'000};
    /// A standby that has parked answers its order within milliseconds; one that's stopped, or that
    /// reads a dead disk, doesn't, and is replaced.
    std::chrono::milliseconds answerWait{10'000};
  };

  static Result<std::unique_ptr<Supervisor>> start(Options options);
  ~Supervisor();

  /// All or none; the outcome comes as Started or StartFailed.
  void startGroup(GroupPlan plan);
  /// Makes a group of standbys one of workers: gives each its order, and its output, of which pipes
  /// and files ride on the order's first byte. The group keeps its number, cookie and cgroups. One
  /// that is dead, refuses, or doesn't answer `started` in time is replaced by a process that
  /// starts from the plan, within the same limits of usage: it may be refused by those that leave
  /// no room for it beside a standby that's dying. The outcome comes as Started, once more,
  /// StartFailed or NotTaken.
  ///
  /// One that has said nothing yet reads its order once it has parked.
  ///
  /// @param plan of that group's number, for as many workers. @param orders one for each. @param
  ///   answerWait for all to have answered, where some have yet to park. @default that of the
  ///   options
  void takeOver(GroupPlan plan, std::vector<std::string> orders,
                std::optional<std::chrono::milliseconds> answerWait = std::nullopt);
  /// Signals, continues what's stopped, kills the workers that are left when the grace ends. What
  /// they leave is tidied up when all are gone. A second call can only shorten the grace. Unknown
  /// or ended groups: nothing.
  void stopGroup(GroupId group, StopRequest request);
  void signalGroup(GroupId group, int signal, Target target);
  /// One worker itself. Nobody, once it's gone.
  void signalLeader(GroupId group, size_t index, int signal);
  /// Reaps zombie children of this process that nobody started here. For process 1, see orphans.h.
  void reapOrphans();
  /// For a child that this process starts by other means, before it does, and that will bear
  /// `cookie` in its environment: from now on the guardian knows it, and reapOrphans() takes no
  /// status. Waits until that's so.
  void beginGuest(std::string cookie);
  /// Such a child has been waited for.
  void endGuest(std::string cookie);
  /// How long the supervisor's thread has owed an answer that one of these calls has asked it for.
  /// 0: it owed none, and is asked anew. Doesn't wait for it.
  std::chrono::milliseconds owes();
  /// What ends all workers when it passes, those of a group that starts later too, until it's
  /// moved. The supervisor's thread sees to that, or, while it's held up, the guardian. Whoever has
  /// a share may move it, and may keep it for longer than the supervisor.
  Result<std::shared_ptr<Fence>> fence() const;

  /// What the guardian tells a server, should we be killed, once it's certain that nobody of any
  /// group is left. In place of the one before.
  void setLastNotice(LastNotice notice);
  /// Kills every group and waits for their ends, `atMost`.
  void killAll(std::chrono::milliseconds atMost);
  /// killAll, bounded, then ends the threads. One that hangs is left behind, and the guardian sees
  /// to the rest when this process ends. Idempotent, but not from two threads at once.
  void close();

 private:
  class Impl;
  explicit Supervisor(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;  // the thread's as well
};

}  // namespace regroup
