#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/fd.h"
#include "core/base/helpers.h"
#include "core/base/loop.h"
#include "core/base/result.h"

namespace regroup {

/// What waits for a console that takes nothing. Protects our memory; a bulk reader that pauses
/// for a moment costs no worker its pace.
constexpr size_t kMaxConsoleQueueBytes = 4 * 1024 * 1024;
/// Kept free of workers' lines, for our own words.
constexpr size_t kOwnQueueBytes = 256 * 1024;

/// One inherited stdout or stderr, which belongs to others too: the shell, the host process, its
/// workers. It's written without ever waiting for it and without O_NONBLOCK on the description
/// that's shared with them.
///
/// Lines stay whole: what has begun is written to its end before anything else, a line that's
/// still open when another writer comes is ended first, and lines are dropped whole.
///
/// Takes until its queue is full. Then it's for the writers to wait, as long as somebody takes
/// bytes now and then; when nobody has for `stall`, it drops, counts, and says so in a line of its
/// own once half the queue has gone.
///
/// Owner: Pump.
/// Thread: pump.
class Console final : public Loop::Watcher {
 public:
  enum class State { Taking, Dropping, Dead };
  /// Names the writer of a line; 0 is nobody.
  using Writer = uint64_t;

  struct Options {
    std::chrono::milliseconds stall{1000};
    bool mayReopen = true;  // for tests of the ways without
    /// There's room again, or it drops from now on, or it died. Not called from within write().
    std::function<void()> onChange = [] {};
    /// It takes bytes again: so many lines of this writer were dropped and not yet asked for.
    std::function<void(Writer, uint64_t lines)> onDropped = [](Writer, uint64_t) {};
  };

  /// `fd` stays the caller's. A descriptor that can't be used makes a dead console.
  Console(std::shared_ptr<Loop> loop, std::shared_ptr<Helpers> helpers, int fd, Options options);
  ~Console() override;

  /// Whether both are the same terminal, pipe or file, where only one writer can keep lines whole.
  static bool same(int a, int b);

  State state() const { return state_; }
  size_t room() const {
    return kMaxConsoleQueueBytes - std::min(kMaxConsoleQueueBytes, queuedBytes());
  }
  /// Time to stop reading what would be written here.
  bool crowded() const { return queuedBytes() > kMaxConsoleQueueBytes / 2; }
  size_t queuedBytes() const { return queueEnd_ - queueBegin_; }

  /// Whether the last line is unfinished, and `writer` may go on with it.
  bool continues(Writer writer) const { return open_ == writer; }
  /// Whether the last line is unfinished and not to be gone on with: write `\n` first.
  bool needsEnd(Writer writer) const { return open_ != 0 && open_ != writer; }

  /// Whole lines, or the last one unfinished. Needs room for `bytes`.
  void write(Writer writer, std::string_view bytes);
  /// Whole lines of our own. Where the queue is full they are dropped, counted and told.
  void say(std::string_view lines);
  /// Notes what wasn't written, and where it can be read (or nowhere: ""). It's told when there's
  /// room: by tellDropped(), or at the next chance.
  void drop(Writer writer, uint64_t lines, std::string_view file);
  void tellDropped();
  /// Somebody waits: from now on a stall is noticed.
  void awaitRoom();
  /// The lines dropped of a writer that weren't told yet; they are told now.
  uint64_t takeDropped(Writer writer);

  /// Bytes accepted, and those that have left or were given up, since the start.
  uint64_t accepted() const { return accepted_; }
  uint64_t settled() const { return accepted_ - queuedBytes(); }
  /// When it last took bytes, or began to be waited for.
  TimePoint lastProgress() const { return lastProgress_; }
  /// Lines that wait.
  uint64_t queuedLines() const;

  /// The first failure, once.
  std::optional<Error> takeError();

  void onReady(uint32_t events) override;

 private:
  /// How to write without waiting.
  enum class Way {
    Reopened,  // a description of our own, with O_NONBLOCK
    Send,      // a socket: MSG_DONTWAIT
    Splice,    // a pipe that can't be reopened: through one of ours, SPLICE_F_NONBLOCK
    Apart,     // the rest, by a helper: a file, whose disk may stand still, or a terminal
  };
  struct Errand;
  struct Dropped {
    uint64_t lines;
    uint64_t untold;
    std::string file;
  };
  static constexpr Writer kBroken = ~Writer{0};  // its rest was lost: nobody may go on with it
  static constexpr Writer kOwn = kBroken - 1;

  void open(int fd, bool mayReopen);
  bool reopen(int fd);
  ssize_t writeSome(const char* bytes, size_t size);
  ssize_t spliceSome(const char* bytes, size_t size);
  void sendErrand();
  void onErrandDone(ssize_t written, int code);
  void append(std::string_view bytes);
  void flush();
  void taken(size_t bytes);
  void afterFlush();
  void fail(int code);
  void watch(bool wanted);
  void checkStall();

  const std::shared_ptr<Loop> loop_;
  const std::shared_ptr<Helpers> helpers_;
  const Options options_;
  Fd fd_;
  Way way_ = Way::Reopened;
  State state_ = State::Taking;
  std::optional<Error> error_;
  bool errorTold_ = false;

  std::unique_ptr<char[]> queue_;  // twice the limit, so that it's moved to its front rarely
  size_t queueBegin_ = 0;
  size_t queueEnd_ = 0;
  uint64_t accepted_ = 0;
  Writer open_ = 0;
  char lastByte_ = '\n';  // of those that have left
  bool watched_ = false;

  // Way::Apart
  std::shared_ptr<Errand> errand_;
  size_t sent_ = 0;  // the first bytes of the queue, which the errand is about

  // Way::Splice
  Fd stageRead_;
  Fd stageWrite_;
  size_t staged_ = 0;  // the first bytes of what's to be written next, in the stage already

  TimePoint lastProgress_{};
  Loop::TimerId stallTimer_ = 0;
  std::map<Writer, Dropped> dropped_;
};

}  // namespace regroup
