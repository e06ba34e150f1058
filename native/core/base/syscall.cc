#include "core/base/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/loop.h"
#include "core/base/raw.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace regroup {

namespace {

constexpr int kIdTypePidfd = 3;  // P_PIDFD, absent from glibc before 2.36

template <typename Call>
auto retryOnEintr(Call call) {
  decltype(call()) result;
  do result = call();
  while (result < 0 && errno == EINTR);
  return result;
}

Result<std::optional<ExitStatus>> waitFor(int type, long id, Reap reap, bool block) {
  siginfo_t info{};
  int options = WEXITED | __WALL;
  if (reap == Reap::No) options |= WNOWAIT;
  if (!block) options |= WNOHANG;
  if (retryOnEintr([&] { return ::waitid(static_cast<idtype_t>(type), id, &info, options); }) < 0)
    return Error{"waitid", errno};
  if (info.si_pid == 0) return std::optional<ExitStatus>();

  ExitStatus status;
  status.how = info.si_code == CLD_EXITED ? ExitStatus::How::Exited : ExitStatus::How::Signaled;
  status.code = info.si_status;
  status.coreDumped = info.si_code == CLD_DUMPED;
  return std::optional(status);
}

}  // namespace

Result<Fd> openPidfd(pid_t pid) {
  const long fd = ::syscall(SYS_pidfd_open, pid, 0);  // close-on-exec by definition
  if (fd < 0) return Error{"pidfd_open", errno};
  return Fd(static_cast<int>(fd));
}

Result<Fd> copyFd(const Fd& pidfd, int fd) {
  const long copy = ::syscall(SYS_pidfd_getfd, pidfd.get(), fd, 0);  // close-on-exec by definition
  if (copy < 0) return Error{"pidfd_getfd", errno};
  return Fd(static_cast<int>(copy));
}

Result<void> sendSignal(const Fd& pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) < 0)
    return Error{"pidfd_send_signal", errno};
  return {};
}

Result<void> killPid(pid_t pid, int signal) {
  if (::kill(pid, signal) < 0) return Error{"kill", errno};
  return {};
}

Result<void> killGroup(pid_t group, int signal) {
  if (::kill(-group, signal) < 0) return Error{"kill", errno};
  return {};
}

Result<std::optional<ExitStatus>> waitForExit(const Fd& pidfd, Reap reap, bool block) {
  return waitFor(kIdTypePidfd, pidfd.get(), reap, block);
}

Result<std::optional<ExitStatus>> waitForExit(pid_t pid, Reap reap, bool block) {
  return waitFor(P_PID, pid, reap, block);
}

Result<Peer> peerOf(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
    return Error{"getsockopt", errno};
  // Of another kind of socket the kernel tells nobody: -1.
  if (peer.uid == static_cast<uid_t>(-1)) return Error{"getsockopt", ENOPROTOOPT};
  return Peer{peer.pid, peer.uid};
}

Result<Pipe> makePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return Error{"pipe2", errno};
  return Pipe{Fd(fds[0]), Fd(fds[1])};
}

Result<void> setPipeSize(const Fd& pipe, int bytes) {
  if (::fcntl(pipe.get(), F_SETPIPE_SZ, bytes) < 0) return Error{"fcntl(F_SETPIPE_SZ)", errno};
  return {};
}

Result<Fd> openFile(const char* path, int flags, mode_t mode) {
  const int fd = retryOnEintr([&] { return ::open(path, flags | O_CLOEXEC, mode); });
  if (fd < 0) return Error{"open", errno};
  return Fd(fd);
}

Result<Fd> openAgain(int fd, int flags) {
  char path[32];
  ::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return openFile(path, flags);
}

Result<Fd> makeEventFd() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return Error{"eventfd", errno};
  return Fd(fd);
}

void signalEvent(const Fd& event) {
  const uint64_t one = 1;
  // EAGAIN means that its counter is full, so that it's readable anyway.
  (void)!::write(event.get(), &one, sizeof one);
}

void drainEvent(const Fd& event) {
  uint64_t count;
  (void)!::read(event.get(), &count, sizeof count);
}

Result<Fd> makeMemfd(const char* name) {
  constexpr unsigned kNoexecSeal = 8;  // MFD_NOEXEC_SEAL
  int fd = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoexecSeal);
  // Fallback: kernel < 6.3 has no MFD_NOEXEC_SEAL.
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Error{"memfd_create", errno};
  return Fd(fd);
}

Result<void> addSeals(const Fd& memfd, int seals) {
  if (::fcntl(memfd.get(), F_ADD_SEALS, seals) < 0) return Error{"fcntl(F_ADD_SEALS)", errno};
  return {};
}

Result<Fd> duplicateAbove(int fd, int lowest) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, lowest);
  if (copy < 0) return Error{"fcntl(F_DUPFD_CLOEXEC)", errno};
  return Fd(copy);
}

bool isOpen(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

Result<FileIdentity> identify(int fd) {
  struct statx found;
  constexpr int kFlags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  if (::syscall(SYS_statx, fd, "", kFlags, STATX_TYPE | STATX_INO, &found) == 0) {
    return FileIdentity{found.stx_mode, makedev(found.stx_dev_major, found.stx_dev_minor),
                        found.stx_ino};
  }
  // Fallback: seccomp filters of old containers refuse statx. The call itself, since glibc's fstat
  // has a version of 2.33, above our floor; its struct is the kernel's on x86-64 and arm64.
  struct stat old;
  if (::syscall(SYS_fstat, fd, &old) != 0) return Error{"fstat", errno};
  return FileIdentity{old.st_mode, old.st_dev, old.st_ino};
}

Result<std::string> readFile(const char* path, size_t limit) {
  auto file = openFile(path, O_RDONLY);
  if (!file) return file.error();

  std::string bytes;
  while (bytes.size() < limit) {
    const size_t had = bytes.size();
    bytes.resize(std::min(limit, had + 16 * 1024));
    const ssize_t n =
        retryOnEintr([&] { return ::read(file->get(), bytes.data() + had, bytes.size() - had); });
    if (n < 0) return Error{"read", errno};
    bytes.resize(had + static_cast<size_t>(n));
    if (n == 0) break;
  }
  return bytes;
}

static bool waitUntilReady(const Fd& fd, short events, std::chrono::milliseconds atMost) {
  const TimePoint end = monotonicNow() + atMost;
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - monotonicNow()).count();
    pollfd poll{fd.get(), events, 0};
    const int n = ::poll(&poll, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 60'000)));
    if (n > 0) return true;
    if (left <= 0) return false;
  }
}

void waitReadable(const Fd& fd) {
  pollfd poll{fd.get(), POLLIN, 0};
  (void)retryOnEintr([&] { return ::poll(&poll, 1, -1); });
}

bool waitReadable(const Fd& fd, std::chrono::milliseconds atMost) {
  return waitUntilReady(fd, POLLIN, atMost);
}

bool waitWritable(const Fd& fd, std::chrono::milliseconds atMost) {
  return waitUntilReady(fd, POLLOUT, atMost);
}

SignalBlock::SignalBlock(uint64_t kept) {
  const uint64_t blocked = ~kept;
  rawCall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&blocked),
          reinterpret_cast<long>(&before_), sizeof blocked);
}

SignalBlock::~SignalBlock() {
  rawCall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&before_), 0, sizeof before_);
}

uint64_t ignoredSignals() {
  struct {
    uintptr_t handler;
    uint64_t rest[7];
  } action;
  uint64_t ignored = 0;
  for (int signal = 1; signal <= 64; signal++) {
    action.handler = 0;
    rawCall(SYS_rt_sigaction, signal, 0, reinterpret_cast<long>(&action), sizeof(uint64_t));
    if (action.handler == reinterpret_cast<uintptr_t>(SIG_IGN)) ignored |= signalBit(signal);
  }
  return ignored;
}

}  // namespace regroup
