#include "core/base/own_proc.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "core/process/orphans.h"
#include "test/native/tap.h"

using namespace regroup;

namespace {

/// Runs `body` as process 1 of a new pid namespace. @returns its exit code; nothing: none can be
/// made here
std::optional<int> inPidNamespace(int (*body)()) {
  constexpr int kRefused = 77;
  const pid_t outer = ::fork();
  if (outer == 0) {
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) < 0) ::_exit(kRefused);
    const pid_t inner = ::fork();
    if (inner == 0) ::_exit(body());
    int status = 0;
    (void)::waitpid(inner, &status, 0);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 100);
  }
  int status = 0;
  (void)::waitpid(outer, &status, 0);
  if (WEXITSTATUS(status) == kRefused) return std::nullopt;
  return WEXITSTATUS(status);
}

bool mountOwnProc() {
  return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("proc", "/proc", "proc", 0, nullptr) == 0;
}

/// Its status is still to be taken. Waits for its end.
pid_t zombie(int code) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(code);
  siginfo_t ended{};
  (void)::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT);
  return pid;
}

constexpr char kSkip[] = "no pid namespace can be made here: run it as root";

}  // namespace

TEST("a status tells by all its numbers whose /proc it is of") {
  CHECK(isOwnStatus("Name:\tpython\nPid:\t42\nNSpid:\t42\n", 42));
  CHECK(isOwnStatus("Name:\tpython\nPid:\t42\n", 42));
  CHECK(!isOwnStatus("Name:\tpython\nPid:\t9000\nNSpid:\t9000\t42\n", 42));
  // Both namespaces have counted as far.
  CHECK(!isOwnStatus("Name:\tpython\nPid:\t42\nNSpid:\t42\t42\n", 42));
  CHECK(!isOwnStatus("Name:\tpython\nPid:\t420\nNSpid:\t420\n", 42));
  CHECK(!isOwnStatus("", 42));
}

TEST("F-F01 in a pid namespace /proc is ours once it's mounted there, and not before") {
  CHECK(procIsOurs());

  const auto answer = inPidNamespace([] {
    if (procIsOurs()) return 1;
    if (!mountOwnProc()) return 2;
    return procIsOurs() ? 0 : 3;
  });

  if (!answer) return tap::skip(kSkip);
  CHECK_EQ(*answer, 0);
}

TEST("F-F01 a stranger's zombie of the same number costs no child of ours its status") {
#if defined(__SANITIZE_THREAD__)
  return tap::skip("each process has a thread of the sanitizer's, which takes the number");
#endif
  const auto answer = inPidNamespace([] {
    if (!mountOwnProc()) return 2;
    // Process 2, a child of process 1, as /proc will have it.
    if (zombie(0) != 2) return 3;
    const auto within = inPidNamespace([] {
      // And as nobody's /proc has it.
      const pid_t child = zombie(5);
      if (child != 2) return 4;
      (void)reapOrphans({});
      int status = 0;
      return ::waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 5 ? 0 : 5;
    });
    return within.value_or(6);
  });

  if (!answer) return tap::skip(kSkip);
  CHECK_EQ(*answer, 0);
}

TAP_MAIN
