#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/fd.h"
#include "core/base/result.h"

/// Each system call that we make, wrapped once: EINTR is settled here, close-on-exec set here,
/// and errno becomes an Error at once. Calls whose libc wrapper is younger than glibc 2.28 go
/// by number, so that one build runs on RHEL 8.
namespace regroup {

/// pidfd_open(2). ESRCH: no such process (or thread: pid must lead its thread group).
Result<Fd> openPidfd(pid_t pid);

/// pidfd_getfd(2): a copy of a process' descriptor. EPERM: it may not be looked into, or a filter
/// forbids the call. May wait for the process.
Result<Fd> copyFd(const Fd& pidfd, int fd);

/// pidfd_send_signal(2). ESRCH means that the process is gone *and reaped*; callers that only
/// want it gone treat that as done. To a zombie it succeeds. Signal 0 only asks.
Result<void> sendSignal(const Fd& pidfd, int signal);

/// kill(2). Only for a pid, or a group's number, that an unreaped child of ours holds: any
/// other may belong to a stranger by now.
Result<void> killPid(pid_t pid, int signal);
Result<void> killGroup(pid_t group, int signal);

/// Who has made the other end of a Unix socket.
struct Peer {
  pid_t pid;  // 0: in a pid namespace that isn't seen from here
  uid_t uid;
};
/// getsockopt(2) of SO_PEERCRED. ENOTSOCK or ENOPROTOOPT: it's no Unix socket.
Result<Peer> peerOf(int socket);

/// A worker's end.
struct ExitStatus {
  enum class How : uint8_t { Exited, Signaled, Unknown };
  How how = How::Unknown;
  int code = 0;  // the exit code or the signal
  bool coreDumped = false;
};

enum class Reap : uint8_t {
  No,   // leaves the zombie: its pid stays ours
  Yes,  // frees the pid
};

/// waitid(2) by pidfd (5.4), else by pid. ECHILD: it's no unreaped child of ours, e.g. because
/// somebody else in this process took the status.
/// @returns nothing while it lives; `block`: waits for its end
Result<std::optional<ExitStatus>> waitForExit(const Fd& pidfd, Reap reap, bool block = false);
Result<std::optional<ExitStatus>> waitForExit(pid_t pid, Reap reap, bool block = false);

struct Pipe {
  Fd read;
  Fd write;
};
Result<Pipe> makePipe();

/// F_SETPIPE_SZ. The kernel rounds up to a power of two; EPERM beyond fs.pipe-max-size or the
/// user's budget.
Result<void> setPipeSize(const Fd& pipe, int bytes);

Result<Fd> openFile(const char* path, int flags, mode_t mode = 0);
/// Opens what a descriptor names once more, wherever it has been moved to: a description of its
/// own. Fails without /proc.
Result<Fd> openAgain(int fd, int flags);

/// eventfd(2), for one thread to tell another that something has happened.
Result<Fd> makeEventFd();
/// Makes it readable; its reader may see several signals as one.
void signalEvent(const Fd& event);
/// Takes back the signals so far.
void drainEvent(const Fd& event);

/// memfd_create(2), sealable, and never executable where the kernel knows of that (6.3). `name` is
/// for people who read /proc.
Result<Fd> makeMemfd(const char* name);
/// F_ADD_SEALS. F_SEAL_FUTURE_WRITE: EINVAL before 5.1.
Result<void> addSeals(const Fd& memfd, int seals);

/// A duplicate at `lowest` or above.
Result<Fd> duplicateAbove(int fd, int lowest);

/// Whether the number names an open descriptor.
bool isOpen(int fd);

/// What an open file is, as far as this machine knows: the server of a network's file system isn't
/// asked, since it may not answer.
struct FileIdentity {
  mode_t mode;
  uint64_t device;
  uint64_t inode;
};
Result<FileIdentity> identify(int fd);

/// The file's bytes, `limit` at most. /proc files have no size, hence the loop.
Result<std::string> readFile(const char* path, size_t limit);

/// poll(2) for reading. @returns false when the time is over
bool waitReadable(const Fd& fd, std::chrono::milliseconds atMost);
/// poll(2) for reading, without a limit.
void waitReadable(const Fd& fd);
/// The same for writing.
bool waitWritable(const Fd& fd, std::chrono::milliseconds atMost);

/// While it lives, this thread takes no signal; threads that it starts take none either.
///
/// `kept`: signals that still arrive, as a bit mask (bit 0 is signal 1).
/// Thread: the one that made it.
class SignalBlock {
 public:
  explicit SignalBlock(uint64_t kept = 0);
  ~SignalBlock();
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;

 private:
  uint64_t before_ = 0;
};

/// Those that this process ignores, as a bit mask (bit 0 is signal 1).
uint64_t ignoredSignals();

constexpr uint64_t signalBit(int signal) {
  return uint64_t{1} << (signal - 1);
}

}  // namespace regroup
