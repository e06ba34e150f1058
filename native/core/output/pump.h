#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/result.h"
#include "core/output/log_file.h"

namespace regroup {

/// Names a stream within its pump.
using StreamId = uint64_t;

/// Where the bytes of one worker's stream go.
struct StreamSinks {
  std::string file;    // gets every byte, appended, as it comes; empty: none
  int console = 0;     // 1 our stdout, 2 our stderr, 0 none: whole lines, each behind `prefix`
  std::string prefix;  // see Lines for what a line is, and how long ones go out
  std::vector<std::string> filters;  // lines with one of these also go, behind `prefix`, to:
  std::string filteredFile;          // shared by all streams that name the same path
  size_t tailBytes = 0;              // kept of the end
};

/// The files of a stream's sinks, opened.
struct SinkFiles {
  OpenedLog file;
  OpenedLog filtered;
};

/// Whether the sinks name a file for lines with a filter.
inline bool hasFilter(const StreamSinks& sinks) {
  return !sinks.filteredFile.empty() && !sinks.filters.empty();
}

/// Trouble that the worker mustn't notice: a full disk, a console that went away or stood still.
///
/// A file is reported once; it's still written to, since its disk may have room again. ETIMEDOUT:
/// it takes nothing, so that its worker waits, or its last lines are lost. A console is reported
/// once when it's gone (EPIPE, EIO…) and nothing more will be shown. EAGAIN: it stood still, and of
/// a stream that no file has these lines are lost to it.
struct OutputTrouble {
  StreamId stream;
  std::string path;  // of the sink; "stdout" or "stderr" for the console; "pipe" for the source
  Error error;
  uint64_t droppedLines;
};

/// How long a flush waits for a console that takes nothing.
struct FlushPatience {
  std::optional<std::chrono::milliseconds> lines;  // of workers; none: as long as it has a reader
  std::chrono::milliseconds words;                 // if there are but our own
};

/// Worker pipes → files and console, one thread for all, which waits for nobody.
///
/// Workers write to pipes, not to their files, and helpers write those: so a worker survives a full
/// disk or a spent quota, and can be killed though its disk is dead. A file that stands still makes
/// its own worker wait when the pipe is full.
///
/// What a console shows of a stream is in the stream's file before, written, unless that takes
/// longer than `fileAhead`; and until then nothing more is read. So whoever kills us loses no line
/// that was shown, and no more of the others than was read at once.
///
/// A console never makes anybody wait whose stream has a file. When it has fallen behind it gets
/// the rest from the files, stream by stream, be it after their workers' end. A stream without a
/// file waits for a slow console; when that has taken nothing for `consoleStall` lines are dropped
/// whole and counted, and it gets a line about that when it takes bytes again.
///
/// Owner: whoever shares it; the last one to let go mustn't be its thread.
/// Thread: its own; every public function may be called from any thread.
class Pump {
 public:
  using OnTrouble = std::function<void(OutputTrouble)>;

  struct Options {
    /// Descriptors of the console; the pump doesn't own them.
    int stdoutFd = 1;
    int stderrFd = 2;
    std::chrono::milliseconds consoleStall{1000};
    /// How long the end waits for a console that takes nothing.
    std::chrono::milliseconds consoleGiveUp{5000};
    /// How long finish() and the end wait for a file that takes nothing.
    std::chrono::milliseconds fileGiveUp{10'000};
    /// How long the console, and the next read, wait until a file has what it was given.
    std::chrono::milliseconds fileAhead{1000};
    /// What a line's beginning waits for the rest of it, before it's shown alone: a prompt, a bar.
    std::chrono::milliseconds partialWait{100};
  };

  static Result<std::shared_ptr<Pump>> start(Options options);
  /// Finishes all streams that are left, with no drain, gives consoles and files a bounded time,
  /// and ends the thread.
  ~Pump();

  /// Opens the files of such sinks. May never return, so it's not for a thread that others wait
  /// for.
  static Result<SinkFiles> openFiles(const StreamSinks& sinks);

  /// Takes the read end of a worker's pipe, made non-blocking here. Its size is for the caller to
  /// choose, who knows how many there will be. Reading starts at once.
  ///
  /// @param onTrouble called on the pump's thread
  Result<StreamId> add(Fd readEnd, StreamSinks sinks, SinkFiles files, OnTrouble onTrouble);

  /// The streams' worker is gone. Reads what the pipes hold by now, waits up to `drain` for the
  /// end of file of those that somebody still holds, gives the files a bounded time to take it all
  /// (fileGiveUp without progress), and then tells, on the pump's thread, each stream's tail, in
  /// the order of `streams`. The console is for flush() to wait for, save where a stream has no
  /// file. Each stream is finished once; an unknown one has an empty tail.
  void finish(std::vector<StreamId> streams, std::chrono::milliseconds drain,
              std::function<void(std::vector<std::string> tails)> done);

  /// Whole lines of our own for a console, 1 or 2, in the order of the calls.
  void say(int console, std::string lines);

  /// Tells, on the pump's thread, when the consoles have taken what they were given by now and what
  /// finished streams still have for them; or have gone, or taken nothing for too long, or
  /// hurry() was called. `unshownLines`: those of workers that they haven't taken, roughly.
  void flush(FlushPatience patience, std::function<void(uint64_t unshownLines)> done);
  /// Ends all flushes.
  void hurry();

 private:
  class Impl;
  explicit Pump(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace regroup
