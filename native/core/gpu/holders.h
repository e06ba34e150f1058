#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace regroup {

struct DeviceHolder {
  pid_t pid = 0;
  std::vector<std::string> devices;  // below the folder, each once
};

struct DeviceHolders {
  std::vector<DeviceHolder> holders;
  std::vector<pid_t> unread;  // whose files we may not see
};

/// Whether a file of this name, below /dev, is a GPU's: nvidia0, kfd, dri/renderD128. Those that
/// are opened only to ask, like nvidiactl, aren't.
bool isGpuDevice(const std::string& name);

/// Whose device files below `folder` a process has open, each once. Nothing: its files may not be
/// seen. May wait for the process without bound: see core/base/proc.h.
std::optional<std::vector<std::string>> devicesOf(pid_t pid, const std::string& folder);

/// The processes, but for this one, that have a GPU's device file below `folder` open. What isn't
/// found within `limit` is left away, and so is a process that hangs.
///
/// A process that's ending shows no files any more, but it isn't dead before they are closed.
/// Where /proc numbers processes as somebody else does, nobody is found.
/// Thread: any that may block for `limit`.
DeviceHolders findDeviceHolders(const std::string& folder, std::chrono::milliseconds limit);

}  // namespace regroup
