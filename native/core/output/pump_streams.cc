#include <errno.h>
#include <unistd.h>

#include <algorithm>

#include "core/output/pump_impl.h"

namespace regroup {

void Pump::Impl::admit(std::unique_ptr<Stream> given) {
  Stream& stream = *streams_.emplace(given->id, std::move(given)).first->second;
  const StreamSinks& sinks = stream.sinks;
  if (stream.opened.file.fd) {
    stream.file = std::make_unique<LogFile>(loop_, helpers_, blocks_, std::move(stream.opened.file),
                                            [this, &stream] { onFileChange(stream); });
  }
  if (stream.opened.filtered.fd) {
    stream.filteredLines.emplace(sinks.prefix, sinks.filters);
    auto& shared = filtered_[sinks.filteredFile];
    if (!shared) {
      shared = std::make_unique<FilteredFile>();
      shared->path = sinks.filteredFile;
      shared->file = std::make_unique<LogFile>(
          loop_, helpers_, blocks_, std::move(stream.opened.filtered), [this] { settleSoon(); });
    }
    stream.filtered = shared.get();
    shared->users++;
  }
  if (sinks.console == 1 || sinks.console == 2) {
    stream.slot = slotOf_[sinks.console];
    stream.consoleLines.emplace(sinks.prefix);
  }
  watch(stream);
}

void Pump::Impl::watch(Stream& stream) {
  if (stream.watched || !stream.pipe) return;
  const auto added = loop_->add(stream.pipe.get(), EPOLLIN, &stream);
  if (added) {
    stream.watched = true;
    return;
  }
  report(stream, "pipe", added.error().code, 0);
  end(stream);
}

/// Whoever waits isn't watched, since a hang-up would wake us again and again.
void Pump::Impl::unwatch(Stream& stream) {
  if (std::exchange(stream.watched, false)) loop_->remove(stream.pipe.get(), &stream);
}

void Pump::Impl::readOnce(Stream& stream) {
  if (stream.slot && !stream.behind && !drops(stream) && stream.slot->console->crowded() &&
      !mayFallBehind(stream))
    return pauseForConsole(stream);
  const bool hasBacklog = stream.file && !stream.file->settled();
  std::span<char> space(buffer_.get(), kBlockBytes);
  if (stream.file) space = stream.file->reserve();
  if (space.empty()) return pauseForFile(stream);

  const ssize_t n = ::read(stream.pipe.get(), space.data(), space.size());
  const int code = n < 0 ? errno : 0;
  if (n > 0) {
    const std::string_view bytes(space.data(), static_cast<size_t>(n));
    stream.owed -= std::min(stream.owed, bytes.size());
    stream.tail.feed(bytes);
    if (stream.fileLost) stream.lostLines += countLines(bytes);
    giveFiltered(stream, bytes, false);
    if (stream.file) {
      holdBack(stream, bytes);
    } else {
      giveConsole(stream, bytes);
    }
  }
  if (stream.file) {
    if (n > 0) stream.file->tellProgress();
    stream.file->commit(static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n > 0 && !hasBacklog) return pauseForWrite(stream);
    if (n > 0) showUnshown(stream);
  }
  if (n < 0 && code == EINTR) return;
  if (n < 0 && code == EAGAIN) {
    stream.owed = 0;
  } else if (n <= 0) {
    return end(stream);  // EIO is how a pseudoterminal ends
  }
  if (stream.expired && stream.owed == 0 && !stream.waitsForConsole) end(stream);
}

/// The next read, and the console, wait until the file has what was just read, as long as it's
/// quick: so what's shown is in the file, and hardly more than a read is lost with us if we're
/// killed.
void Pump::Impl::pauseForWrite(Stream& stream) {
  unwatch(stream);
  stream.waitsForWrite = true;
  stream.writeDue = loop_->now() + options_.fileAhead;
  // One that's set already is early, and comes again: most writes need none.
  if (stream.writeTimer != 0) return;
  stream.writeTimer = loop_->setTimer(stream.writeDue, [this, &stream] { checkWrite(stream); });
}

void Pump::Impl::checkWrite(Stream& stream) {
  stream.writeTimer = 0;
  if (!stream.waitsForWrite) return;
  if (loop_->now() >= stream.writeDue) return endWrite(stream);
  stream.writeTimer = loop_->setTimer(stream.writeDue, [this, &stream] { checkWrite(stream); });
}

/// It's written, or lost; or the file is slow, and costs its stream no more than memory until that
/// is full.
void Pump::Impl::endWrite(Stream& stream) {
  stream.waitsForWrite = false;
  showUnshown(stream);
  goOn(stream);
}

/// Lines for which the shared file has no room are lost to it: they are in the stream's own file as
/// well, and nobody waits for another's lines.
void Pump::Impl::giveFiltered(Stream& stream, std::string_view bytes, bool last) {
  if (!stream.filteredLines) return;
  FilteredFile& shared = *stream.filtered;
  do {
    out_.reset();
    if (shared.open != 0 && shared.open != stream.id) out_.append('\n');
    if (shared.open != stream.id) stream.filteredLines->interrupt();
    const size_t before = out_.size();
    bytes.remove_prefix(stream.filteredLines->feed(bytes, out_));
    if (last) stream.filteredLines->finish(out_);
    if (out_.size() == before) continue;
    shared.open = out_.view().back() == '\n' ? 0 : stream.id;
    tellFiltered(stream, shared.file->append(out_.view()) == out_.size());
  } while (!bytes.empty());
}

/// @param whole whether it had room for all
void Pump::Impl::tellFiltered(Stream& stream, bool whole) {
  FilteredFile& shared = *stream.filtered;
  const auto error = shared.file->takeError();
  if ((whole && !error) || std::exchange(shared.failed, true)) return;
  report(stream, shared.path, error ? error->code : ETIMEDOUT, 0);
}

void Pump::Impl::tellFile(Stream& stream) {
  const auto error = stream.file->takeError();
  if (error && !std::exchange(stream.fileTold, true))
    report(stream, stream.sinks.file, error->code, 0);
}

void Pump::Impl::pauseForFile(Stream& stream) {
  unwatch(stream);
  stream.waitsForFile = true;
  stream.file->tellProgress();
  if (stream.fileTold || stream.fileTimer != 0) return;
  stream.fileTimer = loop_->setTimer(loop_->now() + options_.fileGiveUp, [this, &stream] {
    stream.fileTimer = 0;
    if (!stream.waitsForFile) return;
    stream.fileTold = true;
    report(stream, stream.sinks.file, ETIMEDOUT, 0);
  });
}

void Pump::Impl::onFileChange(Stream& stream) {
  tellFile(stream);
  if (stream.waitsForWrite) {
    stream.file->tellProgress();
    if (stream.file->settled()) endWrite(stream);
  }
  if (std::exchange(stream.waitsForFile, false)) {
    loop_->cancelTimer(std::exchange(stream.fileTimer, 0));
    goOn(stream);
  }
  settleSoon();
}

/// It takes nothing, and its worker is gone.
void Pump::Impl::loseFile(Stream& stream) {
  stream.fileLost = true;
  stream.lostLines += stream.file->waitingLines();
  if (stream.behind) lose(stream);
  stream.file.reset();
  loop_->cancelTimer(std::exchange(stream.fileTimer, 0));
  if (stream.waitsForWrite) endWrite(stream);
  if (std::exchange(stream.waitsForFile, false)) goOn(stream);
}

/// It has waited for its file or its console.
void Pump::Impl::goOn(Stream& stream) {
  if (stream.waitsForConsole || stream.waitsForWrite || stream.waitsForFile || stream.ended) return;
  if (stream.atEnd || (stream.expired && stream.owed == 0)) {
    end(stream);
  } else {
    watch(stream);
  }
}

/// Nobody waits any longer for those who still hold the pipe.
void Pump::Impl::expire(Stream& stream) {
  loop_->cancelTimer(std::exchange(stream.drainTimer, 0));
  stream.expired = true;
  if (stream.ended || stream.waitsForConsole || stream.waitsForWrite) return;
  if (stream.owed == 0) end(stream);
}

void Pump::Impl::end(Stream& stream) {
  if (stream.pipe) {
    unwatch(stream);
    stream.pipe.reset();
    giveFiltered(stream, {}, true);
  }
  stream.atEnd = true;
  if (stream.slot && !stream.behind && !endConsole(stream)) {
    if (!mayFallBehind(stream)) return pauseForConsole(stream);
    fallBehind(stream, 0);
  }

  loop_->cancelTimer(std::exchange(stream.drainTimer, 0));
  loop_->cancelTimer(std::exchange(stream.fileTimer, 0));
  loop_->cancelTimer(std::exchange(stream.writeTimer, 0));
  loop_->cancelTimer(std::exchange(stream.partialTimer, 0));
  stream.ended = true;
  if (stream.finish != nullptr) settleSoon();
}

}  // namespace regroup
