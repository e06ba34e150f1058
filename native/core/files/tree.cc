#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string_view>
#include <vector>

#include "core/base/dir_entry.h"
#include "core/base/fd.h"
#include "core/base/syscall.h"
#include "core/files/files.h"

namespace regroup {

namespace {

/// No link is followed, whenever it was put there.
constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/// A folder on the way down, which is left and entered again, so that a deep tree has no more
/// descriptors open than a flat one.
struct Level {
  std::string name;  // in the one above
  FileIdentity identity;
  std::vector<std::string> left;  // names that are still to be removed
};

class Walk {
 public:
  /// @param root open
  explicit Walk(Fd root) : folder_(std::move(root)) { enter({}); }

  /// What's in the root. @returns the first that has stayed, or nothing
  std::optional<Error> run() {
    while (!levels_.empty()) {
      auto& left = levels_.back().left;
      if (!left.empty()) {
        const std::string name = std::move(left.back());
        left.pop_back();
        remove(name);
      } else if (!leave()) {
        break;
      }
    }
    return stayed_;
  }

 private:
  void note(const char* call, int error) {
    if (error != ENOENT && !stayed_) stayed_ = Error{call, error};
  }

  void remove(const std::string& name) {
    if (::unlinkat(folder_.get(), name.c_str(), 0) == 0) return;
    const int error = errno;
    // POSIX has EPERM for a folder, and Linux EISDIR.
    if (error != EISDIR && error != EPERM) return note("unlink", error);
    Fd below(::openat(folder_.get(), name.c_str(), kFolder));
    if (!below) {
      // One that may not be read can be empty, and what's no folder had its own reason.
      const int why = errno;
      if (::unlinkat(folder_.get(), name.c_str(), AT_REMOVEDIR) != 0)
        note("unlink", why == ENOTDIR || why == ELOOP ? error : errno);
      return;
    }
    folder_ = std::move(below);
    enter(name);
  }

  void enter(std::string name) {
    auto identity = identify(folder_.get());
    if (!identity) note(identity.error().op, identity.error().code);
    levels_.push_back({std::move(name), identity ? *identity : FileIdentity{}, names()});
  }

  /// @returns false: there's no way back
  bool leave() {
    const std::string name = std::move(levels_.back().name);
    levels_.pop_back();
    if (levels_.empty()) return false;
    // Somebody may have moved it elsewhere meanwhile.
    Fd above(::openat(folder_.get(), "..", kFolder));
    if (!above) {
      note("open", errno);
      return false;
    }
    auto identity = identify(above.get());
    const FileIdentity& expected = levels_.back().identity;
    if (!identity || identity->device != expected.device || identity->inode != expected.inode) {
      note("open", EXDEV);
      return false;
    }
    folder_ = std::move(above);
    if (::unlinkat(folder_.get(), name.c_str(), AT_REMOVEDIR) != 0) note("rmdir", errno);
    return true;
  }

  std::vector<std::string> names() {
    std::vector<std::string> found;
    alignas(DirEntry) char buffer[16 * 1024];
    for (;;) {
      const long size = ::syscall(SYS_getdents64, folder_.get(), buffer, sizeof buffer);
      if (size < 0) note("getdents64", errno);
      if (size <= 0) return found;
      for (long at = 0; at < size;) {
        const auto* entry = reinterpret_cast<const DirEntry*>(buffer + at);
        const std::string_view name(entry->name);
        if (name != "." && name != "..") found.emplace_back(name);
        at += entry->bytes;
      }
    }
  }

  Fd folder_;  // the last of the levels
  std::vector<Level> levels_;
  std::optional<Error> stayed_;
};

}  // namespace

Result<void> removeTree(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  const int error = errno;
  if (error != EISDIR && error != EPERM) return Error{"unlink", error};
  Fd root(::open(path.c_str(), kFolder));
  if (!root) {
    const int why = errno;
    if (::rmdir(path.c_str()) == 0 || why == ENOENT) return {};
    return why == ENOTDIR || why == ELOOP ? Error{"unlink", error} : Error{"open", why};
  }
  const auto stayed = Walk(std::move(root)).run();
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return {};
  return stayed ? *stayed : Error{"rmdir", errno};
}

}  // namespace regroup
