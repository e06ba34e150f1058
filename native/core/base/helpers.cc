#include "core/base/helpers.h"

#include <limits.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/futex.h"
#include "core/base/loop.h"
#include "core/base/thread.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

/// So many threads get on with their tasks at a time; those that are stuck don't count.
constexpr size_t kAtOnce = 2;
/// What lasts longer is a disk that stands still, or a machine that's very busy.
constexpr milliseconds kStuckAfter = 50ms;
/// At the end: as long as a task may last before its thread is left behind.
constexpr milliseconds kLeaveAfter = 1s;
/// Each stuck task keeps one. Protects the limit of processes.
constexpr size_t kMaxThreads = 512;

/// What threads sleep on until something has changed. One that sees a count, and then that there's
/// nothing to do, misses no ring after that.
class Bell {
 public:
  uint32_t count() const { return count_; }
  void ring(int sleepers = INT_MAX) {
    count_++;
    futexWake(&count_, FutexScope::OurProcess, sleepers);
  }
  /// Until it's rung, or the time is over. May return early.
  void wait(uint32_t seen) { (void)futexWait(&count_, seen, FutexScope::OurProcess); }
  void wait(uint32_t seen, TimePoint until) {
    const auto ns = until.time_since_epoch().count();
    const timespec deadline{ns / 1'000'000'000, ns % 1'000'000'000};
    (void)futexWait(&count_, seen, FutexScope::OurProcess, &deadline);
  }

 private:
  std::atomic<uint32_t> count_{0};
  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
};

}  // namespace

struct Helpers::State : std::enable_shared_from_this<State> {
  struct Member {
    Thread thread;
    std::optional<TimePoint> busySince;
    bool ended = false;
  };

  Bell bell;         // there may be something to do
  Bell ends;         // of threads
  std::mutex mutex;  // guards what follows
  std::deque<Task> tasks;
  std::list<Member> members;
  bool closing = false;

  bool hasIdle() const {
    return std::any_of(members.begin(), members.end(),
                       [](const Member& member) { return !member.busySince; });
  }
  TimePoint freeAt(TimePoint now) const;
  Result<void> addMember();
  void callIdle();
  void work(Member& self);
  void waitForEnds();
};

/// When a further task may be begun: a time that's past, if at once.
TimePoint Helpers::State::freeAt(TimePoint now) const {
  std::vector<TimePoint> stuckAt;
  for (const Member& member : members) {
    if (member.busySince && *member.busySince + kStuckAfter > now)
      stuckAt.push_back(*member.busySince + kStuckAfter);
  }
  if (stuckAt.size() < kAtOnce) return now;
  std::sort(stuckAt.begin(), stuckAt.end());
  return stuckAt[stuckAt.size() - kAtOnce];
}

Result<void> Helpers::State::addMember() {
  if (members.empty()) stayLoaded();
  Member& member = members.emplace_back();
  auto thread = Thread::start([self = shared_from_this(), &member] {
    (void)::prctl(PR_SET_NAME, "regroup-files");  // for people with a debugger
    self->work(member);
  });
  if (!thread) {
    members.pop_back();
    return thread.error();
  }
  member.thread = *std::move(thread);
  return {};
}

/// There's a task for somebody who has none. Where no further thread can be had, those that are
/// there will come to it.
void Helpers::State::callIdle() {
  if (!hasIdle() && members.size() < kMaxThreads) (void)addMember();
  bell.ring(1);
}

void Helpers::State::work(Member& self) {
  std::unique_lock lock(mutex);
  while (!closing || !tasks.empty()) {
    const uint32_t seen = bell.count();
    const TimePoint now = monotonicNow();
    const TimePoint due = tasks.empty() ? TimePoint::max() : freeAt(now);
    if (due > now) {
      lock.unlock();
      // Those that are busy will be done by then, or count as stuck.
      if (due == TimePoint::max()) {
        bell.wait(seen);
      } else {
        bell.wait(seen, due);
      }
      lock.lock();
      continue;
    }
    Task task = std::move(tasks.front());
    tasks.pop_front();
    self.busySince = now;
    // One bell may have been rung for several tasks.
    if (!tasks.empty()) callIdle();
    lock.unlock();
    const bool again = task();
    if (!again) task = nullptr;  // which may close a file, and so take as long
    lock.lock();
    self.busySince.reset();
    if (again) tasks.push_back(std::move(task));
  }
  self.ended = true;
  ends.ring();
}

void Helpers::State::waitForEnds() {
  bell.ring();
  std::unique_lock lock(mutex);
  while (true) {
    const uint32_t seen = ends.count();
    const TimePoint leaveSince = monotonicNow() - kLeaveAfter;
    const bool wait = std::any_of(members.begin(), members.end(), [&](const Member& member) {
      return !member.ended && (!member.busySince || *member.busySince > leaveSince);
    });
    if (!wait) break;
    lock.unlock();
    ends.wait(seen, monotonicNow() + kStuckAfter);
    lock.lock();
  }
  std::vector<Thread> ended;
  for (Member& member : members) {
    if (member.ended) {
      ended.push_back(std::move(member.thread));
    } else {
      member.thread.leave();
    }
  }
  lock.unlock();
  for (Thread& thread : ended) thread.join();
}

Helpers::Helpers() : state_(std::make_shared<State>()) {}

Helpers::~Helpers() {
  {
    std::lock_guard lock(state_->mutex);
    state_->closing = true;
  }
  state_->waitForEnds();
}

Result<void> Helpers::prepare() {
  std::lock_guard lock(state_->mutex);
  if (!state_->members.empty()) return {};
  return state_->addMember();
}

void Helpers::post(Task task) {
  std::lock_guard lock(state_->mutex);
  state_->tasks.push_back(std::move(task));
  state_->callIdle();
}

}  // namespace regroup
