#include "core/output/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/base/syscall.h"

namespace regroup {

namespace {

constexpr size_t kQueueCapacity = 2 * kMaxConsoleQueueBytes;

/// Per write where only epoll says that there's room: of a pipe it promises PIPE_BUF, of a
/// terminal less.
constexpr size_t kPolledBytes = 256;

constexpr size_t kStageBytes = 64 * 1024;  // a pipe's size

/// The call itself: glibc's fstat has a version of 2.33, above our floor. Its struct is the
/// kernel's on x86-64 and arm64.
bool describe(int fd, struct stat* out) { return ::syscall(SYS_fstat, fd, out) == 0; }

/// The terminal's device, behind /dev/tty as well.
bool sameTerminal(int a, int b) {
  unsigned deviceA = 0;
  unsigned deviceB = 0;
  return ::ioctl(a, TIOCGDEV, &deviceA) == 0 && ::ioctl(b, TIOCGDEV, &deviceB) == 0 &&
         deviceA == deviceB;
}

uint64_t countLines(std::string_view bytes) {
  return static_cast<uint64_t>(std::count(bytes.begin(), bytes.end(), '\n'));
}

}  // namespace

Console::Console(Loop& loop, int fd, Options options) : loop_(loop), options_(std::move(options)) {
  open(fd, options_.mayReopen);
}

Console::~Console() {
  watch(false);
  loop_.cancelTimer(stallTimer_);
}

bool Console::same(int a, int b) {
  struct stat statA;
  struct stat statB;
  if (!describe(a, &statA) || !describe(b, &statB)) return false;
  return (statA.st_dev == statB.st_dev && statA.st_ino == statB.st_ino) || sameTerminal(a, b);
}

void Console::open(int fd, bool mayReopen) {
  struct stat stat;
  if (!describe(fd, &stat)) return fail(errno);
  // Reopened, a regular file would be written from its start, over what others wrote.
  const bool reopens = (S_ISFIFO(stat.st_mode) || S_ISCHR(stat.st_mode)) && mayReopen;
  if (reopens && reopen(fd)) {
    way_ = Way::Reopened;
    return;
  }

  // A duplicate shares the offset, and stays ours whatever the host does with its own.
  auto copy = duplicateAbove(fd, 3);
  if (!copy) return fail(copy.error().code);
  fd_ = std::move(*copy);
  if (S_ISSOCK(stat.st_mode)) {
    way_ = Way::Send;
  } else if (S_ISFIFO(stat.st_mode)) {
    int stage[2];
    if (::pipe2(stage, O_CLOEXEC | O_NONBLOCK) < 0) return fail(errno);
    stageRead_.reset(stage[0]);
    stageWrite_.reset(stage[1]);
    way_ = Way::Splice;
  } else if (S_ISCHR(stat.st_mode)) {
    way_ = Way::Polled;
  }
}

/// Fails without /proc, and for whoever isn't allowed to open what was opened before a change of
/// user (sudo, a container's entrypoint).
bool Console::reopen(int fd) {
  constexpr int kFlags = O_WRONLY | O_NONBLOCK | O_NOCTTY;
  char path[32];
  ::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  auto opened = openFile(path, kFlags);
  if (!opened) {
    // Anybody may open a controlling terminal by this name.
    opened = openFile("/dev/tty", kFlags);
    if (!opened || !sameTerminal(fd, opened->get())) return false;
  }
  fd_ = std::move(*opened);
  return true;
}

void Console::write(Writer writer, std::string_view bytes) {
  if (state_ == State::Dead || bytes.empty()) return;
  accepted_ += bytes.size();
  open_ = bytes.back() == '\n' ? 0 : writer;
  if (queuedBytes() > 0) return append(bytes);

  // Its clock starts with the first byte that has to wait.
  lastProgress_ = loop_.now();
  while (!bytes.empty()) {
    const ssize_t n = writeSome(bytes.data(), bytes.size(), false);
    if (n > 0) {
      lastByte_ = bytes[static_cast<size_t>(n) - 1];
      bytes.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    const int code = errno;
    if (code == EAGAIN) {
      append(bytes);
      return watch(true);
    }
    return fail(code);
  }
}

void Console::append(std::string_view bytes) {
  if (!queue_) queue_.reset(new char[kQueueCapacity]);
  if (queueEnd_ + bytes.size() > kQueueCapacity) {
    std::memmove(queue_.get(), queue_.get() + queueBegin_, queuedBytes());
    queueEnd_ -= std::exchange(queueBegin_, 0);
  }
  std::memcpy(queue_.get() + queueEnd_, bytes.data(), bytes.size());
  queueEnd_ += bytes.size();
}

/// write(2), or what stands for it: never waits. `ready` says that epoll has just seen room.
ssize_t Console::writeSome(const char* bytes, size_t size, bool ready) {
  ssize_t n = 0;
  do {
    switch (way_) {
      case Way::Direct:
      case Way::Reopened:
        n = ::write(fd_.get(), bytes, size);
        break;
      case Way::Send:
        n = ::send(fd_.get(), bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
      case Way::Splice:
        n = spliceSome(bytes, size);
        break;
      case Way::Polled:
        if (ready) return ::write(fd_.get(), bytes, std::min(size, kPolledBytes));
        errno = EAGAIN;
        return -1;
    }
  } while (n < 0 && errno == EINTR);
  return n;
}

/// O_NONBLOCK aside, only splice can write to a pipe without waiting. Bytes count as written when
/// they reach the console; until then the stage has them, ahead of everything else.
ssize_t Console::spliceSome(const char* bytes, size_t size) {
  if (staged_ == 0) {
    const ssize_t n = ::write(stageWrite_.get(), bytes, std::min(size, kStageBytes));
    if (n < 0) return n;
    staged_ = static_cast<size_t>(n);
  }
  const ssize_t n =
      ::splice(stageRead_.get(), nullptr, fd_.get(), nullptr, staged_, SPLICE_F_NONBLOCK);
  if (n > 0) staged_ -= static_cast<size_t>(n);
  return n;
}

void Console::onReady(uint32_t) {
  flush(true);
  if (crowded()) return;
  loop_.cancelTimer(std::exchange(stallTimer_, 0));
  if (state_ == State::Dropping) takeAgain();
  options_.onChange();
}

void Console::flush(bool ready) {
  while (queuedBytes() > 0) {
    const ssize_t n = writeSome(queue_.get() + queueBegin_, queuedBytes(), ready);
    if (n <= 0) {
      if (errno != EAGAIN) fail(errno);
      return;
    }
    lastProgress_ = loop_.now();
    queueBegin_ += static_cast<size_t>(n);
    lastByte_ = queue_[queueBegin_ - 1];
    if (way_ == Way::Polled) break;
  }
  if (queuedBytes() > 0) return;
  queueBegin_ = queueEnd_ = 0;
  watch(false);
}

/// A full disk may have room later, so a file stays; anything else won't come back.
void Console::fail(int code) {
  if (!error_) error_ = Error{"write", code};
  if (way_ == Way::Direct && fd_) {
    open_ = lastByte_ == '\n' ? 0 : kBroken;
    return;
  }
  watch(false);
  queueBegin_ = queueEnd_ = 0;
  open_ = 0;
  state_ = State::Dead;
}

std::optional<Error> Console::takeError() {
  if (!error_ || std::exchange(errorTold_, true)) return std::nullopt;
  return error_;
}

void Console::watch(bool wanted) {
  if (wanted == watched_) return;
  watched_ = wanted;
  if (!wanted) return loop_.remove(fd_.get(), this);
  const auto added = loop_.add(fd_.get(), EPOLLOUT, this);
  if (added) return;
  watched_ = false;
  fail(added.error().code);
}

void Console::awaitRoom() {
  if (stallTimer_ != 0 || state_ != State::Taking) return;
  stallTimer_ = loop_.setTimer(lastProgress_ + options_.stall, [this] { checkStall(); });
}

void Console::checkStall() {
  stallTimer_ = 0;
  if (state_ != State::Taking || !crowded()) return;
  if (loop_.now() < lastProgress_ + options_.stall) return awaitRoom();
  state_ = State::Dropping;
  options_.onChange();
}

void Console::drop(Writer writer, uint64_t lines, std::string_view file) {
  // The rest of an open line may be among them.
  if (open_ == writer) open_ = kBroken;
  if (lines == 0) return;
  Dropped& dropped = dropped_[writer];
  dropped.lines += lines;
  dropped.untold += lines;
  if (dropped.file.empty()) dropped.file = file;
}

uint64_t Console::takeDropped(Writer writer) {
  const auto found = dropped_.find(writer);
  return found == dropped_.end() ? 0 : std::exchange(found->second.untold, 0);
}

void Console::takeAgain() {
  state_ = State::Taking;
  auto dropped = std::exchange(dropped_, {});
  for (const auto& [writer, what] : dropped) {
    if (what.untold > 0) options_.onDropped(writer, what.untold);
    std::string line = open_ != 0 ? "\n[regroup] " : "[regroup] ";
    line += std::to_string(what.lines) + (what.lines == 1 ? " line dropped" : " lines dropped");
    if (!what.file.empty()) line += ", see " + what.file;
    line += '\n';
    // Thousands of writers with long paths; the event above has told of each.
    if (line.size() > room() / 2) continue;
    write(kBroken, line);
  }
}

uint64_t Console::giveUp(Writer writer, std::string_view file) {
  if (state_ == State::Dead || queuedBytes() == 0) return 0;
  const uint64_t lines = countLines({queue_.get() + queueBegin_, queuedBytes()});
  queueBegin_ = queueEnd_ = 0;
  if (staged_ > 0) {
    char sink[4096];
    while (::read(stageRead_.get(), sink, sizeof sink) > 0) {
    }
    staged_ = 0;
  }
  state_ = State::Dropping;
  open_ = lastByte_ == '\n' ? 0 : kBroken;
  drop(writer, lines, file);
  return lines;
}

}  // namespace regroup
