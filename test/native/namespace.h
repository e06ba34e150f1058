#pragma once

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "test/native/support.h"

namespace support {

enum class Proc : uint8_t {
  Own,      // it shows this namespace
  Parents,  // it shows the parent's, whose numbers are others
};

/// Runs `body` as process 1 of a pid namespace. @returns what it gave, at most 200; nothing: none
/// can be made
template <typename Body>
std::optional<int> inPidNamespace(Proc proc, Body body) {
  constexpr int kCannot = 255;
  const pid_t outer = ::fork();
  if (outer == 0) {
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) < 0) ::_exit(kCannot);
    const pid_t first = ::fork();
    if (first == 0) {
      const bool isReady = proc == Proc::Parents ||
                           (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                            ::mount("proc", "/proc", "proc", 0, nullptr) == 0);
      ::_exit(isReady ? body() : kCannot);
    }
    int status = 0;
    while (::waitpid(first, &status, 0) < 0 && errno == EINTR) continue;
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 200);
  }
  int status = 0;
  while (::waitpid(outer, &status, 0) < 0 && errno == EINTR) continue;
  if (WEXITSTATUS(status) == kCannot) return std::nullopt;
  return WEXITSTATUS(status);
}

/// A process of that number in this namespace, which leads a session; 0: the number isn't free.
/// It's asked for by number (5.5): a thread of ours may begin at any time and take the next one.
inline pid_t strangerWithNumber(pid_t number) {
  ::clone_args args{};
  args.exit_signal = SIGCHLD;
  args.set_tid = reinterpret_cast<uintptr_t>(&number);
  args.set_tid_size = 1;
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) {
    ::setsid();
    for (;;) ::pause();
  }
  return pid > 0 ? static_cast<pid_t>(pid) : 0;
}

/// The number by which the parent's /proc knows a process of this namespace.
inline pid_t numberInParent(pid_t inner) {
  for (const pid_t outer : allProcesses()) {
    auto status = readFile(procPath(outer, "status").c_str(), 16 * 1024);
    const std::string line =
        "\nNSpid:\t" + std::to_string(outer) + "\t" + std::to_string(inner) + "\n";
    if (status && status->find(line) != std::string::npos) return outer;
  }
  return 0;
}

/// A number that /proc knows nobody by, nor by the next ones.
inline pid_t absentNumber() {
  constexpr pid_t kRoom = 64;
  pid_t number = 1000;
  auto numbers = allProcesses();
  std::sort(numbers.begin(), numbers.end());
  for (const pid_t taken : numbers) {
    if (taken >= number + kRoom) break;
    number = std::max(number, taken + 1);
  }
  return number;
}

}  // namespace support
