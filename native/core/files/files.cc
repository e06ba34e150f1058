#include "core/files/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/fd.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

/// Bytes of one read.
constexpr size_t kBlockBytes = 64 * 1024;

/// Of a file that's open, or of a path. By statx(2): stat(2)'s symbol is younger than glibc 2.28.
Result<FileFacts> factsOf(int fd, const char* path, int flags) {
  constexpr unsigned kWanted = STATX_TYPE | STATX_MODE | STATX_SIZE | STATX_MTIME;
  struct statx found;
  if (::statx(fd, path, flags, kWanted, &found) != 0) {
    if (errno != EPERM) return Error{"statx", errno};
    // Fallback: seccomp filters of old containers refuse statx.
    struct stat old;
    if (::syscall(SYS_newfstatat, fd, path, &old, flags) != 0) return Error{"stat", errno};
    const double ms = static_cast<double>(old.st_mtim.tv_sec) * 1e3 + old.st_mtim.tv_nsec / 1e6;
    return FileFacts{old.st_mode, static_cast<uint64_t>(old.st_size), ms};
  }
  const double ms =
      static_cast<double>(found.stx_mtime.tv_sec) * 1e3 + found.stx_mtime.tv_nsec / 1e6;
  return FileFacts{found.stx_mode, found.stx_size, ms};
}

}  // namespace

std::optional<ListFailure> makeFolders(std::span<const FolderPlan> folders) {
  for (size_t i = 0; i < folders.size(); i++) {
    const auto& [path, mode, mayBeThere] = folders[i];
    if (::mkdir(path.c_str(), mode) == 0 || (errno == EEXIST && mayBeThere)) continue;
    return ListFailure{i, {"mkdir", errno}};
  }
  return std::nullopt;
}

Result<FileFacts> lookAt(const std::string& path) {
  return factsOf(AT_FDCWD, path.c_str(), 0);
}

Result<FilePiece> readPiece(const std::string& path, int64_t offset, size_t limit) {
  auto file = openFile(path.c_str(), O_RDONLY | O_NONBLOCK);
  if (!file) return file.error();
  auto facts = factsOf(file->get(), "", AT_EMPTY_PATH);
  if (!facts) return facts.error();
  FilePiece piece{*facts, {}};
  if (!S_ISREG(facts->mode)) return piece;

  const auto size = static_cast<int64_t>(facts->bytes);
  off_t at = offset < 0 ? std::max<int64_t>(0, size + offset) : offset;
  std::string& bytes = piece.bytes;
  while (bytes.size() < limit) {
    const size_t had = bytes.size();
    bytes.resize(std::min(limit, had + kBlockBytes));
    const ssize_t n = ::pread(file->get(), bytes.data() + had, bytes.size() - had, at);
    if (n < 0 && errno != EINTR) return Error{"read", errno};
    bytes.resize(had + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n == 0) break;
    at += std::max<ssize_t>(n, 0);
  }
  return piece;
}

Result<void> writeFile(const std::string& path, const std::string& bytes) {
  auto file = openFile(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (!file) return file.error();
  for (size_t written = 0; written < bytes.size();) {
    const ssize_t n = ::write(file->get(), bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno != EINTR) return Error{"write", errno};
    written += static_cast<size_t>(std::max<ssize_t>(n, 0));
  }
  return {};
}

}  // namespace regroup
