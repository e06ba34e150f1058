#pragma once

#include <sys/types.h>

#include <chrono>
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

/// The processes, but for this one, that have a GPU's device file below `folder` open. What isn't
/// found within `limit` is left away.
///
/// A process that's ending shows no files any more, but it isn't dead before they are closed.
/// Thread: any.
DeviceHolders findDeviceHolders(const std::string& folder, std::chrono::milliseconds limit);

}  // namespace regroup
