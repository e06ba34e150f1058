#include "core/output/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>

#include "core/base/syscall.h"
#include "core/output/pump_impl.h"

namespace regroup {

Pump::Impl::Impl(std::shared_ptr<Loop> loop, std::shared_ptr<Helpers> helpers, Options options)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      helpers_(std::move(helpers)),
      buffer_(new char[kBlockBytes]),
      out_(kOutBytes) {
  const auto makeSlot = [this](int fd) {
    Slot* const slot = &slots_.emplace_back();
    Console::Options console;
    console.stall = options_.consoleStall;
    console.onChange = [this, slot] {
      reportConsole(*slot);
      resume(*slot);
      catchUp(*slot);
      settleSoon();
    };
    console.onDropped = [this](StreamId id, uint64_t lines) {
      const auto found = streams_.find(id);
      if (found == streams_.end()) return;
      report(*found->second, found->second->consoleName(), EAGAIN, lines);
    };
    slot->console = std::make_unique<Console>(loop_, helpers_, fd, std::move(console));
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

Result<SinkFiles> Pump::openFiles(const StreamSinks& sinks) {
  SinkFiles files;
  if (!sinks.file.empty()) {
    auto file = openLog(sinks.file);
    if (!file) return file.error();
    files.file = *std::move(file);
  }
  if (hasFilter(sinks)) {
    auto file = openLog(sinks.filteredFile);
    if (!file) return file.error();
    files.filtered = *std::move(file);
  }
  return files;
}

Result<StreamId> Pump::Impl::add(Fd readEnd, StreamSinks sinks, SinkFiles files,
                                 OnTrouble onTrouble) {
  const int flags = ::fcntl(readEnd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(readEnd.get(), F_SETFL, flags | O_NONBLOCK) < 0)
    return Error{"fcntl", errno};
  if (files.file.fd || files.filtered.fd) {
    auto prepared = helpers_->prepare();
    if (!prepared) return prepared.error();
  }

  auto stream = std::make_unique<Stream>(*this, nextId_++, std::move(readEnd), std::move(sinks),
                                         std::move(files), std::move(onTrouble));
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

void Pump::Impl::say(int console, std::string lines) {
  loop_->post([this, console, lines = std::move(lines)] {
    Slot& slot = *slotOf_[console == 1 ? 1 : 2];
    slot.console->say(lines);
    reportConsole(slot);
  });
}

void Pump::Impl::report(const Stream& stream, std::string path, int code, uint64_t droppedLines) {
  if (!stream.onTrouble) return;
  const char* const op = path == "pipe" ? "read" : "write";
  stream.onTrouble({stream.id, std::move(path), {op, code}, droppedLines});
}

/// Told to a stream that's still there; else it waits for the next one to write.
void Pump::Impl::reportConsole(Slot& slot) {
  // Not at once: whoever noticed is amid a stream.
  if (slot.console->state() == Console::State::Dead && !slot.behind.empty())
    loop_->post([this, &slot] { catchUp(slot); });
  const auto writer = streams_.find(slot.lastWriter);
  if (writer == streams_.end() || writer->second->trailer != 0) return;
  const auto error = slot.console->takeError();
  if (error) report(*writer->second, writer->second->consoleName(), error->code, 0);
}

Result<std::shared_ptr<Pump>> Pump::start(Options options) {
  auto loop = Loop::create();
  if (!loop) return loop.error();
  auto impl = std::make_unique<Impl>(std::shared_ptr<Loop>(*std::move(loop)),
                                     std::make_shared<Helpers>(), std::move(options));
  auto started = impl->startThread();
  if (!started) return started.error();
  return std::shared_ptr<Pump>(new Pump(std::move(impl)));
}

Pump::Pump(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pump::~Pump() = default;

Result<StreamId> Pump::add(Fd readEnd, StreamSinks sinks, SinkFiles files, OnTrouble onTrouble) {
  return impl_->add(std::move(readEnd), std::move(sinks), std::move(files), std::move(onTrouble));
}

void Pump::finish(std::vector<StreamId> streams, std::chrono::milliseconds drain,
                  std::function<void(std::vector<std::string> tails)> done) {
  impl_->finish(std::move(streams), drain, std::move(done));
}

void Pump::say(int console, std::string lines) {
  impl_->say(console, std::move(lines));
}

void Pump::flush(FlushPatience patience, std::function<void(uint64_t unshownLines)> done) {
  impl_->flush(patience, std::move(done));
}

void Pump::hurry() {
  impl_->hurry();
}

}  // namespace regroup
