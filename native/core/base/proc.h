#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What /proc tells of other processes without waiting for them.
///
/// Measured on Linux 6.18: `status`, `comm`, the folder's own attributes, `task` and the list of
/// `fd` never wait for a lock of the process that they're about, and neither do getsid(2) and
/// getpgid(2). `environ`, `stat`, `wchan`, `stack`, `syscall`, `maps`, `io`, `exe` and the links in
/// `fd` do: a process in the middle of an execve, or with a page fault on a dead disk, holds up
/// their reader for as long as it pleases. Those are read by visitApart() only.
///
/// Thread: any.
namespace regroup {

/// The numbers below /proc, as of now.
std::vector<pid_t> allProcesses();

struct ProcessStatus {
  char state = '?';  // one letter; Z: its first thread has ended, though others may go on
  pid_t parent = 0;
  int threads = 0;
  uint64_t ignored = 0;   // signals, as a bit mask
  uint64_t switches = 0;  // how often its first thread has ceased to run; they tell that it ran
};

/// Of a /proc/PID/status: lists of CPUs and memory nodes make it long on the largest machines.
constexpr size_t kMaxStatusBytes = 16 * 1024;

/// /proc/PID/status. Nothing: there's no such process.
std::optional<ProcessStatus> statusOf(pid_t pid);
std::optional<ProcessStatus> parseStatus(std::string_view text);

/// Whether none of its threads is left: it's a zombie, or gone.
bool isDead(const std::optional<ProcessStatus>& status);

/// /proc/PID/comm, which has 15 bytes at most; empty if it's gone.
std::string commandOf(pid_t pid);

/// The entry of a process below /proc: another process has another one, also under the same number.
struct ProcEntry {
  uint64_t inode = 0;
  int64_t seconds = 0;  // when the kernel made the entry, which is when somebody first looked
  uint32_t nanoseconds = 0;
  uid_t owner = 0;  // root's where it may not be looked into

  bool isSame(const ProcEntry& other) const {
    return inode == other.inode && seconds == other.seconds && nanoseconds == other.nanoseconds;
  }
};
std::optional<ProcEntry> entryOf(pid_t pid);

/// Whether there's such a process, and it isn't the kernel's. Those are in session 0, and so is, in
/// a pid namespace, whoever's session began outside of it, as with a container's `exec`: where that
/// is so of ourselves, nobody is taken for one of the kernel's.
bool isUsers(pid_t pid);

/// Its threads' numbers, the first one's among them.
std::vector<pid_t> threadsOf(pid_t pid);

/// /proc/PID/`file`
std::string procPath(pid_t pid, std::string_view file);

}  // namespace regroup
