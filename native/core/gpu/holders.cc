#include "core/gpu/holders.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "core/base/apart.h"
#include "core/base/own_proc.h"
#include "core/base/proc.h"

namespace regroup {

namespace {

/// A process whose files can't be listed within this time is sick.
constexpr std::chrono::milliseconds kPatience{200};

bool isNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

std::optional<std::string> afterPrefix(const std::string& text, const std::string& prefix) {
  if (text.compare(0, prefix.size(), prefix) != 0) return std::nullopt;
  return text.substr(prefix.size());
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

std::optional<std::vector<std::string>> devicesOf(pid_t pid, const std::string& folder) {
  std::vector<std::string> devices;
  const std::string prefix = folder + "/";
  const std::unique_ptr<DIR, int (*)(DIR*)> files(::opendir(procPath(pid, "fd").c_str()),
                                                  ::closedir);
  if (!files) {
    if (errno == EACCES || errno == EPERM) return std::nullopt;
    return devices;
  }
  char target[PATH_MAX];
  while (const dirent* entry = ::readdir(files.get())) {
    const ssize_t length = ::readlinkat(::dirfd(files.get()), entry->d_name, target, sizeof target);
    if (length <= 0) continue;  // `.`, or closed meanwhile
    const auto name = afterPrefix({target, static_cast<size_t>(length)}, prefix);
    if (!name || !isGpuDevice(*name)) continue;
    if (std::find(devices.begin(), devices.end(), *name) == devices.end()) devices.push_back(*name);
  }
  return devices;
}

DeviceHolders findDeviceHolders(const std::string& folder, std::chrono::milliseconds limit) {
  DeviceHolders found;
  if (!procIsOurs()) return found;
  auto pids = allProcesses();
  std::erase(pids, ::getpid());
  const auto answers = askApart<std::optional<std::vector<std::string>>>(
      std::move(pids), [folder](pid_t pid) { return devicesOf(pid, folder); },
      {std::min(kPatience, limit), limit});
  for (const auto& [pid, devices] : answers) {
    if (!devices) {
      found.unread.push_back(pid);
    } else if (!devices->empty()) {
      found.holders.push_back({pid, *devices});
    }
  }
  return found;
}

}  // namespace regroup
