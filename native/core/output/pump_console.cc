#include <errno.h>

#include <algorithm>

#include "core/output/pump_impl.h"

namespace regroup {

/// Whether the console can have the rest from the stream's file. One that has failed may lack it.
bool Pump::Impl::mayFallBehind(const Stream& stream) {
  return stream.file && stream.file->rereadable();
}

bool Pump::Impl::drops(const Stream& stream) {
  const Console::State state = stream.slot->console->state();
  if (stream.hurried || state == Console::State::Dead) return true;
  return state == Console::State::Dropping && !mayFallBehind(stream);
}

/// What was just read from the pipe, and isn't in the file yet: kept until it is. Where there's no
/// room for it now, the console will get it from there.
void Pump::Impl::holdBack(Stream& stream, std::string_view bytes) {
  if (!stream.slot) return;
  if (!stream.behind && !drops(stream) && stream.slot->console->crowded() && mayFallBehind(stream))
    fallBehind(stream, 0);
  if (stream.behind) {
    stream.owedLines += countLines(bytes);
  } else {
    stream.unshown.assign(bytes);
  }
}

void Pump::Impl::showUnshown(Stream& stream) {
  const std::string bytes = std::exchange(stream.unshown, {});
  if (!bytes.empty()) giveConsole(stream, bytes);
}

/// What its file has, or it has none, or a slow one.
void Pump::Impl::giveConsole(Stream& stream, std::string_view bytes) {
  if (!stream.slot) return;
  if (stream.behind) {
    stream.owedLines += countLines(bytes);
    return;
  }
  while (!bytes.empty() && !drops(stream)) {
    const size_t taken = showSome(stream, bytes);
    bytes.remove_prefix(taken);
    if (taken > 0) continue;
    stream.held.assign(bytes);
    if (mayFallBehind(stream)) return fallBehind(stream, countLines(bytes));
    return pauseForConsole(stream);
  }
  dropLines(stream, bytes, false);
  watchPartial(stream);
}

/// @returns how many bytes it took: none if there's no room
size_t Pump::Impl::showSome(Stream& stream, std::string_view bytes) {
  beginChunk(stream);
  const size_t begun = out_.size();
  const size_t taken = stream.consoleLines->feed(bytes, out_);
  if (out_.size() > begun) write(stream);
  return taken;
}

/// Makes `out_` ready for lines of this stream. What ends another's line belongs to the chunk, so
/// that it costs no write of its own.
void Pump::Impl::beginChunk(Stream& stream) {
  Console& console = *stream.slot->console;
  out_.reset(console.room());
  if (console.needsEnd(stream.id) && out_.room() > 0) out_.append('\n');
  if (!console.continues(stream.id)) stream.consoleLines->interrupt();
}

void Pump::Impl::write(Stream& stream) {
  Slot& slot = *stream.slot;
  slot.lastWriter = stream.id;
  slot.console->write(stream.id, out_.view());
  slot.linesMark = slot.console->accepted();
  reportConsole(slot);
}

/// What a console that stands still would have got: counted, so that people can be told. A dead
/// one has been reported, and counts no lines.
void Pump::Impl::dropLines(Stream& stream, std::string_view bytes, bool last) {
  if (bytes.empty() && !last) return;
  Console& console = *stream.slot->console;
  if (console.state() == Console::State::Dead) {
    stream.slot->lastWriter = stream.id;
    return reportConsole(*stream.slot);
  }
  while (!bytes.empty() || last) {
    out_.reset();
    bytes.remove_prefix(stream.consoleLines->feed(bytes, out_));
    if (bytes.empty() && last) {
      stream.consoleLines->finish(out_);
      last = false;
    }
    if (out_.size() > 0) console.drop(stream.id, countLines(out_.view()), stream.sinks.file);
  }
}

void Pump::Impl::pauseForConsole(Stream& stream) {
  unwatch(stream);
  stream.waitsForConsole = true;
  stream.slot->waiting.push_back(&stream);
  stream.slot->console->awaitRoom();
}

void Pump::Impl::resume(Slot& slot) {
  auto waiting = std::exchange(slot.waiting, {});
  for (Stream* const stream : waiting) {
    stream->waitsForConsole = false;
    const std::string held = std::exchange(stream->held, {});
    giveConsole(*stream, held);
    goOn(*stream);
  }
}

/// A prompt, or a bar that grows: it's shown alone when the rest doesn't come soon.
void Pump::Impl::watchPartial(Stream& stream) {
  if (!stream.consoleLines->holds() || drops(stream)) return;
  stream.lastGiven = loop_->now();
  if (stream.partialTimer != 0) return;
  stream.partialTimer = loop_->setTimer(stream.lastGiven + options_.partialWait,
                                        [this, &stream] { showPartial(stream); });
}

void Pump::Impl::showPartial(Stream& stream) {
  stream.partialTimer = 0;
  // Whatever gives more watches again.
  if (stream.behind || stream.waitsForConsole || stream.ended) return;
  if (!stream.consoleLines->holds() || drops(stream)) return;
  const TimePoint due = stream.lastGiven + options_.partialWait;
  const bool crowded = stream.slot->console->crowded();
  if (crowded || loop_->now() < due) {
    stream.partialTimer = loop_->setTimer(crowded ? loop_->now() + options_.partialWait : due,
                                          [this, &stream] { showPartial(stream); });
    return;
  }
  beginChunk(stream);
  stream.consoleLines->showHeld(out_);
  write(stream);
}

/// Writes the last partial line; false if there's no room for it.
bool Pump::Impl::endConsole(Stream& stream) {
  if (drops(stream)) {
    dropLines(stream, {}, true);
    return true;
  }
  if (stream.slot->console->room() < kMaxPieceBytes + 1) return false;

  beginChunk(stream);
  const size_t begun = out_.size();
  stream.consoleLines->finish(out_);
  if (out_.size() > begun) write(stream);
  return true;
}

}  // namespace regroup
