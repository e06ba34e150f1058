#include "core/output/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstring>

#include "core/base/syscall.h"
#include "core/output/lines.h"

namespace regroup {

namespace {

constexpr size_t kQueueCapacity = 2 * (kMaxConsoleQueueBytes + kOwnQueueBytes);

constexpr size_t kStageBytes = 64 * 1024;  // a pipe's size

/// What a helper writes to a file at a time.
constexpr size_t kFileErrandBytes = 256 * 1024;
/// The same for what may take little and stop: so little is lost sight of.
constexpr size_t kErrandBytes = 4 * 1024;
/// Between two looks of a helper at what others have made non-blocking.
constexpr int kErrandPollMs = 1000;

/// The terminal's device, behind /dev/tty as well.
bool sameTerminal(int a, int b) {
  unsigned deviceA = 0;
  unsigned deviceB = 0;
  return ::ioctl(a, TIOCGDEV, &deviceA) == 0 && ::ioctl(b, TIOCGDEV, &deviceB) == 0 &&
         deviceA == deviceB;
}

}  // namespace

/// Bytes on their way to a console by a helper. The loop fills it, a helper empties it, and then
/// it's the loop's again.
struct Console::Errand {
  Fd fd;
  bool regular = false;
  std::string bytes;
  Console* owner = nullptr;        // the loop's; null once it's gone
  std::atomic<bool> left = false;  // any thread: nobody wants it written any more

  /// Thread: helper. @returns whether it must be run again
  bool run(const std::shared_ptr<Errand>& self, const std::shared_ptr<Loop>& loop) {
    ssize_t written;
    do written = ::write(fd.get(), bytes.data(), bytes.size());
    while (written < 0 && errno == EINTR);
    const int code = written < 0 ? errno : EIO;
    if (written < 0 && code == EAGAIN) {
      if (left) return false;
      // Somebody who shares the description has set O_NONBLOCK.
      pollfd poll{fd.get(), POLLOUT, 0};
      (void)::poll(&poll, 1, kErrandPollMs);
      return true;
    }
    loop->post([self, written, code] {
      if (self->owner != nullptr) self->owner->onErrandDone(written, code);
    });
    return false;
  }
};

Console::Console(std::shared_ptr<Loop> loop, std::shared_ptr<Helpers> helpers, int fd,
                 Options options)
    : loop_(std::move(loop)), helpers_(std::move(helpers)), options_(std::move(options)) {
  open(fd, options_.mayReopen);
}

Console::~Console() {
  watch(false);
  loop_->cancelTimer(stallTimer_);
  if (!errand_) return;
  errand_->owner = nullptr;
  errand_->left = true;
  // The last to let go closes the file, which may take as long as a write to it.
  helpers_->post([errand = std::move(errand_)] { return false; });
}

bool Console::same(int a, int b) {
  auto first = identify(a);
  auto second = identify(b);
  if (!first || !second) return false;
  return (first->device == second->device && first->inode == second->inode) || sameTerminal(a, b);
}

void Console::open(int fd, bool mayReopen) {
  auto identity = identify(fd);
  if (!identity) return fail(identity.error().code);
  const mode_t mode = identity->mode;
  // Reopened, a regular file would be written from its start, over what others wrote.
  const bool reopens = (S_ISFIFO(mode) || S_ISCHR(mode)) && mayReopen;
  if (reopens && reopen(fd)) return;

  // A duplicate shares the offset, and stays ours whatever the host does with its own.
  auto copy = duplicateAbove(fd, 3);
  if (!copy) return fail(copy.error().code);
  if (S_ISSOCK(mode)) {
    fd_ = std::move(*copy);
    way_ = Way::Send;
  } else if (S_ISFIFO(mode)) {
    int stage[2];
    if (::pipe2(stage, O_CLOEXEC | O_NONBLOCK) < 0) return fail(errno);
    fd_ = std::move(*copy);
    stageRead_.reset(stage[0]);
    stageWrite_.reset(stage[1]);
    way_ = Way::Splice;
  } else {
    way_ = Way::Apart;
    auto prepared = helpers_->prepare();
    if (!prepared) return fail(prepared.error().code);
    errand_ = std::make_shared<Errand>();
    errand_->fd = std::move(*copy);
    errand_->regular = S_ISREG(mode);
    errand_->owner = this;
  }
}

/// Fails without /proc, and for whoever isn't allowed to open what was opened before a change of
/// user (sudo, a container's entrypoint).
bool Console::reopen(int fd) {
  constexpr int kFlags = O_WRONLY | O_NONBLOCK | O_NOCTTY;
  auto opened = openAgain(fd, kFlags);
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
  lastProgress_ = loop_->now();
  if (way_ == Way::Apart) {
    append(bytes);
    return sendErrand();
  }
  while (!bytes.empty()) {
    const ssize_t n = writeSome(bytes.data(), bytes.size());
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

void Console::say(std::string_view lines) {
  const bool ends = open_ != 0;
  if (queuedBytes() + lines.size() + ends > kMaxConsoleQueueBytes + kOwnQueueBytes)
    return drop(kOwn, countLines(lines), {});
  if (ends) write(kOwn, "\n");
  write(kOwn, lines);
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

/// write(2), or what stands for it: never waits.
ssize_t Console::writeSome(const char* bytes, size_t size) {
  ssize_t n = 0;
  do {
    switch (way_) {
      case Way::Reopened:
        n = ::write(fd_.get(), bytes, size);
        break;
      case Way::Send:
        n = ::send(fd_.get(), bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
      case Way::Splice:
        n = spliceSome(bytes, size);
        break;
      case Way::Apart:
        assert(false);
        break;
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

/// Hands the next bytes to a helper, up to the end of a line if there's one: should they be the
/// last, the line is whole.
void Console::sendErrand() {
  const std::string_view queued(queue_.get() + queueBegin_, queuedBytes());
  size_t size = std::min(queued.size(), errand_->regular ? kFileErrandBytes : kErrandBytes);
  const size_t end = queued.substr(0, size).rfind('\n');
  if (size < queued.size() && end != std::string_view::npos) size = end + 1;
  errand_->bytes.assign(queued.substr(0, size));
  sent_ = size;
  helpers_->post([errand = errand_, loop = loop_] { return errand->run(errand, loop); });
}

void Console::onErrandDone(ssize_t written, int code) {
  const size_t sent = std::exchange(sent_, 0);
  if (state_ == State::Dead) return;
  if (written <= 0) {
    taken(sent);
    fail(code);
  } else {
    taken(static_cast<size_t>(written));
  }
  afterFlush();
}

void Console::onReady(uint32_t) {
  flush();
  afterFlush();
}

void Console::afterFlush() {
  if (state_ != State::Dead && way_ == Way::Apart && queuedBytes() > 0 && sent_ == 0) sendErrand();
  if (crowded()) return;
  loop_->cancelTimer(std::exchange(stallTimer_, 0));
  tellDropped();
  options_.onChange();
}

void Console::flush() {
  while (queuedBytes() > 0) {
    const ssize_t n = writeSome(queue_.get() + queueBegin_, queuedBytes());
    if (n <= 0) {
      if (errno != EAGAIN) fail(errno);
      return;
    }
    taken(static_cast<size_t>(n));
  }
  watch(false);
}

/// The first bytes of the queue have left.
void Console::taken(size_t bytes) {
  lastProgress_ = loop_->now();
  queueBegin_ += bytes;
  lastByte_ = queue_[queueBegin_ - 1];
  if (queueBegin_ == queueEnd_) queueBegin_ = queueEnd_ = 0;
}

/// A full disk may have room later, so a file stays; anything else won't come back.
void Console::fail(int code) {
  if (!error_) error_ = Error{"write", code};
  if (errand_ && errand_->regular) {
    if (queuedBytes() == 0 && open_ != 0) open_ = kBroken;
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
  if (!wanted) return loop_->remove(fd_.get(), this);
  const auto added = loop_->add(fd_.get(), EPOLLOUT, this);
  if (added) return;
  watched_ = false;
  fail(added.error().code);
}

void Console::awaitRoom() {
  if (stallTimer_ != 0 || state_ != State::Taking) return;
  stallTimer_ = loop_->setTimer(lastProgress_ + options_.stall, [this] { checkStall(); });
}

void Console::checkStall() {
  stallTimer_ = 0;
  if (state_ != State::Taking || !crowded()) return;
  if (loop_->now() < lastProgress_ + options_.stall) return awaitRoom();
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

void Console::tellDropped() {
  if (state_ == State::Dead || crowded()) return;
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
    write(kOwn, line);
  }
}

uint64_t Console::queuedLines() const {
  return queue_ ? countLines({queue_.get() + queueBegin_, queuedBytes()}) : 0;
}

}  // namespace regroup
