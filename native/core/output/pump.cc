#include "core/output/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>

#include "core/base/syscall.h"
#include "core/output/pump_impl.h"

namespace regroup {

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

auto Pump::Impl::openSink(const std::string& path) -> Result<std::unique_ptr<FileSink>> {
  auto fd = openFile(path.c_str(), O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (!fd) return fd.error();
  auto file = std::make_unique<FileSink>();
  file->fd = std::move(*fd);
  file->path = path;
  return file;
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
