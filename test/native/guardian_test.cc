#include "core/process/guardian.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

/// A process with a supervisor and one group of these workers; it never ends by itself.
pid_t startAgent(const Witness& witness, std::vector<std::vector<std::string>> workers,
                 std::vector<std::string> disable = {}) {
  const pid_t parent = ::getpid();
  const pid_t agent = ::fork();
  if (agent != 0) return agent;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  Harness harness(std::move(disable), REGROUP_GUARDIAN);
  harness->startGroup(group(7, witness, std::move(workers)));
  for (;;) ::pause();
}

void killAndReap(pid_t pid) {
  (void)::kill(pid, SIGKILL);
  (void)::waitpid(pid, nullptr, 0);
}

}  // namespace

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
  CHECK(processState(started.pids[0]) != 'Z');
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

TAP_MAIN
