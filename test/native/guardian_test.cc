#include "core/process/guardian.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#include "test/native/agent_harness.h"
#include "test/native/bystander.h"
#include "test/native/dead_disk.h"
#include "test/native/freezer.h"
#include "test/native/group_harness.h"
#include "test/native/namespace.h"

using namespace regroup;
using namespace support;

TEST("pain 1: whatever a worker has started ends with an agent that is killed") {
  // Without pidfds too, as on a kernel before 5.3.
  for (const bool pidfd : {true, false}) {
    TempDir folder;
    Witness witness(folder);
    const pid_t agent =
        startAgent(witness, {{"stubborn-daemon"}, {"bare-child"}, {"ignore-term"}},
                   pidfd ? std::vector<std::string>{}
                         : std::vector<std::string>{"clone3", "clone-pidfd", "pidfd"});
    // The daemon, the child without an environment, and the worker that ignores signals.
    for (int i = 0; i < 3; i++) REQUIRE(!witness.reader().line().empty());

    killAndReap(agent);

    // All of them hold the other end.
    CHECK(witness.reader().ended());
  }
}

TEST("what belongs to no group of the agent is left alone") {
  TempDir folder;
  Witness witness(folder);
  Witness others(folder, "others");
  const pid_t agent = startAgent(witness, {{"block"}});
  REQUIRE(!witness.reader().line().empty());
  Harness other;
  other->startGroup(group(7, others, {{"block"}}));
  const Started started = other.next<Started>();

  killAndReap(agent);

  CHECK(witness.reader().ended());
  CHECK_EQ(::kill(started.pids[0], 0), 0);
  CHECK(stateOf(started.pids[0]) != 'Z');
  other->stopGroup(7, {SIGKILL, Target::Group, 0ms, 5s});
  (void)other.next<Exited>();
  (void)other.next<Ended>();
}

TEST("an agent that ends well takes its guardian along") {
  const size_t before = openDescriptors();
  {
    TempDir folder;
    Witness witness(folder);
    Harness harness({}, REGROUP_GUARDIAN);
    harness->startGroup(group(7, witness, {{"exit", "0"}}));
    (void)harness.next<Started>();
    (void)harness.next<Exited>();
    (void)harness.next<Ended>();
  }
  CHECK_EQ(openDescriptors(), before);
  CHECK(::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD);
}

TEST("a guardian that can't be started is told with the first group, which starts all the same") {
  TempDir folder;
  Witness witness(folder);
  Harness harness({}, "/nonexistent/guardian");
  for (const GroupId id : {GroupId{7}, GroupId{8}}) {
    harness->startGroup(group(id, witness, {{"exit", "0"}}));
    if (id == 7) CHECK_EQ(harness.next<Unguarded>().error.code, ENOENT);
    (void)harness.next<Started>();
    (void)harness.next<Exited>();
    (void)harness.next<Ended>();
  }
}

TEST("F-N01 F-N09 a sick process of somebody else doesn't hold up the guardian") {
  TempDir folder;
  DeadDisk disk(folder, "flush");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  for (const bool pidfd : {true, false}) {
    Witness witness(folder);
    const pid_t sick = disk.sickProcess();
    REQUIRE(sick > 0);
    const pid_t agent =
        startAgent(witness, {{"stubborn-daemon"}, {"ignore-term"}},
                   pidfd ? std::vector<std::string>{"cgroup"}
                         : std::vector<std::string>{"cgroup", "clone3", "clone-pidfd", "pidfd"});
    for (int i = 0; i < 2; i++) REQUIRE(!witness.reader().line().empty());

    killAndReap(agent);

    CHECK(witness.reader().ended());
    CHECK(!isDead(statusOf(sick)));
  }
}

TEST("F-N01 however many processes hold up the guardian's searches, it finds who is behind them") {
  constexpr int kMany = 70;  // more than searches may hang at once
  TempDir folder;
  DeadDisk disk(folder, "flush");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  for (int i = 0; i < kMany; i++) REQUIRE(disk.sickProcess() > 0);
  Witness witness(folder);
  const pid_t agent = startAgent(witness, {{"stubborn-daemon"}, {"block"}}, {"cgroup"});
  for (int i = 0; i < 2; i++) REQUIRE(!witness.reader().line().empty());

  killAndReap(agent);

  CHECK(witness.reader().ended());
}

TEST("F-N13 the guardian finds a daemon whose first thread has ended") {
  TempDir folder;
  Witness witness(folder);
  const pid_t agent = startAgent(witness, {{"headless-daemon", "0"}, {"block"}}, {"cgroup"});
  for (int i = 0; i < 2; i++) REQUIRE(!witness.reader().line().empty());

  killAndReap(agent);

  CHECK(witness.reader().ended());
}

TEST("F-N03 a number that a round's worker once had is a stranger's when the agent is killed") {
  const auto result = inPidNamespace(Proc::Own, [] {
    TempDir folder;
    Witness witness(folder);
    Freezer freezer(folder);
    if (!freezer) return 100;
    auto told = makePipe();
    // Its first round leaves a child that nobody can kill, so that its cgroup stays.
    const pid_t agent = ::fork();
    if (agent == 0) {
      Harness harness({}, REGROUP_GUARDIAN);
      harness->startGroup(group(1, witness, {{"leave-child-on-term"}, {"exit-on-term"}}));
      const pid_t worker = harness.next<Started>().pids[1];
      pid_t child = 0;
      for (int i = 0; i < 3; i++) {
        const std::string line = witness.reader().line();
        if (line.starts_with("child ")) child = ::atoi(line.c_str() + 6);
      }
      if (!freezer.freeze(child)) ::_exit(1);
      while (!freezer.frozen()) continue;
      harness->stopGroup(1, {SIGTERM, Target::Leader, 60s, 50ms});
      for (int i = 0; i < 2; i++) (void)harness.next<Exited>();
      (void)harness.next<Ended>();
      (void)!::write(told->write.get(), &worker, sizeof worker);
      for (;;) ::pause();
    }
    told->write.reset();  // an agent that fails ends the reading
    pid_t worker = 0;
    (void)!::read(told->read.get(), &worker, sizeof worker);
    const pid_t stranger = strangerWithNumber(worker);
    if (stranger == 0) return 3;

    (void)::kill(agent, SIGKILL);
    freezer.thaw();
    // Process 1 inherits all of them; the guardian ends when it has found nobody any more.
    while (guardianOf(::getpid()) != 0 || guardianOf(agent) != 0) {
      if (::waitpid(-1, nullptr, 0) == stranger) return 1;
    }
    return isDead(statusOf(stranger)) ? 1 : 0;
  });
  if (!result) return tap::skip("needs a pid namespace of its own: root");
  if (*result == 100) return tap::skip("needs the freezer of cgroup v1");

  CHECK_EQ(*result, 0);
}

TEST("F-N12 a guardian that sees another namespace's /proc kills its workers, and no stranger") {
  const auto result = inPidNamespace(Proc::Parents, [] {
    TempDir folder;
    Witness witness(folder);
    const pid_t agent = startAgent(witness, {{"daemon"}, {"leave-child-on-term"}}, {"cgroup"});
    pid_t daemon = 0;
    for (int i = 0; i < 3; i++) {
      const std::string line = witness.reader().line();
      if (line.starts_with("daemon ")) daemon = ::atoi(line.c_str() + 7);
    }
    const pid_t stranger = strangerWithNumber(numberInParent(daemon));
    if (daemon == 0 || stranger == 0) return 3;

    (void)::kill(agent, SIGKILL);
    // All children go but the stranger, and the daemon, which nobody can find.
    pid_t ended;
    int others = 0;
    while ((ended = ::waitpid(-1, nullptr, 0)) > 0 && ended != stranger && others < 4) others++;
    return ended == stranger ? 1 : 0;
  });
  if (!result) return tap::skip("needs a pid namespace of its own: root");

  CHECK_EQ(*result, 0);
}

TEST("the guardian finds who is in a session that began outside of the namespace") {
  const auto result = inPidNamespace(Proc::Own, [] {
    if (::getsid(0) != 0) return 2;
    const std::string cookie = makeCookie();
    auto told = makePipe();
    const pid_t agent = ::fork();
    if (agent == 0) {
      auto loop = Loop::create();
      auto spawner = Spawner::create(probeFeatures());
      auto guardian = Guardian::start(*spawner, **loop, REGROUP_GUARDIAN);
      (*guardian)->begin(1, cookie);
      (void)!::write(told->write.get(), "y", 1);
      for (;;) ::pause();
    }
    told->write.reset();  // an agent that fails ends the reading
    char byte = 0;
    (void)!::read(told->read.get(), &byte, 1);
    auto ready = makePipe();
    const pid_t bystander = startBystander(cookie, ready->write);
    ready->write.reset();
    (void)LineReader(std::move(ready->read)).line();

    (void)::kill(agent, SIGKILL);
    // Process 1 inherits the guardian, which ends when it has found nobody any more.
    for (int others = 0; others < 2;) {
      const pid_t ended = ::waitpid(-1, nullptr, 0);
      if (ended == bystander) return 0;
      others += ended > 0;
    }
    return ::waitpid(bystander, nullptr, WNOHANG) == bystander ? 0 : 1;
  });
  if (!result) return tap::skip("needs a pid namespace of its own: root");

  CHECK_EQ(*result, 0);
}

TEST("what the guardian is told while it's stopped isn't lost") {
  auto told = makePipe();
  const std::string cookie = makeCookie();
  const pid_t agent = ::fork();
  if (agent == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto loop = Loop::create();
    auto spawner = Spawner::create(probeFeatures());
    auto guardian = Guardian::start(*spawner, **loop, REGROUP_GUARDIAN);
    (void)::kill((*guardian)->pid(), SIGSTOP);
    // Until its socket, whose size is the machine's, takes no more.
    constexpr uint64_t kEnough = 1'000'000;
    bool isTold = true;
    uint64_t id = 1;
    while (isTold && id < kEnough) {
      for (const uint64_t end = id + 1000; id < end; id++) {
        (*guardian)->begin(id, makeCookie());
        (*guardian)->end(id);
      }
      isTold = false;
      (*guardian)->whenTold([&] { isTold = true; });
    }
    if (isTold) ::_exit(1);  // it took all of it while it was stopped
    (*guardian)->begin(id, cookie);
    (*guardian)->whenTold([&] {
      isTold = true;
      (*loop)->stop();
    });
    if (isTold) ::_exit(1);
    (void)::kill((*guardian)->pid(), SIGCONT);
    (*loop)->run();
    (void)!::write(told->write.get(), "y", 1);
    for (;;) ::pause();
  }
  told->write.reset();  // an agent that fails ends the reading
  TempDir folder;
  Witness witness(folder);
  const pid_t bystander =
      startBystander(cookie, Fd(::open(witness.path().c_str(), O_WRONLY | O_CLOEXEC)));
  await(witness, "ready");
  char byte = 0;
  (void)!::read(told->read.get(), &byte, 1);
  killAndReap(agent);
  if (!CHECK_EQ(byte, 'y')) (void)::kill(bystander, SIGKILL);

  CHECK(witness.reader().ended());
  (void)::waitpid(bystander, nullptr, 0);
}

TEST("F-F06 who lingers when the agent is killed has his time, while the others end at once") {
  TempDir folder;
  Witness others(folder, "others");
  Witness witness(folder);
  auto told = makePipe();
  const pid_t agent = ::fork();
  if (agent == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    Harness harness({}, REGROUP_GUARDIAN);
    GroupPlan plan = group(7, witness, {{"bare-daemon", "1"}});
    plan.tidyUp.lingering = {"exe"};  // it runs /proc/self/exe
    harness->startGroup(std::move(plan));
    (void)harness.next<Started>();
    (void)harness.next<Exited>();
    const bool isFound = harness.next<Ended>().strays.empty();
    harness->startGroup(group(8, others, {{"ignore-term"}}));
    (void)harness.next<Started>();
    await(others, "ready");
    (void)!::write(told->write.get(), isFound ? "y" : "n", 1);
    for (;;) ::pause();
  }
  told->write.reset();  // an agent that fails ends the reading
  const pid_t daemon = await(witness, "ready");
  char byte = 0;
  (void)!::read(told->read.get(), &byte, 1);
  auto cgroup = readFile(procPath(daemon, "cgroup").c_str(), 64 * 1024);
  const bool isHeld = cgroup && cgroup->find("/regroup-") != std::string::npos;

  killAndReap(agent);

  CHECK(others.reader().ended());
  CHECK(!isDead(statusOf(daemon)));
  (void)::kill(daemon, SIGKILL);
  CHECK(witness.reader().ended());
  if (!isHeld) tap::skip("needs cgroups that we may make");
}

TAP_MAIN
