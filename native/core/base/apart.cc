#include "core/base/apart.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/base/own_proc.h"
#include "core/base/proc.h"
#include "core/base/syscall.h"
#include "core/base/thread.h"

namespace regroup {

namespace {

using std::chrono::milliseconds;

/// More threads than these are never left behind: a machine where that many processes hang needs
/// another remedy, and nobody is visited there any more.
constexpr size_t kMaxLeft = 64;
/// Between two looks at a visit that takes long because the machine is busy.
constexpr milliseconds kBusyPause{20};

/// Processes at which a thread of ours hangs. Of the whole process: nobody needs to hang there
/// twice.
///
/// Invariant: while a pid is in here its process lives on, so it's still the same one.
class Hanging {
 public:
  static Hanging& ofThisProcess() {
    static Hanging& all = *new Hanging;  // threads that are left behind outlive static destructors
    return all;
  }

  void add(pid_t pid) {
    const std::lock_guard lock(pidsMutex_);
    pids_.insert(pid);
  }
  void remove(pid_t pid) {
    const std::lock_guard lock(pidsMutex_);
    if (const auto at = pids_.find(pid); at != pids_.end()) pids_.erase(at);
  }
  bool has(pid_t pid) const {
    const std::lock_guard lock(pidsMutex_);
    return pids_.contains(pid);
  }
  bool tooMany() const {
    const std::lock_guard lock(pidsMutex_);
    return pids_.size() >= kMaxLeft;
  }

 private:
  mutable std::mutex pidsMutex_;
  std::multiset<pid_t> pids_;  // guarded by pidsMutex_
};

/// What the visiting threads share with the one that waits for them.
struct Walk {
  std::vector<pid_t> pids;
  std::function<void(pid_t)> visit;
  Fd done;  // eventfd
  std::mutex mutex;
  size_t next = 0;          // guarded by mutex, as are the following
  unsigned turn = 0;        // whose thread it is that visits; one with another number was left
  pid_t thread = 0;         // that visits
  std::optional<pid_t> at;  // being visited
  TimePoint since;          // of that visit
};

/// Thread: its own.
void run(const std::shared_ptr<Walk>& walk, unsigned turn) {
  (void)::prctl(PR_SET_NAME, "regroup-visit");
  const auto thread = static_cast<pid_t>(::syscall(SYS_gettid));  // libc's wrapper is glibc 2.30's
  while (true) {
    pid_t pid;
    {
      const std::lock_guard lock(walk->mutex);
      if (walk->turn != turn) return;
      walk->at.reset();
      if (walk->next == walk->pids.size()) return signalEvent(walk->done);
      pid = walk->pids[walk->next++];
      if (Hanging::ofThisProcess().has(pid)) continue;
      walk->thread = thread;
      walk->at = pid;
      walk->since = monotonicNow();
    }
    walk->visit(pid);
    const std::lock_guard lock(walk->mutex);
    if (walk->turn == turn) continue;
    Hanging::ofThisProcess().remove(pid);
    return;
  }
}

/// One that only isn't given the processor gets on some time: on a machine that's busy enough
/// nobody would be visited else.
bool isAsleep(pid_t thread) {
  const auto status = procIsOurs() ? statusOf(thread) : std::nullopt;
  return !status || status->state != 'R';
}

/// Gives up on the present visit if its time is over. @returns how long it may still take; nothing
/// if it was given up
std::optional<milliseconds> patienceWith(Walk& walk, milliseconds each, TimePoint until) {
  const std::lock_guard lock(walk.mutex);
  const TimePoint now = monotonicNow();
  const TimePoint due = walk.at ? std::min(walk.since + each, until) : until;
  if (now < due) return std::chrono::ceil<milliseconds>(due - now);
  if (now < until && !isAsleep(walk.thread)) return std::min(each, kBusyPause);
  walk.turn++;
  if (walk.at) Hanging::ofThisProcess().add(*walk.at);
  walk.at.reset();
  return std::nullopt;
}

}  // namespace

void visitApart(std::vector<pid_t> pids, std::function<void(pid_t)> visit, VisitLimits limits) {
  if (pids.empty() || limits.all <= milliseconds(0)) return;
  auto done = makeEventFd();
  if (!done) return;  // out of descriptors: then nothing is known of them
  const TimePoint until = monotonicNow() + limits.all;
  auto walk = std::make_shared<Walk>();
  walk->pids = std::move(pids);
  walk->visit = std::move(visit);
  walk->done = *std::move(done);

  for (unsigned turn = 0; monotonicNow() < until && !Hanging::ofThisProcess().tooMany(); turn++) {
    auto thread = Thread::start([walk, turn] { run(walk, turn); });
    if (!thread) return;
    std::optional<milliseconds> patience = std::min(limits.each, limits.all);
    while (patience && !waitReadable(walk->done, *patience))
      patience = patienceWith(*walk, limits.each, until);
    if (patience) return thread->join();
    thread->leave();
  }
}

}  // namespace regroup
