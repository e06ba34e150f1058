#include "core/gpu/holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

namespace regroup {

namespace {

using Folder = std::unique_ptr<DIR, int (*)(DIR*)>;

Folder openFolder(int at, const char* path) {
  const int fd = ::openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const folder = fd < 0 ? nullptr : ::fdopendir(fd);
  if (fd >= 0 && folder == nullptr) ::close(fd);
  return {folder, ::closedir};
}

bool isNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

std::optional<std::string> afterPrefix(const std::string& text, const std::string& prefix) {
  if (text.compare(0, prefix.size(), prefix) != 0) return std::nullopt;
  return text.substr(prefix.size());
}

/// `prefix`: the folder with its slash.
void addDevices(DIR* files, const std::string& prefix, std::vector<std::string>& devices) {
  char target[PATH_MAX];
  while (const dirent* entry = ::readdir(files)) {
    const ssize_t length = ::readlinkat(::dirfd(files), entry->d_name, target, sizeof target);
    if (length <= 0) continue;  // `.`, or closed meanwhile
    const auto name = afterPrefix({target, static_cast<size_t>(length)}, prefix);
    if (!name || !isGpuDevice(*name)) continue;
    if (std::find(devices.begin(), devices.end(), *name) == devices.end()) devices.push_back(*name);
  }
}

}  // namespace

bool isGpuDevice(const std::string& name) {
  if (name == "kfd") return true;
  for (const char* prefix : {"nvidia", "dri/renderD"}) {
    const auto number = afterPrefix(name, prefix);
    if (number && isNumber(*number)) return true;
  }
  return false;
}

DeviceHolders findDeviceHolders(const std::string& folder, std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + limit;
  const std::string prefix = folder + "/";
  const pid_t self = ::getpid();
  DeviceHolders found;
  const Folder proc = openFolder(AT_FDCWD, "/proc");
  if (!proc) return found;

  while (const dirent* entry = ::readdir(proc.get())) {
    pid_t pid = 0;
    const char* const end = entry->d_name + ::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, pid).ptr != end || pid == self) continue;
    if (Clock::now() >= until) break;
    const Folder files =
        openFolder(::dirfd(proc.get()), (std::string(entry->d_name) + "/fd").c_str());
    if (!files) {
      if (errno == EACCES || errno == EPERM) found.unread.push_back(pid);
      continue;
    }
    DeviceHolder holder{.pid = pid};
    addDevices(files.get(), prefix, holder.devices);
    if (!holder.devices.empty()) found.holders.push_back(std::move(holder));
  }
  return found;
}

}  // namespace regroup
