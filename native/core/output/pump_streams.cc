#include <errno.h>
#include <unistd.h>

#include <algorithm>

#include "core/output/pump_impl.h"

namespace regroup {

namespace {

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

}  // namespace regroup
