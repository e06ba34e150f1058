#include "core/output/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <deque>
#include <utility>

#include "core/base/syscall.h"
#include "core/output/lines.h"

namespace regroup {

namespace {

/// As many as are in full flow at a time, as a rule.
constexpr size_t kSpareBlocks = 8;
/// With less than that left of a block, a read gets one of its own.
constexpr size_t kLeastRead = 16 * 1024;
/// What a console that's behind gets at a time: little enough that our own words aren't kept
/// waiting.
constexpr size_t kRereadBytes = 64 * 1024;

}  // namespace

Result<OpenedLog> openLog(const std::string& path) {
  auto fd = openFile(path.c_str(), O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (!fd) return fd.error();
  auto identity = identify(fd->get());
  // To its end, which its first write would find by itself: a mark may come before that.
  const bool regular = identity && S_ISREG(identity->mode) && ::lseek(fd->get(), 0, SEEK_END) >= 0;
  return OpenedLog{*std::move(fd), regular};
}

Blocks::Block Blocks::take(bool entitled) {
  {
    std::lock_guard lock(mutex_);
    if (!entitled && out_ >= kMaxBlocks) return nullptr;
    out_++;
    if (!spare_.empty()) {
      Block block = std::move(spare_.back());
      spare_.pop_back();
      return block;
    }
  }
  return Block(new char[kBlockBytes]);
}

void Blocks::give(Block block) {
  std::lock_guard lock(mutex_);
  out_--;
  if (spare_.size() < kSpareBlocks) spare_.push_back(std::move(block));
}

/// What the loop and a helper share; one helper serves it at a time.
struct LogFile::Shared : std::enable_shared_from_this<Shared> {
  using Lock = std::unique_lock<std::mutex>;

  struct Part {
    Blocks::Block block;
    size_t begin = 0;  // written, or lost, up to here
    size_t end = 0;    // filled up to here
  };

  Shared(std::shared_ptr<Loop> loop, std::shared_ptr<Blocks> blocks, Fd fd)
      : loop(std::move(loop)), blocks(std::move(blocks)), fd(std::move(fd)) {}
  ~Shared() {
    for (Part& part : parts) blocks->give(std::move(part.block));
  }

  // Thread: helper.
  bool serve();
  void writeSome(Lock& lock);
  void reachMark(Lock& lock);
  void readSome(Lock& lock);
  void giveBytes(std::shared_ptr<std::string> bytes, uint64_t epoch);

  bool hasBytes() const { return !parts.empty() && parts.front().begin < parts.front().end; }
  bool isAtMark() const { return mark && !marked && settled == *mark; }
  bool hasUnread() const { return marked && readAt < endAt; }
  void dropFront() {
    blocks->give(std::move(parts.front().block));
    parts.pop_front();
  }
  void tell() {
    loop->post([self = shared_from_this()] {
      if (self->onChange) self->onChange();
    });
  }

  const std::shared_ptr<Loop> loop;
  const std::shared_ptr<Blocks> blocks;
  const Fd fd;
  Fd readFd;  // helper; none: it hasn't been read yet

  // Thread: the loop's. Empty once the LogFile is gone.
  std::function<void()> onChange;
  std::function<void(std::string_view)> onBytes;

  std::mutex mutex;  // guards what follows
  std::deque<Part> parts;
  bool reserved = false;  // the last part's free space is being filled
  bool served = false;    // a helper is at it, or will be
  bool left = false;      // nobody wants it any more
  uint64_t settled = 0;   // bytes written or lost
  TimePoint lastProgress{};
  bool tells = false;  // of the next progress
  std::optional<Error> error;

  std::optional<uint64_t> mark;  // in bytes accepted
  bool marked = false;           // it's reached, so that readAt and endAt are places in the file
  off_t readAt = 0;
  off_t endAt = 0;
  size_t reads = 0;    // onBytes waits for so many bytes at most
  uint64_t epoch = 0;  // of the mark: an answer to an earlier question is no answer
};

LogFile::LogFile(std::shared_ptr<Loop> loop, std::shared_ptr<Helpers> helpers,
                 std::shared_ptr<Blocks> blocks, OpenedLog file, std::function<void()> onChange)
    : helpers_(std::move(helpers)),
      shared_(std::make_shared<Shared>(std::move(loop), std::move(blocks), std::move(file.fd))),
      regular_(file.regular) {
  shared_->onChange = std::move(onChange);
}

LogFile::~LogFile() {
  shared_->onChange = nullptr;
  shared_->onBytes = nullptr;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->left = true;
  }
  // The last to let go closes the file, which may take as long as a write to it.
  helpers_->post([shared = shared_] { return false; });
}

std::span<char> LogFile::reserve() {
  Shared& shared = *shared_;
  std::lock_guard lock(shared.mutex);
  auto& parts = shared.parts;
  if (parts.empty() || kBlockBytes - parts.back().end < kLeastRead) {
    if (parts.size() >= kMaxFileBlocks) return {};
    auto block = shared.blocks->take(parts.empty());
    if (!block) return {};
    parts.push_back({std::move(block)});
  }
  shared.reserved = true;
  const Shared::Part& last = parts.back();
  return {last.block.get() + last.end, kBlockBytes - last.end};
}

void LogFile::commit(size_t bytes) {
  accepted_ += bytes;
  Shared& shared = *shared_;
  {
    std::lock_guard lock(shared.mutex);
    shared.reserved = false;
    if (!shared.hasBytes()) shared.lastProgress = shared.loop->now();
    Shared::Part& last = shared.parts.back();
    last.end += bytes;
    if (last.begin == last.end) {
      shared.blocks->give(std::move(last.block));
      shared.parts.pop_back();
    }
  }
  if (bytes > 0) wake();
}

size_t LogFile::append(std::string_view bytes) {
  size_t taken = 0;
  while (taken < bytes.size()) {
    const std::span<char> room = reserve();
    if (room.empty()) break;
    const size_t part = std::min(room.size(), bytes.size() - taken);
    std::memcpy(room.data(), bytes.data() + taken, part);
    taken += part;
    commit(part);
  }
  return taken;
}

void LogFile::wake() {
  {
    std::lock_guard lock(shared_->mutex);
    if (std::exchange(shared_->served, true)) return;
  }
  helpers_->post([shared = shared_] { return shared->serve(); });
}

bool LogFile::settled() const {
  std::lock_guard lock(shared_->mutex);
  return shared_->settled == accepted_;
}

TimePoint LogFile::lastProgress() const {
  std::lock_guard lock(shared_->mutex);
  return shared_->lastProgress;
}

uint64_t LogFile::waitingLines() const {
  std::lock_guard lock(shared_->mutex);
  uint64_t lines = 0;
  for (const Shared::Part& part : shared_->parts) {
    lines += countLines({part.block.get() + part.begin, part.end - part.begin});
  }
  return lines;
}

void LogFile::tellProgress() {
  std::lock_guard lock(shared_->mutex);
  shared_->tells = true;
}

std::optional<Error> LogFile::takeError() {
  std::lock_guard lock(shared_->mutex);
  if (!shared_->error || std::exchange(errorTold_, true)) return std::nullopt;
  return shared_->error;
}

bool LogFile::rereadable() const {
  std::lock_guard lock(shared_->mutex);
  return regular_ && !shared_->error;
}

void LogFile::mark(uint64_t at) {
  {
    std::lock_guard lock(shared_->mutex);
    assert(at >= shared_->settled);
    shared_->mark = at;
    shared_->marked = false;
    shared_->epoch++;
  }
  wake();
}

void LogFile::unmark() {
  std::lock_guard lock(shared_->mutex);
  shared_->mark.reset();
  shared_->marked = false;
  shared_->reads = 0;
  shared_->epoch++;
}

bool LogFile::caughtUp() const {
  std::lock_guard lock(shared_->mutex);
  return shared_->marked && !shared_->hasUnread() && shared_->settled == accepted_;
}

void LogFile::reread(size_t atMost, std::function<void(std::string_view)> onBytes) {
  shared_->onBytes = std::move(onBytes);
  {
    std::lock_guard lock(shared_->mutex);
    shared_->reads = atMost;
  }
  wake();
}

/// One write and one read, so that no file has more than its turn.
bool LogFile::Shared::serve() {
  Lock lock(mutex);
  // No write may go over it.
  if (!left && isAtMark()) reachMark(lock);
  if (!left && hasBytes()) writeSome(lock);
  if (!left && isAtMark()) reachMark(lock);
  if (!left && reads > 0 && hasUnread()) readSome(lock);
  // Whoever waits to read on waits for nothing, if all that was left to be written is lost.
  if (!left && reads > 0 && !hasBytes() && !hasUnread()) giveBytes(nullptr, epoch);
  served = !left && (hasBytes() || (reads > 0 && hasUnread()));
  return served;
}

void LogFile::Shared::writeSome(Lock& lock) {
  const Part& front = parts.front();
  const char* const bytes = front.block.get() + front.begin;
  size_t size = front.end - front.begin;
  // The place of the mark is known when a write has ended there.
  if (mark && *mark > settled) size = std::min<uint64_t>(size, *mark - settled);
  const bool seeks = marked;
  lock.unlock();
  ssize_t written;
  do written = ::write(fd.get(), bytes, size);
  while (written < 0 && errno == EINTR);
  const int code = errno;
  const off_t end = seeks && written > 0 ? ::lseek(fd.get(), 0, SEEK_CUR) : 0;
  lock.lock();

  if (written <= 0) {
    if (!error) {
      error = Error{"write", written < 0 ? code : EIO};
      tell();
    }
  } else {
    size = static_cast<size_t>(written);
    lastProgress = loop->now();
    if (seeks && marked) {
      // Behind that place it was truncated: what was there is gone, and we're the first again.
      if (end - written < endAt) readAt = end - written;
      endAt = end;
    }
  }
  settled += size;
  parts.front().begin += size;
  if (parts.front().begin == parts.front().end && (parts.size() > 1 || !reserved)) dropFront();
  if (std::exchange(tells, false)) tell();
}

void LogFile::Shared::reachMark(Lock& lock) {
  lock.unlock();
  const off_t at = ::lseek(fd.get(), 0, SEEK_CUR);
  lock.lock();
  if (!isAtMark()) return;
  marked = true;
  readAt = endAt = std::max<off_t>(at, 0);
}

void LogFile::Shared::readSome(Lock& lock) {
  const off_t from = readAt;
  const uint64_t asked = epoch;
  const size_t size = std::min<off_t>(endAt - readAt, static_cast<off_t>(reads));
  lock.unlock();
  if (!readFd) {
    auto opened = openAgain(fd.get(), O_RDONLY);
    if (opened) readFd = *std::move(opened);
  }
  auto bytes = std::make_shared<std::string>(size, '\0');
  ssize_t n = -1;
  if (readFd) {
    do n = ::pread(readFd.get(), bytes->data(), size, from);
    while (n < 0 && errno == EINTR);
  }
  lock.lock();
  if (epoch != asked) return;
  if (n > 0) {
    bytes->resize(static_cast<size_t>(n));
    readAt += n;
  } else {
    // Truncated meanwhile, or it can't be read: what was there is lost to the console.
    readAt = endAt;
    bytes->clear();
  }
  giveBytes(std::move(bytes), asked);
}

void LogFile::Shared::giveBytes(std::shared_ptr<std::string> bytes, uint64_t asked) {
  reads = 0;
  loop->post([self = shared_from_this(), bytes = std::move(bytes), asked] {
    {
      std::lock_guard lock(self->mutex);
      if (self->epoch != asked) return;
    }
    // Taken out first: it may ask for more.
    const auto onBytes = std::exchange(self->onBytes, nullptr);
    if (onBytes) onBytes(bytes ? std::string_view(*bytes) : std::string_view());
  });
}

}  // namespace regroup
