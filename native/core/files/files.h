#pragma once

#include <sys/types.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/fd.h"
#include "core/base/result.h"

/// Whole errands at files, for a thread of Helpers: any call of them may last for ever, where the
/// disk has died.
namespace regroup {

struct FolderPlan {
  std::string path;
  mode_t mode = 0777;
  bool mayBeThere = false;
};

/// What stood in the way of a list, and of which item.
struct ListFailure {
  size_t index;
  Error error;
};

/// Makes folders in their order, up to the first that can't be made.
std::optional<ListFailure> makeFolders(std::span<const FolderPlan> folders);

/// Removes a file, or a folder with all that's in it, and follows no link. What isn't there is
/// removed. Goes on where something stays, and tells the first of it.
Result<void> removeTree(const std::string& path);

/// What a file is, as far as anybody asks. Links are followed.
struct FileFacts {
  mode_t mode;
  uint64_t bytes;
  double writtenAtMs;   // Unix time
  int64_t writtenAtNs;  // the same
  uid_t owner;
};
Result<FileFacts> lookAt(const std::string& path);

/// What tells each file from another that takes its place, as python/regroup/standby writes it:
/// `NANOSECONDS:BYTES`. Empty for what can't be looked at.
std::vector<std::string> markFiles(std::span<const std::string> paths);

struct FilePiece {
  FileFacts facts;
  std::string bytes;
};
/// Reads a regular file from an offset on, up to its end or so many bytes; of others nothing is
/// read, nor waited for a FIFO's writer. Below 0 the offset counts from the end, up to the
/// beginning. Files of /proc have no size, but bytes.
Result<FilePiece> readPiece(const std::string& path, int64_t offset, size_t limit);

/// The file has these bytes then, and no others.
Result<void> writeFile(const std::string& path, const std::string& bytes);

/// Makes a FIFO for us alone, in the place of any file that's there, but not of a folder.
Result<void> makeFifo(const std::string& path);

/// As readPiece of a file that nobody else can have written: it and its folder are ours, and nobody
/// else may write there. Else EPERM of "trust".
Result<FilePiece> readTrusted(const std::string& folder, const std::string& name, size_t limit);

/// Where a file of ours goes, and what its folder may hold of its kind.
struct TrustedPlace {
  std::string base;
  std::string folder;
  std::string name;
  std::string kind;  // how the names of such files begin; the limits count no others
  size_t maxFiles = 0;
  uint64_t maxBytes = 0;
};

/// Puts a file there whole or not at all, by another that takes its name, and removes what others
/// have left behind that were killed meanwhile. Makes the folder and those above it up to `base`,
/// which must be there, for us alone. Then the oldest of its kind go until the others are within
/// the limits; the one that was written stays. EPERM of "trust" as above.
Result<void> writeTrusted(const TrustedPlace& place, const std::string& bytes);

/// A file that lines are appended to, opened with the first of them, and made if it's missing. A
/// pipe is never waited for, be it for a reader (ENXIO) or until somebody has read (EAGAIN).
///
/// Thread: any, one call at a time; a call that never returns keeps the others waiting.
class AppendedFile {
 public:
  explicit AppendedFile(std::string path) : path_(std::move(path)) {}

  struct Outcome {
    /// Of the bytes that were given.
    size_t written = 0;
    std::optional<Error> error;
  };
  /// Whole lines, or behind EAGAIN the rest of them. Where else only a part of a line was written,
  /// the next to come begins a line of its own. A pipe's reader that has gone may come back, and so
  /// may a disk: it's opened once more.
  Outcome append(std::string_view lines);

 private:
  const std::string path_;
  std::mutex mutex_;
  std::optional<Fd> file_;  // guarded by mutex_
  bool torn_ = false;       // guarded by mutex_
};

}  // namespace regroup
