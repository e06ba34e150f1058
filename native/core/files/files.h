#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

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
  double writtenAtMs;  // Unix time
};
Result<FileFacts> lookAt(const std::string& path);

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

}  // namespace regroup
