#include <signal.h>

#include "core/process/supervisor.h"
#include "test/native/freezer.h"
#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

bool gone(pid_t pid) {
  return ::kill(pid, 0) < 0 && errno == ESRCH;
}

}  // namespace

TEST("pain 11: a worker that SIGKILL doesn't end is told as stuck, and its group ends without it") {
  TempDir folder;
  Witness witness(folder);
  Freezer freezer(folder);
  if (!freezer) return tap::skip("needs root and the freezer of cgroup v1");
  Harness harness;
  harness->startGroup(group(1, witness, {{"exit-on-term"}, {"exit-on-term"}}));
  const Started started = harness.next<Started>();
  await(witness, "ready", 2);
  const pid_t stuck = started.pids[1];
  auto pidfd = openPidfd(stuck);
  REQUIRE(pidfd);
  REQUIRE(freezer.freeze(stuck));
  while (!freezer.frozen()) continue;

  // The other one has ended before anybody's grace does.
  harness->signalGroup(1, SIGTERM, Target::Group);
  CHECK(exitedWith(harness.next<Exited>(), 43));
  harness->stopGroup(1, {SIGTERM, Target::Group, 20ms, 20ms});

  const Ended ended = harness.next<Ended>();
  REQUIRE_EQ(ended.stuck.size(), 1u);
  CHECK_EQ(ended.stuck[0].index, 1u);
  CHECK_EQ(ended.stuck[0].pid, stuck);
  CHECK_EQ(ended.stuck[0].state, 'D');
  CHECK_EQ(ended.strays.size(), 0u);
  CHECK(!waitReadable(*pidfd, 0ms));

  freezer.thaw();

  CHECK(waitReadable(*pidfd, kLong));
  CHECK(witness.reader().ended());
  // It's reaped once it comes loose: before the second of two groups ends.
  for (const GroupId id : {2, 3}) {
    harness->startGroup({id, makeCookie(), {}, 0, 0ms});
    (void)harness.next<Started>();
    (void)harness.next<Ended>();
  }
  CHECK(gone(stuck));
}

TEST("a stuck worker that comes loose before its group has ended is reaped") {
  TempDir folder;
  Witness witness(folder);
  Freezer freezer(folder);
  if (!freezer) return tap::skip("needs root and the freezer of cgroup v1");
  Harness harness;
  GroupPlan plan = group(1, witness, {{"exit-on-term"}});
  plan.workers[0].streams[1].to = StreamPlan::To::Pipe;
  plan.workers[0].streams[1].sinks = {};
  plan.drain = kLong;
  harness->startGroup(group(9, witness, {{"ignore-term"}}));
  (void)harness.next<Started>();
  harness->startGroup(std::move(plan));
  const pid_t stuck = harness.next<Started>().pids[0];
  await(witness, "ready", 2);
  auto pidfd = openPidfd(stuck);
  REQUIRE(pidfd);
  REQUIRE(freezer.freeze(stuck));
  while (!freezer.frozen()) continue;

  // The pipe is open until it comes loose: only then does the drain end.
  harness->stopGroup(1, {SIGKILL, Target::Group, 0ms, 20ms});
  // A kill that's due later has come: so it was given up.
  harness->stopGroup(9, {SIGTERM, Target::Leader, 30ms, 5s});
  CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  (void)harness.next<Ended>();
  freezer.thaw();

  const Ended ended = harness.next<Ended>();
  REQUIRE_EQ(ended.stuck.size(), 1u);
  CHECK_EQ(ended.stuck[0].pid, stuck);
  CHECK(waitReadable(*pidfd, kLong));
  for (const GroupId id : {2, 3}) {
    harness->startGroup({id, makeCookie(), {}, 0, 0ms});
    (void)harness.next<Started>();
    (void)harness.next<Ended>();
  }
  CHECK(gone(stuck));
}

TAP_MAIN
