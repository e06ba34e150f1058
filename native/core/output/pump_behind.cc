#include <errno.h>

#include <algorithm>
#include <chrono>

#include "core/output/pump_impl.h"

/// Consoles that have fallen behind: they get the rest from the streams' files.
///
/// While a stream is behind, what comes through its pipe goes to the file alone, at the worker's
/// pace. Its Lines stand where the console stands, and go on with what is read back from there.
/// When that is all there is, the stream is as before.

namespace regroup {

namespace {

using std::chrono::milliseconds;

/// A console that was slow gets as much at a time as it has taken within this time, for what we say
/// ourselves isn't to wait behind minutes; but within these bounds.
constexpr milliseconds kAhead{100};
constexpr size_t kLeastAheadBytes = 64 * 1024;
constexpr size_t kMostAheadBytes = 1024 * 1024;
/// A file that isn't read within this time makes others wait no longer.
constexpr milliseconds kRereadPatience{100};

}  // namespace

/// From what the file accepts next on; what's held comes before that.
///
/// @param lines how many are held
void Pump::Impl::fallBehind(Stream& stream, uint64_t lines) {
  stream.behind = true;
  stream.owedLines = lines;
  stream.file->mark(stream.file->accepted());
  Slot& slot = *stream.slot;
  slot.behind.push_back(&stream);
  // If it waits, its console tells when there's room; if it doesn't, nobody would.
  loop_->post([this, &slot] { catchUp(slot); });
}

void Pump::Impl::catchUp(Slot& slot) {
  Console& console = *slot.console;
  while (console.state() == Console::State::Dead && !slot.behind.empty())
    lose(*slot.behind.front());

  measure(slot);
  while (console.state() == Console::State::Taking && console.queuedBytes() < slot.aheadBytes) {
    Stream* const next = nextBehind(slot, loop_->now());
    if (next == nullptr) break;
    if (!next->held.empty()) {
      if (!showHeldBack(*next)) break;
    } else if (next->file->caughtUp()) {
      if (!arrive(*next)) break;
    } else {
      readOn(*next);
    }
  }
  settleSoon();
}

/// How much its console takes.
void Pump::Impl::measure(Slot& slot) {
  const TimePoint now = loop_->now();
  const auto elapsed = now - slot.measuredAt;
  if (elapsed < kAhead / 4) return;
  const uint64_t settled = slot.console->settled();
  const double share = std::chrono::duration<double>(kAhead) / elapsed;
  const double taken = static_cast<double>(settled - slot.measured) * share;
  slot.aheadBytes = std::clamp(static_cast<size_t>(taken), kLeastAheadBytes, kMostAheadBytes);
  slot.measured = settled;
  slot.measuredAt = now;
}

/// The one whose turn it is; none while another is being read, unless that takes too long.
auto Pump::Impl::nextBehind(const Slot& slot, TimePoint now) -> Stream* {
  const auto order = [](const Stream& of) { return of.trailer == 0 ? UINT64_MAX : of.trailer; };
  Stream* next = nullptr;
  for (Stream* const stream : slot.behind) {
    if (stream->rereading && stream->rereadSince + kRereadPatience > now) return nullptr;
    if (stream->rereading) continue;
    if (next == nullptr || order(*stream) < order(*next)) next = stream;
  }
  return next;
}

void Pump::Impl::readOn(Stream& stream) {
  stream.rereading = true;
  stream.rereadSince = loop_->now();
  const size_t atMost = std::min(stream.slot->aheadBytes, kBlockBytes);
  stream.file->reread(atMost, [this, &stream](std::string_view bytes) { onReread(stream, bytes); });
  watchRereads(*stream.slot);
}

/// Wakes up while somebody's file is being read: it may never be.
void Pump::Impl::watchRereads(Slot& slot) {
  if (slot.rereadTimer != 0) return;
  slot.rereadTimer = loop_->setTimer(loop_->now() + kRereadPatience, [this, &slot] {
    slot.rereadTimer = 0;
    const TimePoint lostSince = loop_->now() - options_.fileGiveUp;
    for (Stream* const stream : std::vector<Stream*>(slot.behind)) {
      if (stream->rereading && stream->rereadSince <= lostSince) lose(*stream);
    }
    catchUp(slot);
    const bool rereads = std::any_of(slot.behind.begin(), slot.behind.end(),
                                     [](const Stream* stream) { return stream->rereading; });
    if (rereads) watchRereads(slot);
  });
}

void Pump::Impl::onReread(Stream& stream, std::string_view bytes) {
  Slot& slot = *stream.slot;
  stream.rereading = false;
  stream.held.assign(bytes);
  // Among those whose workers live, each has its turn.
  slot.behind.erase(std::find(slot.behind.begin(), slot.behind.end(), &stream));
  slot.behind.push_back(&stream);
  (void)showHeldBack(stream);  // what it doesn't take waits for room
  catchUp(slot);
}

/// @returns false if there's no room for all of it
bool Pump::Impl::showHeldBack(Stream& stream) {
  std::string_view rest = stream.held;
  while (!rest.empty() && !drops(stream)) {
    const size_t taken = showSome(stream, rest);
    if (taken == 0) break;
    stream.owedLines -= std::min(stream.owedLines, countLines(rest.substr(0, taken)));
    rest.remove_prefix(taken);
  }
  stream.held.erase(0, stream.held.size() - rest.size());
  return stream.held.empty();
}

/// The console has all that's in the file.
///
/// @returns false if there's no room for the last partial line; otherwise it may be gone
bool Pump::Impl::arrive(Stream& stream) {
  if (stream.ended && !endConsole(stream)) return false;
  leaveBehind(stream);
  return true;
}

/// What it's still owed never came to the file, or can't be read any more.
void Pump::Impl::lose(Stream& stream) {
  stream.held.clear();
  // The next line is to begin as one.
  stream.consoleLines.emplace(stream.sinks.prefix);
  leaveBehind(stream);
}

/// A stream whose worker is gone is gone then, too.
void Pump::Impl::leaveBehind(Stream& stream) {
  Slot& slot = *stream.slot;
  Console& console = *slot.console;
  slot.behind.erase(std::find(slot.behind.begin(), slot.behind.end(), &stream));
  stream.behind = stream.rereading = false;
  if (stream.file) stream.file->unmark();
  if (console.state() != Console::State::Dead) {
    console.drop(stream.id, std::exchange(stream.owedLines, 0), stream.sinks.file);
    console.tellDropped();
  }
  if (stream.trailer != 0) {
    trailers_.erase(stream.trailer);
    streams_.erase(stream.id);
  } else if (!stream.ended) {
    watchPartial(stream);
  }
}

}  // namespace regroup
