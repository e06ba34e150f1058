#include "core/cgroup/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <memory>
#include <string_view>

#include "core/base/syscall.h"

namespace regroup {

namespace {

/// Bounds the list of a cgroup with a fork bomb in it; the rest is seen at the next look.
constexpr size_t kMaxProcsBytes = 4 * 1024 * 1024;
/// Workers may make cgroups below; nobody nests them deeper than this.
constexpr int kMaxDepth = 8;

std::vector<std::string> foldersBelow(const std::string& path) {
  std::vector<std::string> folders;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (!folder) return folders;
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..")
      folders.push_back(path + "/" + std::string(name));
  }
  return folders;
}

void addMembers(const std::string& path, int depth, std::vector<pid_t>& members) {
  for (const pid_t pid : processesIn(path)) {
    if (pid > 1) members.push_back(pid);
  }
  if (depth >= kMaxDepth) return;
  for (const std::string& below : foldersBelow(path)) addMembers(below, depth + 1, members);
}

Result<void> removeTree(const std::string& path, int depth) {
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return {};
  const Error error{"rmdir", errno};
  if (depth >= kMaxDepth) return error;
  const auto below = foldersBelow(path);
  for (const std::string& each : below) {
    auto removed = removeTree(each, depth + 1);
    if (!removed) return removed;
  }
  if (below.empty()) return error;
  if (::rmdir(path.c_str()) == 0) return {};
  return Error{"rmdir", errno};
}

Result<void> writeAt(int folder, const char* file, std::string_view text) {
  const Fd fd(::openat(folder, file, O_WRONLY | O_CLOEXEC));
  if (!fd) return Error{"open", errno};
  if (::write(fd.get(), text.data(), text.size()) < 0) return Error{"write", errno};
  return {};
}

/// `regroup-<cookie>`, as agents make them.
bool isOfGroup(std::string_view name) {
  constexpr std::string_view kPrefix = "regroup-";
  constexpr size_t kCookieBytes = 24;
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789_";
  if (!name.starts_with(kPrefix)) return false;
  name.remove_prefix(kPrefix.size());
  return name.size() == kCookieBytes && name.find_first_not_of(kAlphabet) == std::string_view::npos;
}

/// Whether somebody may be about to mark it. What's older by the kernel's memory may still be taken
/// for young, and stays then.
bool isYoung(const std::string& path) {
  constexpr int64_t kSeconds = 2;
  struct statx info;  // stat(2)'s symbol is younger than glibc 2.28
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_MTIME, &info) < 0) return true;
  return ::time(nullptr) - info.stx_mtime.tv_sec < kSeconds;
}

}  // namespace

std::vector<pid_t> processesIn(const std::string& path) {
  std::vector<pid_t> pids;
  auto text = readFile((path + "/cgroup.procs").c_str(), kMaxProcsBytes);
  if (!text) return pids;
  const char* at = text->data();
  const char* const end = at + text->size();
  while (at < end) {
    pid_t pid = 0;
    at = std::from_chars(at, end, pid).ptr + 1;
    // 0 is one of another pid namespace.
    if (pid > 0) pids.push_back(pid);
  }
  return pids;
}

std::vector<pid_t> membersOf(const std::string& path) {
  std::vector<pid_t> members;
  addMembers(path, 0, members);
  return members;
}

Result<void> removeCgroup(const std::string& path) {
  return removeTree(path, 0);
}

void markAsOurs(const Fd& folder) {
  // Shared: in a hierarchy of several controllers we make it once and mark it twice. Who looks
  // whether it's stale holds it for a moment at most, and sees how young it is.
  (void)::flock(folder.get(), LOCK_SH | LOCK_NB);
}

void removeStaleCgroups(const std::string& place) {
  for (const std::string& path : foldersBelow(place)) {
    if (!isOfGroup(path.substr(place.size() + 1)) || isYoung(path)) continue;
    auto folder = openFile(path.c_str(), O_RDONLY | O_DIRECTORY);
    if (!folder || ::flock(folder->get(), LOCK_EX | LOCK_NB) < 0) continue;
    // Who's in one was left alone, or its guardian isn't through.
    if (membersOf(path).empty()) (void)removeCgroup(path);
  }
}

void moveOut(pid_t pid, const std::string& path, const std::string& refuge) {
  const std::string number = std::to_string(pid);
  const auto into = [&](const std::string& folder) {
    return static_cast<bool>(writeControl(folder + "/cgroup.procs", number));
  };
  (void)(into(path.substr(0, path.rfind('/'))) || into(refuge));
}

Result<void> writeControl(const std::string& file, std::string_view text) {
  return writeAt(AT_FDCWD, file.c_str(), text);
}

Result<Cgroup> Cgroup::make(std::string path) {
  if (::mkdir(path.c_str(), 0755) < 0) return Error{"mkdir", errno};
  auto folder = openFile(path.c_str(), O_RDONLY | O_DIRECTORY);
  auto procs = openFile((path + "/cgroup.procs").c_str(), O_WRONLY);
  if (folder) markAsOurs(*folder);
  if (folder && procs) return Cgroup(std::move(path), *std::move(folder), *std::move(procs));
  const Error error = folder ? procs.error() : folder.error();
  (void)::rmdir(path.c_str());  // it has just been made, and nobody is in it
  return error;
}

bool Cgroup::canKill() const {
  return ::faccessat(folder_.get(), "cgroup.kill", W_OK, 0) == 0;
}

Result<void> Cgroup::kill() const {
  return writeAt(folder_.get(), "cgroup.kill", "1");
}

void Cgroup::freeze(bool frozen) const {
  // Without either file nothing is lost but time: whoever forks meanwhile is found by the next
  // look.
  if (writeAt(folder_.get(), "cgroup.freeze", frozen ? "1" : "0")) return;
  (void)writeAt(folder_.get(), "freezer.state", frozen ? "FROZEN" : "THAWED");
}

}  // namespace regroup
