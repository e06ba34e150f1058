#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/fd.h"
#include "core/base/helpers.h"
#include "core/base/loop.h"
#include "core/base/result.h"

namespace regroup {

/// What one read of a pipe gives at most, and one write of a file takes.
constexpr size_t kBlockBytes = 256 * 1024;
/// What waits for one file that takes nothing. Protects our memory.
constexpr size_t kMaxFileBlocks = 16;
/// What waits for all files together, but for one block of each.
constexpr size_t kMaxBlocks = 256;

/// A file for output. A regular one can be read again.
struct OpenedLog {
  Fd fd;
  bool regular = false;
};

/// Opens a file for appending, and makes it if it's missing. May never return (a dead disk, a FIFO
/// without a reader), so it's not for a thread that others wait for.
Result<OpenedLog> openLog(const std::string& path);

/// Memory for what waits for files; some of it is kept for the next to come.
///
/// Thread: any.
class Blocks {
 public:
  using Block = std::unique_ptr<char[]>;

  /// kBlockBytes. `entitled`: in any case; else null where too many are out.
  Block take(bool entitled);
  void give(Block block);

 private:
  std::mutex mutex_;
  std::vector<Block> spare_;  // guarded by mutex_
  size_t out_ = 0;            // guarded by mutex_
};

/// One file of output, written by helpers: the loop that fills it never waits for a disk.
///
/// What it's given goes into blocks, which a helper writes in their order. When they are full it
/// takes no more, and its worker has to wait; nobody else does. A write that fails loses its bytes,
/// and the next is tried all the same: a full disk may have room later.
///
/// From a marked place on, the file can be read again: what a console couldn't take.
///
/// Owner: Pump. A helper that's stuck in a call keeps the descriptors and the block it's at.
/// Thread: the loop's.
class LogFile {
 public:
  /// `onChange`: there's been progress that tellProgress() asked for, or the first failure.
  LogFile(std::shared_ptr<Loop> loop, std::shared_ptr<Helpers> helpers,
          std::shared_ptr<Blocks> blocks, OpenedLog file, std::function<void()> onChange);
  /// What isn't written by now never will be, but for what a helper is just writing.
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  /// Where the next bytes go; empty: it's full. Valid until commit().
  std::span<char> reserve();
  /// So many bytes are there now, perhaps none. Once after each reserve() that wasn't empty.
  void commit(size_t bytes);
  /// Both, for bytes that lie elsewhere. @returns how many it took
  size_t append(std::string_view bytes);

  /// Bytes taken since the start.
  uint64_t accepted() const { return accepted_; }
  /// Whether all of them are written, or lost.
  bool settled() const;
  /// When a write last returned, or the first byte came to wait.
  TimePoint lastProgress() const;
  /// Lines that wait to be written.
  uint64_t waitingLines() const;
  void tellProgress();
  /// The first failure, once.
  std::optional<Error> takeError();

  /// Whether what's accepted from now on can be read again.
  bool rereadable() const;
  /// Reading begins behind the first `at` bytes accepted. They, and more, may be yet to be written.
  void mark(uint64_t at);
  /// Whether all that was accepted behind the mark has been read, save what was lost. Not while
  /// reread() is yet to answer.
  bool caughtUp() const;
  void unmark();
  /// Reads on. Gives some bytes, `atMost`, or none if it has caught up by then. One call at a time.
  void reread(size_t atMost, std::function<void(std::string_view bytes)> onBytes);

 private:
  struct Shared;
  void wake();

  const std::shared_ptr<Helpers> helpers_;
  const std::shared_ptr<Shared> shared_;
  const bool regular_;
  uint64_t accepted_ = 0;
  bool errorTold_ = false;
};

}  // namespace regroup
