// Starts that don't come back, and stops all the same.
#include <signal.h>

#include <atomic>
#include <thread>

#include "core/process/supervisor.h"
#include "test/native/dead_disk.h"
#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

GroupPlan startOn(const DeadDisk& disk, const std::string& file, const std::string& cwd = {}) {
  GroupPlan plan{1, makeCookie(), {}, 0, 100ms};
  WorkerPlan worker;
  worker.command.file = file;
  worker.command.argv = {"worker"};
  worker.command.env = {"PATH=" + disk.path() + "/bin"};
  worker.command.cwd = cwd;
  plan.workers.push_back(std::move(worker));
  return plan;
}

/// Counts threads at first, and waits in the end until those that were left behind have come loose
/// with their disk: they have cgroups to remove, and this process may end.
class Left {
 public:
  Left() : before_(count()) {}
  ~Left() {
    const TimePoint end = monotonicNow() + 30s;
    while (count() > before_ && monotonicNow() < end) std::this_thread::sleep_for(2ms);
    CHECK_EQ(count(), before_);
  }

 private:
  static size_t count() { return threadsOf(::getpid()).size(); }
  const size_t before_;
};

}  // namespace

TEST("F-N04 a stop is heard while a worker's working directory doesn't come back from its disk") {
  TempDir folder;
  DeadDisk disk(folder, "lookup", "soft");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  Harness harness;
  const std::string cwd = disk.path() + "/work";
  harness->startGroup(startOn(disk, "/bin/true", cwd));
  REQUIRE(disk.asked());

  harness->stopGroup(1, gentle());

  const StartFailed failed = harness.next<StartFailed>();
  CHECK_EQ(failed.index, 0u);
  CHECK_EQ(failed.step, StartStep::KilledBeforeExec);
  CHECK_EQ(failed.detail, cwd);
  // It serves as before.
  Witness witness(folder);
  harness->startGroup(group(2, witness, {{"exit", "5"}}));
  (void)harness.next<Started>();
  CHECK(exitedWith(harness.next<Exited>(), 5));
  (void)harness.next<Ended>();
}

TEST("F-N04 stops that keep coming don't put off the end of a start that hangs") {
  TempDir folder;
  DeadDisk disk(folder, "lookup", "soft");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  Harness harness;
  harness->startGroup(startOn(disk, "/bin/true", disk.path() + "/work"));
  REQUIRE(disk.asked());
  std::atomic<bool> isOver{false};
  std::thread impatient([&] {
    while (!isOver) {
      harness->stopGroup(1, gentle());
      std::this_thread::sleep_for(100ms);
    }
  });

  CHECK_EQ(harness.next<StartFailed>().step, StartStep::KilledBeforeExec);

  isOver = true;
  impatient.join();
}

TEST(
    "F-N04 where SIGKILL doesn't help either the worker and its step are told, and closing doesn't "
    "wait") {
  for (const bool isFolder : {true, false}) {
    const Left left;
    TempDir folder;
    DeadDisk disk(folder, "lookup");
    if (!disk) return tap::skip(DeadDisk::kNeeds);
    const size_t before = openDescriptors();
    Harness harness;
    const std::string cwd = disk.path() + "/work";
    // A working directory, or a folder of PATH.
    harness->startGroup(isFolder ? startOn(disk, "/bin/true", cwd) : startOn(disk, "tool"));
    REQUIRE(disk.asked());

    harness->stopGroup(1, kKill);

    const StartHangs hangs = harness.next<StartHangs>();
    CHECK_EQ(hangs.index, 0u);
    CHECK_EQ(hangs.step, isFolder ? StartStep::Cwd : StartStep::Exec);
    CHECK_EQ(hangs.detail, isFolder ? cwd : "tool");
    CHECK(hangs.pid > 0);
    CHECK(!isDead(statusOf(hangs.pid)));
    harness->close();
    CHECK(openDescriptors() > before);  // of the thread that hangs still
  }
}

TEST("F-N04 a supervisor that nobody has told to stop is closed though a start doesn't come back") {
  const Left left;
  TempDir folder;
  DeadDisk disk(folder, "lookup");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  Harness harness;
  harness->startGroup(startOn(disk, "/bin/true", disk.path() + "/work"));
  REQUIRE(disk.asked());

  harness->close();
}

TEST("F-N04 a standby whose start doesn't come back fails alone, and nobody has to stop it") {
  TempDir folder;
  DeadDisk disk(folder, "lookup", "soft");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  Witness witness(folder);
  Harness harness;
  harness->startGroup(group(2, witness, {{"block"}}));
  const pid_t worker = harness.next<Started>().pids[0];
  GroupPlan parked = startOn(disk, "/bin/true", disk.path() + "/work");
  parked.parks = true;
  harness->startGroup(std::move(parked));
  REQUIRE(disk.asked());

  (void)::kill(worker, SIGKILL);

  bool hasFailed = false;
  bool hasEnded = false;
  while (!hasFailed || !hasEnded) {
    const auto event = harness.nextEvent();
    REQUIRE(event);
    REQUIRE(!std::holds_alternative<StartHangs>(event->what));
    hasEnded = hasEnded || std::holds_alternative<Ended>(event->what);
    const auto* const failed = std::get_if<StartFailed>(&event->what);
    if (failed == nullptr) continue;
    hasFailed = true;
    CHECK_EQ(event->group, GroupId{1});
    CHECK_EQ(failed->step, StartStep::KilledBeforeExec);
  }
}

TEST("stops of starts that come back leave no thread behind") {
  TempDir folder;
  Witness witness(folder);
  Harness harness;
  for (GroupId id = 1; id < 20; id++) {
    GroupPlan plan = group(id, witness, {{"ignore-term"}, {"ignore-term"}});
    // While log files are being opened a stop is heard at once, and nobody starts.
    for (WorkerPlan& worker : plan.workers) {
      for (StreamPlan& stream : worker.streams) stream = {};
    }
    harness->startGroup(std::move(plan));
    harness->stopGroup(id, kKill);
    (void)harness.next<Started>();
    (void)harness.next<Exited>();
    (void)harness.next<Exited>();
    (void)harness.next<Ended>();
  }
  const size_t threads = threadsOf(::getpid()).size();
  CHECK(threads < 10);
}

TAP_MAIN
