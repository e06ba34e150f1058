#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "test/native/group_harness.h"

namespace support {

/// A process with a supervisor and one group of these workers; it never ends by itself. With a
/// notice it says `started` to the witness once all have started, and its guardian was told, with
/// the last one's number.
inline pid_t startAgent(const Witness& witness, std::vector<std::vector<std::string>> workers,
                        std::vector<std::string> disable = {}, const LastNotice& notice = {}) {
  const pid_t parent = ::getpid();
  const pid_t agent = ::fork();
  if (agent != 0) return agent;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  Harness harness(std::move(disable), REGROUP_GUARDIAN);
  if (!notice.message.empty()) harness->setLastNotice(notice);
  harness->startGroup(group(7, witness, std::move(workers)));
  if (notice.message.empty()) {
    for (;;) ::pause();
  }
  const Started started = harness.next<Started>();
  const std::string line = "started " + std::to_string(started.pids.back()) + "\n";
  {
    const Fd out(::open(witness.path().c_str(), O_WRONLY | O_CLOEXEC));
    (void)!::write(out.get(), line.data(), line.size());
  }
  for (;;) ::pause();
}

/// The only child of the process that is a guardian; 0: there's none.
inline pid_t guardianOf(pid_t agent) {
  for (const pid_t pid : allProcesses()) {
    const auto status = statusOf(pid);
    if (status && status->parent == agent && commandOf(pid) == "guardian") return pid;
  }
  return 0;
}

inline void killAndReap(pid_t pid) {
  (void)::kill(pid, SIGKILL);
  (void)::waitpid(pid, nullptr, 0);
}

}  // namespace support
