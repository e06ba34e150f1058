// What workers leave behind: who may end by himself, who's ended, and who's left alone.
#include <signal.h>

#include <thread>

#include "core/cgroup/cgroup.h"
#include "core/cgroup/places.h"
#include "core/process/supervisor.h"
#include "test/native/dead_disk.h"
#include "test/native/group_harness.h"
#include "test/native/namespace.h"

using namespace regroup;
using namespace support;

namespace {

/// How strays are found and watched.
const std::vector<std::vector<std::string>> kWays = {
    {}, {"cgroup"}, {"cgroup-kill"}, {"cgroup", "pidfd", "clone3", "clone-pidfd"}};

void everyWay(void (*body)(Harness&)) {
  for (const auto& way : kWays) {
    const std::string before = tap::state().failures;
    {
      Harness harness(way);
      body(harness);
    }
    if (tap::state().failures != before) tap::fail(__FILE__, __LINE__, nameOf(way));
  }
}

bool isAlive(pid_t pid) {
  return !isDead(statusOf(pid));
}

/// Whether a process is in a round's cgroup.
bool isInRound(pid_t pid) {
  auto text = readFile(procPath(pid, "cgroup").c_str(), 64 * 1024);
  return text && text->find("/regroup-") != std::string::npos;
}

/// Removes a group's cgroups once nobody is in them: without a guardian nobody else does when the
/// supervisor has gone first. Nothing tells of that moment but trying. Bounded.
class CgroupsOf {
 public:
  explicit CgroupsOf(std::string cookie) : cookie_(std::move(cookie)) {}
  ~CgroupsOf() {
    const auto until = monotonicNow() + kLong;
    const CgroupPlaces places = findCgroupPlaces();
    for (const std::string& place : {places.unified, places.freezer}) {
      const std::string folder = place + "/regroup-" + cookie_;
      while (!place.empty() && !removeCgroup(folder) && monotonicNow() < until) ::usleep(10'000);
    }
  }

 private:
  std::string cookie_;
};

/// With more time for those who tidy up than they take on whatever machine.
GroupPlan patient(GroupPlan plan) {
  plan.tidyUp.grace = 60s;
  return plan;
}

bool canMakeCgroups() {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"block"}}));
  const Started started = harness.next<Started>();
  const bool can = isInRound(started.pids[0]);
  harness->stopGroup(1, kKill);
  (void)harness.next<Exited>();
  (void)harness.next<Ended>();
  return can;
}

}  // namespace

TEST("F-F06 what a worker that fails has left may write what it holds, and ends by itself") {
  everyWay([](Harness& harness) {
    for (const char* mode : {"leave-tidier", "leave-detached-tidier"}) {
      TempDir folder;
      Witness witness(folder);
      harness->startGroup(patient(group(1, witness, {{mode, "1"}})));
      (void)harness.next<Started>();

      CHECK(exitedWith(harness.next<Exited>(), 1));
      const Ended ended = harness.next<Ended>();

      CHECK(await(witness, "tidied") > 0);
      CHECK(ended.strays.empty());
    }
  });
}

TEST("F-F06 what a worker that is stopped, or killed, has left may do so as well") {
  everyWay([](Harness& harness) {
    for (const StopRequest& stop : {gentle(), kKill}) {
      TempDir folder;
      Witness witness(folder);
      harness->startGroup(patient(group(1, witness, {{"leave-tidier"}})));
      (void)harness.next<Started>();
      await(witness, "ready");

      harness->stopGroup(1, stop);

      (void)harness.next<Exited>();
      const Ended ended = harness.next<Ended>();
      CHECK(await(witness, "tidied") > 0);
      CHECK(ended.strays.empty());
    }
  });
}

TEST("F-F06 one that sleeps and runs in turn isn't taken for one that just waits") {
  everyWay([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(patient(group(1, witness, {{"leave-slow-tidier", "1"}})));
    (void)harness.next<Started>();

    CHECK(exitedWith(harness.next<Exited>(), 1));
    const Ended ended = harness.next<Ended>();

    CHECK(await(witness, "tidied") > 0);
    CHECK(ended.strays.empty());
  });
}

TEST("F-F17 after a good end nobody is told who ends by himself") {
  everyWay([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"leave-tidier", "0"}}));
    (void)harness.next<Started>();

    CHECK(exitedWith(harness.next<Exited>(), 0));
    const Ended ended = harness.next<Ended>();

    CHECK(await(witness, "tidied") > 0);
    CHECK(ended.strays.empty());
  });
}

TEST(
    "F-F06 the loader of a worker that failed is told to end at once, while others have their "
    "grace") {
  everyWay([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"leave-loader", "3"}, {"ignore-term"}}));
    (void)harness.next<Started>();
    for (int i = 0; i < 2; i++) REQUIRE(!witness.reader().line().empty());  // of both
    CHECK(exitedWith(harness.next<Exited>(), 3));

    harness->stopGroup(1, gentle());
    const pid_t loader = await(witness, "termed");
    while (!isDead(statusOf(loader))) std::this_thread::sleep_for(1ms);
    harness->stopGroup(1, kKill);

    CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
    // It ended as it should.
    CHECK(harness.next<Ended>().strays.empty());
  });
}

TEST("F-F06 a loader doesn't wait for what else may be left") {
  everyWay([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    GroupPlan plan = group(1, witness, {{"leave-loader", "3"}});
    plan.tidyUp.grace = 60s;
    harness->startGroup(std::move(plan));
    (void)harness.next<Started>();

    CHECK(exitedWith(harness.next<Exited>(), 3));
    CHECK(harness.next<Ended>().strays.empty());

    await(witness, "loader");
    CHECK(await(witness, "termed") > 0);
  });
}

TEST("F-H7 who doesn't end by himself is told by name and number") {
  everyWay([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    GroupPlan plan = group(1, witness, {{"stubborn-daemon", "1"}});
    plan.tidyUp.grace = 200ms;
    harness->startGroup(std::move(plan));
    (void)harness.next<Started>();
    const pid_t daemon = await(witness, "daemon");

    (void)harness.next<Exited>();
    const Ended ended = harness.next<Ended>();

    REQUIRE_EQ(ended.strays.size(), 1u);
    CHECK_EQ(ended.strays[0].pid, daemon);
    CHECK_EQ(ended.strays[0].command, "fixture");
    CHECK(witness.reader().ended());
  });
}

TEST("F-F16 who asks for it is left alone, after whatever end, and leaves the round's cgroup") {
  everyWay([](Harness& harness) {
    for (const char* code : {"0", "1"}) {
      TempDir folder;
      Witness witness(folder);
      harness->startGroup(group(1, witness, {{"asking-daemon", code}}));
      (void)harness.next<Started>();
      const pid_t daemon = await(witness, "ready");

      (void)harness.next<Exited>();
      const Ended ended = harness.next<Ended>();

      REQUIRE_EQ(ended.left.size(), 1u);
      CHECK_EQ(ended.left[0].pid, daemon);
      CHECK(ended.strays.empty());
      CHECK(isAlive(daemon));
      CHECK(!isInRound(daemon));
      (void)::kill(daemon, SIGKILL);
      CHECK(witness.reader().ended());
    }
  });
}

TEST(
    "F-F16 whoever has left his worker's session is left alone where that's asked for, unless he "
    "holds a GPU") {
  everyWay([](Harness& harness) {
    for (const bool holds : {false, true}) {
      TempDir folder;
      Witness witness(folder, holds ? "nvidia0" : "witness");
      GroupPlan plan = group(1, witness, {{"daemon", "0"}});
      plan.tidyUp.leaveDetached = true;
      plan.tidyUp.devices = folder.path();
      harness->startGroup(std::move(plan));
      (void)harness.next<Started>();
      const pid_t daemon = await(witness, "daemon");

      (void)harness.next<Exited>();
      const Ended ended = harness.next<Ended>();

      CHECK_EQ(ended.left.size(), holds ? 0u : 1u);
      CHECK_EQ(ended.strays.size(), holds ? 1u : 0u);
      CHECK_EQ(isAlive(daemon), !holds);
      (void)::kill(daemon, SIGKILL);
      CHECK(witness.reader().ended());
    }
  });
}

TEST("F-F06 a round doesn't wait for who lingers, whose cgroup goes with him") {
  if (!canMakeCgroups()) return tap::skip("needs cgroups that we may make");
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = group(1, witness, {{"bare-daemon", "1"}});
  const CgroupsOf cgroups(plan.cookie);
  Harness harness;
  plan.tidyUp.lingering = {"exe"};  // it runs /proc/self/exe
  harness->startGroup(std::move(plan));
  (void)harness.next<Started>();
  const pid_t daemon = await(witness, "ready");
  const std::string own = *readFile(procPath(daemon, "cgroup").c_str(), 64 * 1024);

  CHECK(exitedWith(harness.next<Exited>(), 1));
  const Ended ended = harness.next<Ended>();

  CHECK(ended.strays.empty());
  CHECK(ended.left.empty());
  CHECK(isAlive(daemon));
  CHECK(isInRound(daemon));
  (void)::kill(daemon, SIGKILL);
  CHECK(witness.reader().ended());
}

TEST("F-N01 F-F03 F-H3 a sick process of somebody else holds up no end of a group, and no stop") {
  TempDir folder;
  DeadDisk disk(folder, "flush");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  for (const auto& way : kWays) {
    Harness harness(way);
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"exit", "0"}}));
    harness->startGroup(group(2, witness, {{"block"}}));
    (void)harness.next<Started>();
    // It came after the rounds had begun.
    const pid_t sick = disk.sickProcess();
    REQUIRE(sick > 0);
    while (auto event = harness.nextEvent()) {
      if (event->group == 1 && std::holds_alternative<Ended>(event->what)) break;
    }
    await(witness, "ready");

    harness->stopGroup(2, gentle());

    while (auto event = harness.nextEvent()) {
      if (event->group == 2 && std::holds_alternative<Ended>(event->what)) break;
    }
    CHECK(isAlive(sick));
  }
}

TEST("F-N10 a worker that is stuck in execve is given up, and its group ends") {
  TempDir folder;
  GroupPlan plan{1, makeCookie(), {}, 0, 100ms};
  const CgroupsOf cgroups(plan.cookie);
  DeadDisk disk(folder, "flush");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  Harness harness;
  WorkerPlan worker;
  worker.command.file = "python3";
  // Python opens files close-on-exec, as everybody does.
  worker.command.argv = {"python3", "-c",
                         "import os, sys; f = open(sys.argv[1]); os.execv('/bin/true', ['true'])",
                         disk.file()};
  worker.command.env = {"PATH=" + std::string(::getenv("PATH"))};
  plan.workers.push_back(std::move(worker));
  harness->startGroup(std::move(plan));
  const Started started = harness.next<Started>();
  REQUIRE(disk.asked());

  harness->stopGroup(1, {SIGTERM, Target::Leader, 20ms, 50ms});

  const Ended ended = harness.next<Ended>();
  REQUIRE_EQ(ended.stuck.size(), 1u);
  CHECK_EQ(ended.stuck[0].pid, started.pids[0]);
  CHECK(ended.stuck[0].state == 'S' || ended.stuck[0].state == 'D');
}

TEST(
    "F-N12 where /proc shows another namespace's numbers, whom the cgroup holds is signalled and "
    "told, and nobody else") {
  if (!canMakeCgroups()) return tap::skip("needs a cgroup of its own");
  for (const auto& way : {std::vector<std::string>{}, {"cgroup-kill"}}) {
    const auto result = inPidNamespace(Proc::Parents, [&way] {
      // The workers' numbers are those of nobody in /proc.
      writeFile("/proc/sys/kernel/ns_last_pid", std::to_string(absentNumber()));
      TempDir folder;
      Witness witness(folder);
      Harness harness(way);
      GroupPlan plan = group(1, witness, {{"stubborn-daemon"}});
      plan.tidyUp.grace = 200ms;
      harness->startGroup(std::move(plan));
      (void)harness.next<Started>();
      const pid_t daemon = await(witness, "daemon");
      const pid_t stranger = strangerWithNumber(numberInParent(daemon));
      if (daemon == 0 || stranger == 0) return 3;

      harness->stopGroup(1, kKill);
      (void)harness.next<Exited>();
      const Ended ended = harness.next<Ended>();

      if (!witness.reader().ended()) return 4;
      if (ended.strays.size() != 1 || ended.strays[0].pid != daemon) return 1;
      return ::waitpid(stranger, nullptr, WNOHANG) == 0 ? 0 : 2;
    });
    if (!result) return tap::skip("needs a pid namespace of its own: root");
    CHECK_EQ(*result, 0);
  }
}

TAP_MAIN
