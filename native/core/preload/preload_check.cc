#include "core/preload/preload_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/syscall.h"

namespace regroup {

namespace {

/// Whether the kernel gives rights with it: the linker then takes nothing from the environment.
bool isPrivileged(const Fd& file, mode_t mode) {
  return (mode & (S_ISUID | S_ISGID)) != 0 ||
         ::fgetxattr(file.get(), "security.capability", nullptr, 0) > 0;
}

/// Whether execve would take it.
bool isExecutable(const std::string& path) {
  struct statx info;  // stat(2)'s symbol is younger than glibc 2.28
  return ::statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE, &info) == 0 && S_ISREG(info.stx_mode) &&
         ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0;
}

size_t readAt(const Fd& file, uint64_t offset, std::span<char> bytes) {
  size_t read = 0;
  while (read < bytes.size()) {
    const ssize_t n = ::pread(file.get(), bytes.data() + read, bytes.size() - read,
                              static_cast<off_t>(offset + read));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    read += static_cast<size_t>(n);
  }
  return read;
}

}  // namespace

Preload checkPreload(const std::string& program, const std::vector<std::string>& libraries) {
  for (const std::string& library : libraries) {
    if (::access(library.c_str(), R_OK) < 0) return Preload::Unread;
  }
  // Whatever it is, opening it waits for nobody.
  auto file = openFile(program.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) return Preload::Unread;
  struct statx info;  // stat(2)'s symbol is younger than glibc 2.28
  if (::statx(file->get(), "", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE, &info) < 0 ||
      !S_ISREG(info.stx_mode))
    return Preload::Unread;
  if (isPrivileged(*file, info.stx_mode)) return Preload::Privileged;
  return inspectProgram(
      [&](uint64_t offset, std::span<char> bytes) { return readAt(*file, offset, bytes); });
}

PreloadCheck::~PreloadCheck() {
  leave();
}

void PreloadCheck::begin(std::vector<std::string> candidates) {
  if (look_ && look_->candidates == candidates) return;
  leave();
  auto done = makeEventFd();
  if (!done) return;  // out of descriptors: no answer is a no
  auto look = std::make_shared<Look>();
  look->candidates = std::move(candidates);
  look->done = *std::move(done);
  auto thread = Thread::start([look, libraries = libraries_] {
    const auto& all = look->candidates;
    const auto program = std::find_if(all.begin(), all.end(), isExecutable);
    if (program != all.end()) look->answer = checkPreload(*program, libraries);
    signalEvent(look->done);
  });
  if (!thread) return;
  thread_ = *std::move(thread);
  look_ = std::move(look);
}

Preload PreloadCheck::answer(std::chrono::milliseconds atMost) {
  if (!look_) return Preload::Unread;
  // It stays readable.
  (void)waitReadable(look_->done, atMost);
  return look_->answer;
}

void PreloadCheck::leave() {
  if (look_) {
    // Done, it's about to end.
    if (waitReadable(look_->done, std::chrono::milliseconds(0))) {
      thread_.join();
    } else {
      thread_.leave();
    }
  }
  look_.reset();
}

}  // namespace regroup
