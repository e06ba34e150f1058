#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/result.h"

namespace regroup {

/// Names a stream within its pump.
using StreamId = uint64_t;

/// Where the bytes of one worker's stream go.
struct StreamSinks {
  std::string file;  // gets every byte, appended, as it comes; empty: none
  int console = 0;   // 1 our stdout, 2 our stderr, 0 none: whole lines, each behind `prefix`
  std::string prefix;                // see Lines for what a line is, and how long ones go out
  std::vector<std::string> filters;  // lines with one of these also go, behind `prefix`, to:
  std::string filteredFile;          // shared by all streams that name the same path
  size_t tailBytes = 0;              // kept of the end
};

/// Trouble that the worker mustn't notice: a full disk, a console that went away or stood still.
///
/// A file is reported once; it's still written to, since its disk may have room again. A console
/// is reported once when it's gone (EPIPE, EIO…) and nothing more will be shown. For one that stood
/// still (EAGAIN), each stream reports the lines dropped when it takes bytes again, or at the
/// stream's finish, whichever comes first.
struct OutputTrouble {
  StreamId stream;
  std::string path;  // of the sink; "stdout" or "stderr" for the console; "pipe" for the source
  Error error;
  uint64_t droppedLines;
};

/// Worker pipes → files and console, one thread for all.
///
/// A file that blocks, blocks its worker when the pipe is full: that's honest. A console never
/// does for long: while it's slow the pipes that feed it wait; when it has taken nothing for
/// `consoleStall` its lines are dropped whole and counted, the files stay complete, and it gets a
/// line about that when it takes bytes again.
///
/// Owner: Supervisor, which starts it when the first stream is piped.
/// Thread: its own; every public function may be called from any thread.
class Pump {
 public:
  struct Options {
    /// Called on the pump thread.
    std::function<void(OutputTrouble)> onTrouble;
    /// Descriptors of the console, for tests; the pump doesn't own them.
    int stdoutFd = 1;
    int stderrFd = 2;
    std::chrono::milliseconds consoleStall{1000};
    /// How long finish() and the end wait for a console that takes nothing.
    std::chrono::milliseconds consoleGiveUp{5000};
  };

  static Result<std::unique_ptr<Pump>> start(Options options);
  /// Finishes all streams that are left, with no drain, and ends the thread. Not from one of
  /// its callbacks.
  ~Pump();

  /// Opens the sinks' files and takes the read end of a worker's pipe, made non-blocking here.
  /// Its size is for the caller to choose, who knows how many there will be. Reading starts at once.
  ///
  /// Fails with "open" and its errno if a file can't be opened; nothing is left then.
  Result<StreamId> add(Fd readEnd, StreamSinks sinks);

  /// The streams' worker is gone. Reads what the pipes hold by now, waits up to `drain` for the
  /// end of file of those that somebody still holds, writes the last partial lines, gives the
  /// console a bounded time to take them (consoleGiveUp without progress, half a minute in all),
  /// closes the sinks, and then tells, on the pump thread, each stream's tail, in the order of
  /// `streams`. Each stream is finished once; an unknown one has an empty tail.
  void finish(std::vector<StreamId> streams, std::chrono::milliseconds drain,
              std::function<void(std::vector<std::string> tails)> done);

 private:
  class Impl;
  explicit Pump(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace regroup
