#include <signal.h>
#include <sys/wait.h>

#include "core/process/supervisor.h"
#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

/// Its status is still to be taken. Waits for its end.
pid_t zombie(int code) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(code);
  siginfo_t ended{};
  (void)::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT);
  return pid;
}

bool gone(pid_t pid) {
  return ::kill(pid, 0) < 0 && errno == ESRCH;
}

/// All that was asked before has been done.
void settle(Harness& harness, GroupId id) {
  harness->startGroup({id, makeCookie(), {}, 0, 0ms});
  (void)harness.next<Started>();
  (void)harness.next<Ended>();
}

}  // namespace

TEST("pain 29: while a guest runs, nobody's status is taken; then orphans' are") {
  Harness harness;
  harness->beginGuest("one");
  harness->beginGuest("another");
  const pid_t guest = zombie(5);
  const pid_t orphan = zombie(6);

  harness->reapOrphans();
  harness->endGuest("another");
  harness->endGuest("nobody");
  settle(harness, 1);

  int status = 0;
  CHECK_EQ(::waitpid(guest, &status, 0), guest);
  CHECK_EQ(WEXITSTATUS(status), 5);
  CHECK(!gone(orphan));

  harness->endGuest("one");
  settle(harness, 2);

  CHECK(gone(orphan));
}

TEST("without a guest, whatever isn't a worker is reaped") {
  Harness harness;
  const pid_t orphan = zombie(6);

  harness->reapOrphans();
  settle(harness, 1);

  CHECK(gone(orphan));
}

TAP_MAIN
