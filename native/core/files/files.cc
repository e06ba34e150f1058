#include "core/files/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/dir_entry.h"
#include "core/base/fd.h"
#include "core/base/siphash.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

/// Bytes of one read.
constexpr size_t kBlockBytes = 64 * 1024;

/// Of a file that's open, or of a path. By statx(2): stat(2)'s symbol is younger than glibc 2.28.
Result<FileFacts> factsOf(int fd, const char* path, int flags) {
  constexpr unsigned kWanted = STATX_TYPE | STATX_MODE | STATX_SIZE | STATX_MTIME | STATX_UID;
  const auto facts = [](mode_t mode, uint64_t bytes, int64_t seconds, int64_t ns, uid_t owner) {
    const double ms = static_cast<double>(seconds) * 1e3 + static_cast<double>(ns) / 1e6;
    return FileFacts{mode, bytes, ms, seconds * 1'000'000'000 + ns, owner};
  };
  struct statx found;
  if (::statx(fd, path, flags, kWanted, &found) != 0) {
    if (errno != EPERM) return Error{"statx", errno};
    // Fallback: seccomp filters of old containers refuse statx.
    struct stat old;
    if (::syscall(SYS_newfstatat, fd, path, &old, flags) != 0) return Error{"stat", errno};
    return facts(old.st_mode, static_cast<uint64_t>(old.st_size), old.st_mtim.tv_sec,
                 old.st_mtim.tv_nsec, old.st_uid);
  }
  return facts(found.stx_mode, found.stx_size, found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec,
               found.stx_uid);
}

Result<std::string> readUpTo(const Fd& file, off_t at, size_t limit) {
  std::string bytes;
  while (bytes.size() < limit) {
    const size_t had = bytes.size();
    bytes.resize(std::min(limit, had + kBlockBytes));
    const ssize_t n = ::pread(file.get(), bytes.data() + had, bytes.size() - had, at);
    if (n < 0 && errno != EINTR) return Error{"read", errno};
    bytes.resize(had + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n == 0) break;
    at += std::max<ssize_t>(n, 0);
  }
  return bytes;
}

Result<void> writeAll(const Fd& file, const std::string& bytes) {
  for (size_t written = 0; written < bytes.size();) {
    const ssize_t n = ::write(file.get(), bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno != EINTR) return Error{"write", errno};
    written += static_cast<size_t>(std::max<ssize_t>(n, 0));
  }
  return {};
}

/// Whoever may write into a folder may put any file there.
Result<FileFacts> trustedFacts(const Fd& file) {
  auto facts = factsOf(file.get(), "", AT_EMPTY_PATH);
  if (!facts) return facts.error();
  if (facts->owner != ::geteuid() || (facts->mode & (S_IWGRP | S_IWOTH)) != 0)
    return Error{"trust", EPERM};
  return facts;
}

Result<Fd> openTrusted(const std::string& folder) {
  auto opened = openFile(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (!opened) return opened.error();
  auto facts = trustedFacts(*opened);
  if (!facts) return facts.error();
  return opened;
}

Result<Fd> openIn(const Fd& folder, const std::string& name, int flags, mode_t mode = 0) {
  const int fd = ::openat(folder.get(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, mode);
  if (fd < 0) return Error{"open", errno};
  return Fd(fd);
}

/// A folder and those above it that aren't there, but none that `base` is below, nor that one: it
/// may be a disk's that isn't mounted.
Result<void> makePath(const std::string& base, const std::string& folder) {
  if (::access(base.c_str(), F_OK) != 0) return Error{"access", errno};
  if (folder.size() <= base.size()) return {};
  for (size_t end = folder.find('/', base.size() + 1);; end = folder.find('/', end + 1)) {
    const std::string path = folder.substr(0, end);
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
      // Above it may be what can't be written, and is there.
      const int error = errno;
      if (::access(path.c_str(), F_OK) != 0) return Error{"mkdir", error};
    }
    if (end == std::string::npos) return {};
  }
}

std::vector<std::string> namesIn(const Fd& folder) {
  std::vector<std::string> names;
  ::lseek(folder.get(), 0, SEEK_SET);  // it may have been read before
  alignas(DirEntry) char buffer[4096];
  for (;;) {
    const long size = ::syscall(SYS_getdents64, folder.get(), buffer, sizeof buffer);
    if (size <= 0) return names;
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const DirEntry*>(buffer + at);
      names.emplace_back(entry->name);
      at += entry->bytes;
    }
  }
}

/// Longer than anybody writes to one.
constexpr int64_t kStaleNs = 3600LL * 1'000'000'000;

/// The oldest of a kind go until the others fit. Two writers at once may both remove: nobody minds.
void makeRoom(const Fd& folder, const TrustedPlace& place) {
  struct Kept {
    std::string name;
    FileFacts facts;
  };
  std::vector<Kept> all;
  for (std::string& each : namesIn(folder)) {
    if (!each.starts_with(place.kind) || each == place.name) continue;
    auto facts = factsOf(folder.get(), each.c_str(), AT_SYMLINK_NOFOLLOW);
    if (facts && S_ISREG(facts->mode)) all.push_back({std::move(each), *facts});
  }
  std::ranges::sort(all, [](const Kept& one, const Kept& other) {
    return one.facts.writtenAtNs > other.facts.writtenAtNs;
  });

  size_t files = 1;
  auto own = factsOf(folder.get(), place.name.c_str(), AT_SYMLINK_NOFOLLOW);
  uint64_t bytes = own ? own->bytes : 0;
  for (const Kept& each : all) {
    files++;
    bytes += each.facts.bytes;
    if (files > place.maxFiles || bytes > place.maxBytes)
      ::unlinkat(folder.get(), each.name.c_str(), 0);
  }
}

/// What writers have left behind that were killed, on any machine that has this disk. By its own
/// clock: by that of the file that has just been written.
void removeStale(const Fd& folder, const std::string& name, const Fd& fresh) {
  auto now = factsOf(fresh.get(), "", AT_EMPTY_PATH);
  if (!now) return;
  for (const std::string& each : namesIn(folder)) {
    if (!each.starts_with(name + ".")) continue;
    auto facts = factsOf(folder.get(), each.c_str(), AT_SYMLINK_NOFOLLOW);
    if (facts && S_ISREG(facts->mode) && facts->writtenAtNs < now->writtenAtNs - kStaleNs)
      ::unlinkat(folder.get(), each.c_str(), 0);
  }
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
  const off_t at = offset < 0 ? std::max<int64_t>(0, size + offset) : offset;
  auto bytes = readUpTo(*file, at, limit);
  if (!bytes) return bytes.error();
  piece.bytes = *std::move(bytes);
  return piece;
}

Result<void> writeFile(const std::string& path, const std::string& bytes) {
  auto file = openFile(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (!file) return file.error();
  return writeAll(*file, bytes);
}

std::vector<std::string> markFiles(std::span<const std::string> paths) {
  std::vector<std::string> marks;
  marks.reserve(paths.size());
  for (const std::string& path : paths) {
    auto facts = lookAt(path);
    marks.push_back(facts ? std::to_string(facts->writtenAtNs) + ":" + std::to_string(facts->bytes)
                          : std::string());
  }
  return marks;
}

Result<void> makeFifo(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error{"unlink", errno};
  if (::mkfifo(path.c_str(), 0600) != 0) return Error{"mkfifo", errno};
  return {};
}

Result<FilePiece> readTrusted(const std::string& folder, const std::string& name, size_t limit) {
  auto opened = openTrusted(folder);
  if (!opened) return opened.error();
  auto file = openIn(*opened, name, O_RDONLY | O_NONBLOCK);
  if (!file) return file.error();
  auto facts = trustedFacts(*file);
  if (!facts) return facts.error();
  if (!S_ISREG(facts->mode)) return FilePiece{*facts, {}};
  auto bytes = readUpTo(*file, 0, limit);
  if (!bytes) return bytes.error();
  return FilePiece{*facts, *std::move(bytes)};
}

Result<void> writeTrusted(const TrustedPlace& place, const std::string& bytes) {
  const std::string& name = place.name;
  auto made = makePath(place.base, place.folder);
  if (!made) return made.error();
  auto opened = openTrusted(place.folder);
  if (!opened) return opened.error();
  // A process's number may be that of another machine's, which has this disk, too.
  const std::string fresh = name + "." + std::to_string(HashKey::random().low);
  auto file = openIn(*opened, fresh, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!file) return file.error();
  auto done = writeAll(*file, bytes);
  // Some disks tell only then that they're full.
  if (done && ::fsync(file->get()) != 0) done = Error{"fsync", errno};
  if (done && ::renameat(opened->get(), fresh.c_str(), opened->get(), name.c_str()) != 0)
    done = Error{"rename", errno};
  if (!done) ::unlinkat(opened->get(), fresh.c_str(), 0);
  removeStale(*opened, name, *file);
  if (done) makeRoom(*opened, place);
  return done;
}

AppendedFile::Outcome AppendedFile::append(std::string_view lines) {
  const std::lock_guard lock(mutex_);
  if (!file_) {
    auto opened = openFile(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0666);
    if (!opened) return {0, opened.error()};
    file_ = *std::move(opened);
  }
  std::string bytes(torn_ ? "\n" : "");
  const size_t added = bytes.size();
  bytes += lines;
  size_t written = 0;
  std::optional<Error> error;
  while (written < bytes.size() && !error) {
    const ssize_t n = ::write(file_->get(), bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno != EINTR) error = Error{"write", errno};
    written += static_cast<size_t>(std::max<ssize_t>(n, 0));
  }
  if (written > 0) torn_ = bytes[written - 1] != '\n';
  // The rest follows.
  if (error && error->code == EAGAIN)
    torn_ = false;
  else if (error)
    file_.reset();
  return {written - std::min(written, added), error};
}

}  // namespace regroup
