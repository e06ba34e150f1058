#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace regroup {

/// A process that has memory of a GPU, as the driver tells it.
struct NvmlProcess {
  pid_t pid = 0;
  bool graphics = false;  // else compute
  /// Absent where the driver doesn't say: without the right to, or on some devices.
  std::optional<uint64_t> usedBytes;
};

/// A part of a GPU that's used like one of its own (MIG).
struct NvmlInstance {
  std::string uuid;  // MIG-…
  std::vector<NvmlProcess> processes;
};

/// Why something is missing.
struct NvmlTrouble {
  enum class Why : uint8_t {
    NoLibrary,  // not there, or not what we take it for
    Refused,    // a call of it failed, with `code`
    TimedOut,   // a call of it hasn't come back
    NoThread,   // of our own; `code` is an errno
  };
  Why why = Why::NoLibrary;
  std::string step;  // the function
  int code = 0;
  std::string text;  // for people
};

struct NvmlDevice {
  unsigned index = 0;             // in the order of PCI addresses
  std::string uuid;               // GPU-…
  std::string pci;                // as sysfs has it: 0000:3b:00.0
  std::optional<unsigned> minor;  // of /dev/nvidia<minor>
  std::vector<NvmlInstance> instances;
  /// Those of the instances are among them where the driver says so.
  std::vector<NvmlProcess> processes;
  std::optional<NvmlTrouble> trouble;  // of this device alone
};

struct NvmlReport {
  std::vector<NvmlDevice> devices;
  std::optional<NvmlTrouble> trouble;  // then there are no devices
};

constexpr const char* kNvmlLibrary = "libnvidia-ml.so.1";

/// Asks NVIDIA's driver for its GPUs and who uses them. Blocks for `limit` at most, though a sick
/// GPU may hang the library for good: its calls run in a thread that's left alone then. While one
/// is left so, further queries time out at once, so that such threads don't pile up.
///
/// Loads the library into this process, and leaves it there.
/// Thread: any.
NvmlReport queryNvml(const std::string& library, std::chrono::milliseconds limit);

}  // namespace regroup
