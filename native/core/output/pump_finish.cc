#include <errno.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "core/output/pump_impl.h"

namespace regroup {

namespace {

/// A finish that waits for the slow console of a stream without a file ends by then, whatever
/// progress it makes.
constexpr std::chrono::seconds kMaxFinish{30};
/// Streams whose workers are gone and whose console is behind; of older ones the rest is dropped.
/// They have a descriptor each. Protects those of rounds to come.
constexpr size_t kMaxTrailers = 1024;

}  // namespace

void Pump::Impl::startFinish(std::unique_ptr<Finish> given) {
  Finish& finish = *finishes_.emplace_back(std::move(given));
  finish.began = loop_->now();
  finish.deadline = finish.began + finish.drain + kMaxFinish;
  for (const StreamId id : finish.ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->finish != nullptr || found->second->trailer != 0)
      continue;
    Stream& stream = *found->second;
    stream.finish = &finish;
    finish.pending.push_back(&stream);
    if (stream.atEnd) continue;
    int owed = 0;
    if (::ioctl(stream.pipe.get(), FIONREAD, &owed) == 0) stream.owed = static_cast<size_t>(owed);
    const TimePoint due = finish.began + finish.drain;
    stream.drainTimer = loop_->setTimer(due, [this, &stream] { expire(stream); });
  }
  settleSoon();
}

/// Not at once: whoever noticed is still amid a stream or a console.
void Pump::Impl::settleSoon() {
  if (finishes_.empty() && flushes_.empty()) return;
  if (std::exchange(settling_, true)) return;
  loop_->post([this] { settle(); });
}

void Pump::Impl::wakeAt(TimePoint due) {
  if (settleTimer_ != 0 && settleAt_ <= due) return;
  loop_->cancelTimer(settleTimer_);
  settleAt_ = due;
  settleTimer_ = loop_->setTimer(due, [this] {
    settleTimer_ = 0;
    settleSoon();
  });
}

void Pump::Impl::settle() {
  settling_ = false;
  loop_->cancelTimer(std::exchange(settleTimer_, 0));
  for (auto at = finishes_.begin(); at != finishes_.end();) {
    if (!settled(**at)) {
      ++at;
      continue;
    }
    const auto whole = std::move(*at);
    at = finishes_.erase(at);
    complete(*whole);
  }
  if (closing_ && !finishes_.empty()) return;
  if (closing_ && !std::exchange(lastFlush_, true)) {
    Flush& last = startFlush({options_.consoleGiveUp, options_.consoleGiveUp}, nullptr);
    last.deadline = last.began + 2 * options_.consoleGiveUp;
  }
  for (auto at = flushes_.begin(); at != flushes_.end();) {
    if (!flushed(*at)) {
      ++at;
      continue;
    }
    const auto done = std::move(at->done);
    at = flushes_.erase(at);
    if (done) done(unshownLines());
  }
  if (closing_ && flushes_.empty()) loop_->stop();
}

/// If not, a timer, or a change of a file or a console, comes back to it.
bool Pump::Impl::settled(Finish& finish) {
  const bool late = loop_->now() >= finish.deadline;
  if (late) hurry(finish);
  std::erase_if(finish.pending, [&](Stream* stream) { return settled(finish, *stream); });
  if (finish.pending.empty()) return true;
  if (!late) wakeAt(finish.deadline);
  return false;
}

bool Pump::Impl::settled(const Finish& finish, Stream& stream) {
  if (stream.file && waitsFor(*stream.file, finish)) {
    if (loop_->now() < std::max(stream.file->lastProgress(), finish.began) + options_.fileGiveUp)
      return false;
    loseFile(stream);
  }
  if (!stream.ended) return false;
  FilteredFile* const shared = stream.filtered;
  if (shared == nullptr) return true;
  // Others who share it may go on for long.
  const auto ours = std::count_if(finish.ids.begin(), finish.ids.end(), [&](StreamId id) {
    const auto found = streams_.find(id);
    return found != streams_.end() && found->second->filtered == shared;
  });
  if (ours < shared->users || !waitsFor(*shared->file, finish)) return true;
  return loop_->now() >= std::max(shared->file->lastProgress(), finish.began) + options_.fileGiveUp;
}

/// Whether it has yet to take something. It tells when it has, and a timer when it's too late.
bool Pump::Impl::waitsFor(LogFile& file, const Finish& finish) {
  file.tellProgress();
  if (file.settled()) return false;
  wakeAt(std::max(file.lastProgress(), finish.began) + options_.fileGiveUp);
  return true;
}

/// Consoles of streams without a file are so slow that it would take for ever.
void Pump::Impl::hurry(Finish& finish) {
  for (Stream* const stream : finish.pending) stream->hurried = true;
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
    tellAtEnd(stream);
    if (stream.filtered != nullptr && --stream.filtered->users == 0)
      filtered_.erase(filtered_.find(stream.filtered->path));
    stream.filtered = nullptr;
    stream.finish = nullptr;
    if (stream.behind) {
      stream.trailer = nextTrailer_++;
      trailers_.emplace(stream.trailer, &stream);
    } else {
      streams_.erase(found);
    }
  }
  while (trailers_.size() > kMaxTrailers) lose(*trailers_.begin()->second);
  if (finish.done) finish.done(std::move(tails));
}

/// What hasn't been told of it, and couldn't be later.
void Pump::Impl::tellAtEnd(Stream& stream) {
  if (stream.file) tellFile(stream);
  if (stream.filtered != nullptr) tellFiltered(stream, true);
  if (stream.fileLost) report(stream, stream.sinks.file, ETIMEDOUT, stream.lostLines);
  if (!stream.slot) return;
  const uint64_t dropped = stream.slot->console->takeDropped(stream.id);
  if (dropped > 0) report(stream, stream.consoleName(), EAGAIN, dropped);
}

void Pump::Impl::flush(FlushPatience patience, std::function<void(uint64_t)> done) {
  loop_->post([this, patience, done = std::move(done)]() mutable {
    (void)startFlush(patience, std::move(done));
    settleSoon();
  });
}

auto Pump::Impl::startFlush(FlushPatience patience, std::function<void(uint64_t)> done) -> Flush& {
  Flush& flush = flushes_.emplace_back();
  flush.patience = patience;
  flush.done = std::move(done);
  flush.began = loop_->now();
  flush.marks.resize(slots_.size());
  return flush;
}

void Pump::Impl::hurry() {
  loop_->post([this] {
    for (Flush& flush : flushes_) flush.deadline = loop_->now();
    settleSoon();
  });
}

bool Pump::Impl::flushed(Flush& flush) {
  if (flush.deadline && loop_->now() >= *flush.deadline) return true;
  bool all = true;
  size_t index = 0;
  for (Slot& slot : slots_) all = flushed(flush, slot, index++) && all;
  if (!all && flush.deadline) wakeAt(*flush.deadline);
  return all;
}

bool Pump::Impl::flushed(Flush& flush, Slot& slot, size_t index) {
  const Console& console = *slot.console;
  const bool trails = std::any_of(slot.behind.begin(), slot.behind.end(),
                                  [](const Stream* stream) { return stream->trailer != 0; });
  auto& mark = flush.marks[index];
  if (!trails && !mark) mark = console.accepted();
  if (mark && console.settled() >= *mark) return true;

  const bool lines = trails || console.settled() < slot.linesMark;
  const auto patience = lines ? flush.patience.lines : std::optional(flush.patience.words);
  if (!patience) return false;
  const TimePoint due = std::max(console.lastProgress(), flush.began) + *patience;
  if (loop_->now() >= due) return true;
  wakeAt(due);
  return false;
}

uint64_t Pump::Impl::unshownLines() const {
  uint64_t lines = 0;
  for (const Slot& slot : slots_) {
    const Console& console = *slot.console;
    if (console.settled() < slot.linesMark) lines += console.queuedLines();
    for (const Stream* const stream : slot.behind) lines += stream->owedLines;
  }
  return lines;
}

void Pump::Impl::shutDown() {
  closing_ = true;
  auto finish = std::make_unique<Finish>();
  for (const auto& [id, stream] : streams_) {
    if (stream->finish == nullptr && stream->trailer == 0) finish->ids.push_back(id);
  }
  startFinish(std::move(finish));
  std::vector<Stream*> all;
  for (const auto& [id, stream] : streams_) all.push_back(stream.get());
  for (Stream* const stream : all) {
    if (!stream->ended) expire(*stream);
  }
}

}  // namespace regroup
