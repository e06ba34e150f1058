#include "core/process/fence.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

// whoever may have been replaced runs no worker any more.

namespace {

/// Of a fence that mustn't pass.
constexpr auto kFar = 1h;

/// A process with a supervisor and one worker that ignores signals, and that stops itself once its
/// fence is set, by so much from now.
pid_t startStoppedAgent(const Witness& witness, std::chrono::milliseconds fence) {
  const pid_t parent = ::getpid();
  const pid_t agent = ::fork();
  if (agent != 0) return agent;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  Harness harness({}, REGROUP_GUARDIAN);
  harness->startGroup(group(7, witness, {{"ignore-term"}, {"bare-child"}}));
  (void)harness.next<Started>();
  auto own = harness->fence();
  if (!own) ::_exit(1);
  (*own)->set(BootClock::now() + fence);
  (void)::raise(SIGSTOP);
  for (;;) ::pause();
}

}  // namespace

TEST("a fence passes once, until it's moved") {
  auto fence = Fence::create();
  REQUIRE(fence);
  Fence& own = **fence;

  CHECK(!own.hasPassed());
  own.set(BootClock::now() + kFar);
  CHECK(!own.takePassage());
  own.set(BootClock::now());
  CHECK(own.hasPassed());
  CHECK(waitReadable(own.timer(), kLong));
  CHECK(own.takePassage());
  CHECK(!own.takePassage());
  own.set(BootClock::now() - kFar);
  CHECK(own.hasPassed());
  CHECK(!own.takePassage());
  own.set(std::nullopt);
  CHECK(!own.hasPassed());
  CHECK(!waitReadable(own.timer(), 0ms));
  own.set(BootTime());
  CHECK(own.takePassage());
  CHECK(waitReadable(own.timer(), kLong));
}

TEST("R-047 a fence is postponed only forward, and only before it has passed") {
  auto fence = Fence::create();
  REQUIRE(fence);
  Fence& own = **fence;

  own.postpone(BootClock::now() - kFar);
  CHECK(!own.hasPassed());
  own.set(BootClock::now() + kFar);
  own.postpone(BootClock::now() - kFar);
  CHECK(!own.hasPassed());
  own.set(BootClock::now() + 50ms);
  own.postpone(BootClock::now() + kFar);
  CHECK(!waitReadable(own.timer(), 100ms));
  own.set(BootClock::now());
  own.postpone(BootClock::now() + kFar);
  CHECK(own.hasPassed());
  CHECK(waitReadable(own.timer(), kLong));
}

TEST("R-047 when the fence passes, all workers of all groups are killed, and what they have started") {
  TempDir folder;
  Witness witness(folder);
  Harness harness;
  harness->startGroup(group(1, witness, {{"ignore-term"}, {"stubborn-daemon"}}));
  (void)harness.next<Started>();
  (void)harness.next<Exited>();  // of who leaves the daemon
  harness->startGroup(group(2, witness, {{"ignore-term"}, {"bare-child"}}));
  (void)harness.next<Started>();
  (void)harness.next<Exited>();  // of who leaves the child
  for (int i = 0; i < 4; i++) REQUIRE(!witness.reader().line().empty());
  auto fence = harness->fence();
  REQUIRE(fence);
  (*fence)->set(BootClock::now() + kFar);

  (*fence)->set(BootClock::now() + 1ms);

  (void)harness.next<Fenced>();
  int ends = 0;
  for (int exits = 0; exits < 2 || ends < 2;) {
    const auto event = harness.nextEvent();
    REQUIRE(event);
    if (const auto* exited = std::get_if<Exited>(&event->what)) {
      CHECK(signaledWith(*exited, SIGKILL));
      exits++;
    } else {
      CHECK(std::holds_alternative<Ended>(event->what));
      ends++;
    }
  }
  CHECK(witness.reader().ended());
}

TEST("a fence that was moved or removed in time kills nobody") {
  TempDir folder;
  Witness witness(folder);
  Harness harness;
  harness->startGroup(group(1, witness, {{"block"}}));
  (void)harness.next<Started>();
  auto fence = harness->fence();
  REQUIRE(fence);

  for (int i = 0; i < 100; i++) (*fence)->set(BootClock::now() + kFar);
  (*fence)->set(std::nullopt);
  harness->startGroup(group(2, witness, {{"exit", "0"}}));

  (void)harness.next<Started>();
  CHECK_EQ(harness.next<Exited>().index, 0u);
  (void)harness.next<Ended>();
  harness->stopGroup(1, gentle());
  CHECK(signaledWith(harness.next<Exited>(), SIGTERM));
  (void)harness.next<Ended>();
}

TEST("R-047 a group that starts behind the fence is killed as soon as it has started") {
  TempDir folder;
  Witness witness(folder);
  Harness harness;
  auto fence = harness->fence();
  REQUIRE(fence);
  (*fence)->set(BootClock::now());
  (void)harness.next<Fenced>();

  for (const GroupId id : {1, 2}) {
    harness->startGroup(group(id, witness, {{"ignore-term"}}));

    (void)harness.next<Started>();
    CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
    (void)harness.next<Ended>();
  }

  (*fence)->set(std::nullopt);
  harness->startGroup(group(3, witness, {{"exit", "0"}}));
  (void)harness.next<Started>();
  CHECK(exitedWith(harness.next<Exited>(), 0));
  (void)harness.next<Ended>();
}

TEST("R-047 the fence of an agent that is stopped passes all the same") {
  // One that's too slow is killed by itself before it stops; that shows nothing.
  bool isShown = false;
  for (auto fence = 500ms; !isShown && fence < kLong; fence *= 2) {
    TempDir folder;
    Witness witness(folder);
    const pid_t agent = startStoppedAgent(witness, fence);
    int status = 0;
    REQUIRE_EQ(::waitpid(agent, &status, WUNTRACED), agent);
    REQUIRE(WIFSTOPPED(status));
    // The worker, and the child that the other one has left in its process group.
    std::vector<Fd> living;
    for (int i = 0; i < 2; i++) {
      auto pidfd = openPidfd(await(witness, "ready"));
      if (pidfd && !waitReadable(*pidfd, 0ms)) living.push_back(*std::move(pidfd));
    }
    isShown = living.size() == 2;

    for (const Fd& pidfd : living) CHECK(waitReadable(pidfd, kLong));

    CHECK_EQ(stateOf(agent), 'T');
    (void)::kill(agent, SIGKILL);
    (void)::waitpid(agent, nullptr, 0);
  }
  CHECK(isShown);
}

TAP_MAIN
