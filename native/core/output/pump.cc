#include "core/output/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>

#include "core/base/loop.h"
#include "core/base/syscall.h"
#include "core/base/thread.h"
#include "core/output/console.h"
#include "core/output/lines.h"

namespace regroup {

namespace {

/// Per turn and stream: a large pipe in one go, and no stream gets ahead by more.
constexpr size_t kReadBytes = 1024 * 1024;
constexpr size_t kOutBytes = 2 * kReadBytes;  // with prefixes; more than that is written in two

/// A finish that waits for a slow console ends by then, whatever progress it makes.
constexpr std::chrono::seconds kMaxFinish{30};

struct FileSink {
  Fd fd;
  std::string path;
  bool failed = false;
  StreamId open = 0;  // filtered files: whose unfinished line is the last one
  int users = 0;      // filtered files: streams that share it
};

Result<std::unique_ptr<FileSink>> openSink(const std::string& path) {
  auto fd = openFile(path.c_str(), O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (!fd) return fd.error();
  auto file = std::make_unique<FileSink>();
  file->fd = std::move(*fd);
  file->path = path;
  return file;
}

/// 0, or the errno that stopped it.
int writeAll(const Fd& fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : EIO;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

}  // namespace

/// Thread: pump, but for the parts that say otherwise.
class Pump::Impl {
 public:
  Impl(std::unique_ptr<Loop> loop, Options options);
  ~Impl();
  Result<void> startThread();

  Result<StreamId> add(Fd readEnd, StreamSinks sinks);  // Thread: any
  void finish(std::vector<StreamId> ids, std::chrono::milliseconds drain,
              std::function<void(std::vector<std::string>)> done);  // Thread: any

 private:
  struct Stream;
  struct Finish;
  struct Slot;

  void receive();
  void admit(std::unique_ptr<Stream> given);
  void readOnce(Stream& stream);
  void giveFile(Stream& stream, std::string_view bytes);
  void giveFiltered(Stream& stream, std::string_view bytes, bool last);
  void giveConsole(Stream& stream, std::string_view bytes);
  void dropLines(Stream& stream, std::string_view bytes, bool last);
  void writeFile(Stream& stream, FileSink& file, std::string_view bytes);
  void pause(Stream& stream);
  void resume(Slot& slot);
  void watch(Stream& stream);
  void expire(Stream& stream);
  void end(Stream& stream);
  bool endConsole(Stream& stream);
  bool drops(const Stream& stream) const;

  void startFinish(std::unique_ptr<Finish> given);
  void settleSoon();
  void settle();
  bool settled(Finish& finish);
  bool consoleSettled(Finish& finish, Slot& slot, uint64_t mark);
  void hurry(Finish& finish);
  void complete(Finish& finish);
  void shutDown();

  void report(StreamId stream, std::string path, int code, uint64_t droppedLines);
  void reportConsole(Slot& slot);

  const Options options_;
  std::unique_ptr<Loop> loop_;
  std::atomic<StreamId> nextId_{1};

  std::mutex inboxMutex_;
  std::vector<std::unique_ptr<Stream>> newStreams_;   // guarded by inboxMutex_
  std::vector<std::unique_ptr<Finish>> newFinishes_;  // guarded by inboxMutex_

  const std::unique_ptr<char[]> buffer_;
  LineBuffer out_;
  std::list<Slot> slots_;          // one per console, one for both if they are the same
  std::array<Slot*, 3> slotOf_{};  // by StreamSinks::console
  std::map<StreamId, std::unique_ptr<Stream>> streams_;
  std::map<std::string, std::unique_ptr<FileSink>> filtered_;  // by path
  std::list<std::unique_ptr<Finish>> finishes_;
  bool settling_ = false;  // settle() is on its way
  bool closing_ = false;

  Thread thread_;  // last: it uses all of the above
};

struct Pump::Impl::Slot {
  std::unique_ptr<Console> console;
  std::vector<Stream*> waiting;  // for room; not read meanwhile
  StreamId lastWriter = 0;
  const char* lastName = "stdout";
};

struct Pump::Impl::Stream final : Loop::Watcher {
  Stream(Impl& impl, StreamId id, Fd pipe, StreamSinks given)
      : impl(impl), id(id), pipe(std::move(pipe)), sinks(std::move(given)), tail(sinks.tailBytes) {}
  void onReady(uint32_t) override { impl.readOnce(*this); }

  Impl& impl;
  const StreamId id;
  Fd pipe;
  const StreamSinks sinks;
  std::unique_ptr<FileSink> file;
  std::unique_ptr<FileSink> ownFiltered;  // until admit() finds out who shares it
  FileSink* filtered = nullptr;
  std::optional<Lines> filteredLines;
  Slot* slot = nullptr;
  std::optional<Lines> consoleLines;
  Tail tail;

  bool paused = false;   // in slot->waiting
  std::string held;      // read, but found no room on the console; only while paused
  bool atEnd = false;    // end of file; its last line may still wait for room
  bool ended = false;    // nothing more will be written
  Finish* finish = nullptr;
  size_t owed = 0;       // in the pipe when the finish began: the worker's own bytes
  bool expired = false;  // the drain is over: ends when nothing is owed
  bool hurried = false;  // no longer waits for the console
  Loop::TimerId drainTimer = 0;

  const char* consoleName() const { return sinks.console == 1 ? "stdout" : "stderr"; }
};

struct Pump::Impl::Finish {
  std::vector<StreamId> ids;
  std::chrono::milliseconds drain{0};
  std::function<void(std::vector<std::string>)> done;
  size_t reading = 0;  // streams that haven't ended
  bool flushing = false;
  std::vector<std::pair<Slot*, uint64_t>> marks;  // settled when the console has got that far
  TimePoint deadline;
  Loop::TimerId timer = 0;
};

Pump::Impl::Impl(std::unique_ptr<Loop> loop, Options options)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      buffer_(new char[kReadBytes]),
      out_(kOutBytes) {
  const auto makeSlot = [this](int fd) {
    Slot* const slot = &slots_.emplace_back();
    Console::Options console;
    console.stall = options_.consoleStall;
    console.onChange = [this, slot] {
      reportConsole(*slot);
      resume(*slot);
      settleSoon();
    };
    console.onDropped = [this](StreamId id, uint64_t lines) {
      const auto found = streams_.find(id);
      if (found != streams_.end()) report(id, found->second->consoleName(), EAGAIN, lines);
    };
    slot->console = std::make_unique<Console>(*loop_, fd, std::move(console));
    return slot;
  };
  slotOf_[1] = makeSlot(options_.stdoutFd);
  slotOf_[2] = Console::same(options_.stdoutFd, options_.stderrFd) ? slotOf_[1]
                                                                   : makeSlot(options_.stderrFd);
}

/// SIGPIPE stays out of the thread: a console that's gone shall be EPIPE.
Result<void> Pump::Impl::startThread() {
  auto thread = Thread::start([this] {
    (void)::prctl(PR_SET_NAME, "regroup-output");  // for people with a debugger
    loop_->run();
  });
  if (!thread) return thread.error();
  thread_ = *std::move(thread);
  return {};
}

Pump::Impl::~Impl() {
  if (!thread_.joinable()) return;
  loop_->post([this] { shutDown(); });
  thread_.join();
}

Result<StreamId> Pump::Impl::add(Fd readEnd, StreamSinks sinks) {
  const int flags = ::fcntl(readEnd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(readEnd.get(), F_SETFL, flags | O_NONBLOCK) < 0)
    return Error{"fcntl", errno};

  std::vector<std::string> filters = std::move(sinks.filters);
  auto stream = std::make_unique<Stream>(*this, nextId_++, std::move(readEnd), std::move(sinks));
  if (!stream->sinks.file.empty()) {
    auto file = openSink(stream->sinks.file);
    if (!file) return file.error();
    stream->file = std::move(*file);
  }
  if (!stream->sinks.filteredFile.empty() && !filters.empty()) {
    auto file = openSink(stream->sinks.filteredFile);
    if (!file) return file.error();
    stream->ownFiltered = std::move(*file);
    stream->filteredLines.emplace(stream->sinks.prefix, std::move(filters));
  }
  if (stream->sinks.console == 1 || stream->sinks.console == 2) {
    stream->slot = slotOf_[stream->sinks.console];
    stream->consoleLines.emplace(stream->sinks.prefix);
  }
  const StreamId id = stream->id;
  {
    std::lock_guard lock(inboxMutex_);
    newStreams_.push_back(std::move(stream));
  }
  loop_->post([this] { receive(); });
  return id;
}

/// Streams first: a finish names none that was added after it.
void Pump::Impl::receive() {
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<std::unique_ptr<Finish>> finishes;
  {
    std::lock_guard lock(inboxMutex_);
    streams.swap(newStreams_);
    finishes.swap(newFinishes_);
  }
  for (auto& stream : streams) admit(std::move(stream));
  for (auto& finish : finishes) startFinish(std::move(finish));
}

void Pump::Impl::admit(std::unique_ptr<Stream> given) {
  Stream& stream = *streams_.emplace(given->id, std::move(given)).first->second;
  if (stream.ownFiltered) {
    auto& shared = filtered_[stream.ownFiltered->path];
    if (!shared) shared = std::move(stream.ownFiltered);
    stream.ownFiltered.reset();
    stream.filtered = shared.get();
    shared->users++;
  }
  watch(stream);
}

void Pump::Impl::watch(Stream& stream) {
  const auto added = loop_->add(stream.pipe.get(), EPOLLIN, &stream);
  if (added) return;
  report(stream.id, "pipe", added.error().code, 0);
  end(stream);
}

void Pump::Impl::readOnce(Stream& stream) {
  if (stream.slot && !drops(stream) && stream.slot->console->crowded()) return pause(stream);

  const ssize_t n = ::read(stream.pipe.get(), buffer_.get(), kReadBytes);
  if (n < 0 && errno == EINTR) return;
  if (n < 0 && errno == EAGAIN) {
    stream.owed = 0;
  } else if (n <= 0) {
    return end(stream);  // EIO is how a pseudoterminal ends
  } else {
    const std::string_view bytes(buffer_.get(), static_cast<size_t>(n));
    stream.owed -= std::min(stream.owed, bytes.size());
    giveFile(stream, bytes);
    giveFiltered(stream, bytes, false);
    giveConsole(stream, bytes);
  }
  if (stream.expired && stream.owed == 0 && !stream.paused) end(stream);
}

void Pump::Impl::giveFile(Stream& stream, std::string_view bytes) {
  stream.tail.feed(bytes);
  if (stream.file) writeFile(stream, *stream.file, bytes);
}

void Pump::Impl::giveFiltered(Stream& stream, std::string_view bytes, bool last) {
  if (!stream.filteredLines) return;
  FileSink& file = *stream.filtered;
  do {
    out_.reset();
    if (file.open != 0 && file.open != stream.id) out_.append('\n');
    if (file.open != stream.id) stream.filteredLines->interrupt();
    const size_t before = out_.size();
    bytes.remove_prefix(stream.filteredLines->feed(bytes, out_));
    if (last) stream.filteredLines->finish(out_);
    if (out_.size() == before) continue;
    file.open = out_.view().back() == '\n' ? 0 : stream.id;
    writeFile(stream, file, out_.view());
  } while (!bytes.empty());
}

void Pump::Impl::writeFile(Stream& stream, FileSink& file, std::string_view bytes) {
  const int code = writeAll(file.fd, bytes);
  if (code == 0 || std::exchange(file.failed, true)) return;
  report(stream.id, file.path, code, 0);
}

bool Pump::Impl::drops(const Stream& stream) const {
  return stream.hurried || stream.slot->console->state() != Console::State::Taking;
}

void Pump::Impl::giveConsole(Stream& stream, std::string_view bytes) {
  if (!stream.slot) return;
  Slot& slot = *stream.slot;
  Console& console = *slot.console;
  Lines& lines = *stream.consoleLines;
  while (!bytes.empty() && !drops(stream)) {
    out_.reset(console.room());
    // The line's end belongs to the chunk, so that it costs no write of its own.
    if (console.needsEnd(stream.id) && out_.room() > 0) out_.append('\n');
    if (!console.continues(stream.id)) lines.interrupt();
    const size_t before = out_.size();
    const size_t taken = lines.feed(bytes, out_);
    if (taken == 0) {
      stream.held.assign(bytes);
      return pause(stream);
    }
    bytes.remove_prefix(taken);
    if (out_.size() == before) continue;
    slot.lastWriter = stream.id;
    slot.lastName = stream.consoleName();
    console.write(stream.id, out_.view());
    reportConsole(slot);
  }
  dropLines(stream, bytes, false);
}

/// What a console that stands still would have got: counted, so that people can be told. A dead
/// one has been reported, and counts no lines.
void Pump::Impl::dropLines(Stream& stream, std::string_view bytes, bool last) {
  Console& console = *stream.slot->console;
  if (console.state() == Console::State::Dead) {
    if (stream.slot->lastWriter == 0) {
      stream.slot->lastWriter = stream.id;
      stream.slot->lastName = stream.consoleName();
    }
    return reportConsole(*stream.slot);
  }
  while (!bytes.empty() || last) {
    out_.reset();
    bytes.remove_prefix(stream.consoleLines->feed(bytes, out_));
    if (bytes.empty() && last) {
      stream.consoleLines->finish(out_);
      last = false;
    }
    const std::string_view lost = out_.view();
    if (lost.empty()) continue;
    console.drop(stream.id, static_cast<uint64_t>(std::count(lost.begin(), lost.end(), '\n')),
                 stream.sinks.file);
  }
}

void Pump::Impl::pause(Stream& stream) {
  // Removed, since a hang-up would wake us again and again.
  if (stream.pipe && !stream.paused) loop_->remove(stream.pipe.get(), &stream);
  stream.paused = true;
  stream.slot->waiting.push_back(&stream);
  stream.slot->console->awaitRoom();
}

void Pump::Impl::resume(Slot& slot) {
  auto waiting = std::exchange(slot.waiting, {});
  for (Stream* const stream : waiting) {
    stream->paused = false;
    const std::string held = std::exchange(stream->held, {});
    giveConsole(*stream, held);
    if (stream->paused) continue;
    if (stream->atEnd || (stream->expired && stream->owed == 0)) {
      end(*stream);
    } else {
      watch(*stream);
    }
  }
}

/// Nobody waits any longer for those who still hold the pipe.
void Pump::Impl::expire(Stream& stream) {
  loop_->cancelTimer(std::exchange(stream.drainTimer, 0));
  stream.expired = true;
  if (!stream.ended && !stream.paused && stream.owed == 0) end(stream);
}

void Pump::Impl::end(Stream& stream) {
  if (stream.pipe) {
    loop_->remove(stream.pipe.get(), &stream);
    stream.pipe.reset();
    giveFiltered(stream, {}, true);
  }
  stream.atEnd = true;
  if (stream.slot && !endConsole(stream)) return pause(stream);

  loop_->cancelTimer(std::exchange(stream.drainTimer, 0));
  stream.ended = true;
  if (stream.finish != nullptr && --stream.finish->reading == 0) settleSoon();
}

/// Writes the last partial line; false if there's no room for it.
bool Pump::Impl::endConsole(Stream& stream) {
  if (drops(stream)) {
    dropLines(stream, {}, true);
    return true;
  }
  Slot& slot = *stream.slot;
  Console& console = *slot.console;
  if (console.room() < kMaxPieceBytes + 1) return false;

  out_.reset();
  if (console.needsEnd(stream.id)) out_.append('\n');
  if (!console.continues(stream.id)) stream.consoleLines->interrupt();
  const size_t before = out_.size();
  stream.consoleLines->finish(out_);
  if (out_.size() == before) return true;
  slot.lastWriter = stream.id;
  slot.lastName = stream.consoleName();
  console.write(stream.id, out_.view());
  reportConsole(slot);
  return true;
}

void Pump::Impl::finish(std::vector<StreamId> ids, std::chrono::milliseconds drain,
                        std::function<void(std::vector<std::string>)> done) {
  auto finish = std::make_unique<Finish>();
  finish->ids = std::move(ids);
  finish->drain = drain;
  finish->done = std::move(done);
  {
    std::lock_guard lock(inboxMutex_);
    newFinishes_.push_back(std::move(finish));
  }
  loop_->post([this] { receive(); });
}

void Pump::Impl::startFinish(std::unique_ptr<Finish> given) {
  Finish& finish = *finishes_.emplace_back(std::move(given));
  finish.deadline = loop_->now() + finish.drain + kMaxFinish;
  for (const StreamId id : finish.ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->finish != nullptr) continue;
    Stream& stream = *found->second;
    stream.finish = &finish;
    if (stream.ended) continue;
    finish.reading++;
    if (stream.atEnd) continue;
    int owed = 0;
    if (::ioctl(stream.pipe.get(), FIONREAD, &owed) == 0) stream.owed = static_cast<size_t>(owed);
    const TimePoint due = loop_->now() + finish.drain;
    stream.drainTimer = loop_->setTimer(due, [this, &stream] { expire(stream); });
  }
  settleSoon();
}

/// Not at once: whoever noticed is still amid a stream or a console.
void Pump::Impl::settleSoon() {
  if (finishes_.empty() || std::exchange(settling_, true)) return;
  loop_->post([this] { settle(); });
}

void Pump::Impl::settle() {
  settling_ = false;
  for (auto at = finishes_.begin(); at != finishes_.end();) {
    Finish& finish = **at;
    loop_->cancelTimer(std::exchange(finish.timer, 0));
    if (!settled(finish)) {
      ++at;
      continue;
    }
    const auto whole = std::move(*at);
    at = finishes_.erase(at);
    complete(*whole);
  }
  if (closing_ && finishes_.empty()) loop_->stop();
}

/// If not, a timer or a change of a console comes back to it.
bool Pump::Impl::settled(Finish& finish) {
  if (finish.reading > 0 && loop_->now() >= finish.deadline) hurry(finish);
  if (finish.reading > 0) {
    if (loop_->now() < finish.deadline)
      finish.timer = loop_->setTimer(finish.deadline, [this] { settleSoon(); });
    return false;
  }

  if (!std::exchange(finish.flushing, true)) {
    for (Slot& slot : slots_) {
      const bool used = std::any_of(finish.ids.begin(), finish.ids.end(), [&](StreamId id) {
        const auto found = streams_.find(id);
        return found != streams_.end() && found->second->slot == &slot;
      });
      if (used) finish.marks.emplace_back(&slot, slot.console->accepted());
    }
  }
  for (const auto& [slot, mark] : finish.marks) {
    if (!consoleSettled(finish, *slot, mark)) return false;
  }
  return true;
}

bool Pump::Impl::consoleSettled(Finish& finish, Slot& slot, uint64_t mark) {
  Console& console = *slot.console;
  if (console.settled() >= mark) return true;
  const TimePoint due =
      std::min(console.lastProgress() + options_.consoleGiveUp, finish.deadline);
  if (loop_->now() < due) {
    finish.timer = loop_->setTimer(due, [this] { settleSoon(); });
    return false;
  }

  for (const StreamId id : finish.ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->slot != &slot) continue;
    (void)console.giveUp(id, found->second->sinks.file);  // complete() asks for the count
    break;
  }
  resume(slot);
  return true;
}

/// Its consoles are so slow that it would take for ever: the files count.
void Pump::Impl::hurry(Finish& finish) {
  for (const StreamId id : finish.ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->finish != &finish) continue;
    found->second->hurried = true;
  }
  for (Slot& slot : slots_) resume(slot);
}

void Pump::Impl::complete(Finish& finish) {
  std::vector<std::string> tails;
  tails.reserve(finish.ids.size());
  for (const StreamId id : finish.ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->finish != &finish) {
      tails.emplace_back();
      continue;
    }
    Stream& stream = *found->second;
    tails.push_back(stream.tail.take());
    if (stream.slot) {
      const uint64_t dropped = stream.slot->console->takeDropped(id);
      if (dropped > 0) report(id, stream.consoleName(), EAGAIN, dropped);
    }
    if (stream.filtered != nullptr && --stream.filtered->users == 0)
      filtered_.erase(filtered_.find(stream.filtered->path));
    streams_.erase(found);
  }
  if (finish.done) finish.done(std::move(tails));
}

void Pump::Impl::shutDown() {
  closing_ = true;
  auto finish = std::make_unique<Finish>();
  for (const auto& [id, stream] : streams_) {
    if (stream->finish == nullptr) finish->ids.push_back(id);
  }
  startFinish(std::move(finish));
  for (const auto& [id, stream] : streams_) expire(*stream);
}

void Pump::Impl::report(StreamId stream, std::string path, int code, uint64_t droppedLines) {
  if (!options_.onTrouble) return;
  const char* const op = path == "pipe" ? "read" : "write";
  options_.onTrouble({stream, std::move(path), {op, code}, droppedLines});
}

void Pump::Impl::reportConsole(Slot& slot) {
  const auto error = slot.console->takeError();
  if (error) report(slot.lastWriter, slot.lastName, error->code, 0);
}

Result<std::unique_ptr<Pump>> Pump::start(Options options) {
  auto loop = Loop::create();
  if (!loop) return loop.error();
  auto impl = std::make_unique<Impl>(std::move(*loop), std::move(options));
  auto started = impl->startThread();
  if (!started) return started.error();
  return std::unique_ptr<Pump>(new Pump(std::move(impl)));
}

Pump::Pump(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pump::~Pump() = default;

Result<StreamId> Pump::add(Fd readEnd, StreamSinks sinks) {
  return impl_->add(std::move(readEnd), std::move(sinks));
}

void Pump::finish(std::vector<StreamId> streams, std::chrono::milliseconds drain,
                  std::function<void(std::vector<std::string> tails)> done) {
  impl_->finish(std::move(streams), drain, std::move(done));
}

}  // namespace regroup
