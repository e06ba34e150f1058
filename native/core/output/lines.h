#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace regroup {

/// Bytes of a line held back until it ends. Protects us from a worker that never ends one:
/// a longer line goes out in pieces, which together are the line, behind one prefix.
constexpr size_t kMaxLineBytes = 64 * 1024;

/// A longer prefix is cut. Protects the queues, which take whole lines.
constexpr size_t kMaxPrefixBytes = 4096;

/// The most that Lines gives out at once: a piece, its prefix and the end of its line.
constexpr size_t kMaxPieceBytes = kMaxPrefixBytes + kMaxLineBytes + 1;

/// Ends of lines among the bytes.
uint64_t countLines(std::string_view bytes);

/// Where lines are put together before they are written: allocated once, never grown.
class LineBuffer {
 public:
  explicit LineBuffer(size_t capacity) : data_(new char[capacity]), capacity_(capacity) {}

  /// Empties it; from now on it takes `limit` bytes, at most its capacity.
  void reset(size_t limit) {
    size_ = 0;
    limit_ = limit < capacity_ ? limit : capacity_;
  }
  void reset() { reset(capacity_); }

  size_t size() const { return size_; }
  size_t room() const { return limit_ - size_; }
  std::string_view view() const { return {data_.get(), size_}; }

  void append(std::string_view bytes) {
    assert(bytes.size() <= room());
    std::memcpy(data_.get() + size_, bytes.data(), bytes.size());
    size_ += bytes.size();
  }
  void append(char byte) {
    assert(room() > 0);
    data_[size_++] = byte;
  }

 private:
  const std::unique_ptr<char[]> data_;  // uninitialised on purpose
  const size_t capacity_;
  size_t limit_ = capacity_;
  size_t size_ = 0;
};

/// The bytes of one stream → whole lines, each behind a prefix; pure. However the bytes are cut
/// into calls, the lines are the same.
///
/// A line ends at `\n`, at `\r\n`, and at `\r`, so that progress bars show; each becomes one
/// `\n`, as in torchrun, whose reader translates line ends: a bare `\r` would let the next
/// worker's line overwrite this one. A `\r` with nothing before it shows nothing, for a bar that
/// starts with one; other bytes, NULs and invalid UTF-8 included, pass as they are.
///
/// With filters, only lines that contain one of them are given out. A line is judged by its first
/// kMaxLineBytes.
/// @source pytorch v2.9.0, torch/distributed/elastic/multiprocessing/tail_log.py, tail_logfile
class Lines {
 public:
  explicit Lines(std::string_view prefix, std::vector<std::string> filters = {})
      : prefix_(prefix.substr(0, kMaxPrefixBytes)), filters_(std::move(filters)) {}

  /// Appends what `bytes` completes to `out` and returns how many it took: all, or fewer when
  /// `out` has no room for another piece.
  size_t feed(std::string_view bytes, LineBuffer& out);

  /// Whether a part of a line waits for its end.
  bool holds() const { return !held_.empty(); }
  /// Gives it out as it is: the line goes on when there's more. `out` needs room for a piece.
  void showHeld(LineBuffer& out);

  /// The stream ended: gives out the unfinished line, and ends it, so that the next line, anyone's,
  /// starts on its own. (torchrun writes the fragment as it is.) `out` needs room for a piece.
  void finish(LineBuffer& out);

  /// Where our line goes on, somebody has ended it: put the prefix before its next piece. Means
  /// nothing unless pieces of an unfinished line were given out.
  void interrupt() { interrupted_ = open_; }

 private:
  void endLine(std::string_view rest, char end, LineBuffer& out);
  void givePiece(std::string_view rest, LineBuffer& out);
  bool passes(std::string_view rest) const;

  const std::string prefix_;
  const std::vector<std::string> filters_;
  std::string held_;          // of the unfinished line; fewer than kMaxLineBytes
  bool open_ = false;         // pieces of the unfinished line went before held_
  bool interrupted_ = false;  // …and were ended by others
  bool wanted_ = false;       // …and passed the filters
  bool shown_ = false;        // a `\r` ended the line, so a `\n` right behind it adds nothing
};

/// The last bytes of a stream, for failure reports.
class Tail {
 public:
  explicit Tail(size_t maxBytes) : maxBytes_(maxBytes) {}

  void feed(std::string_view bytes);
  std::string take();

 private:
  size_t maxBytes_;
  std::string bytes_;  // up to twice as many, so that making room costs little per byte
};

}  // namespace regroup
