#include "core/gpu/nvml_calls.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>

#include "core/base/old_symbols.h"

REGROUP_OLD_SYMBOL(dlopen);
REGROUP_OLD_SYMBOL(dlsym);
REGROUP_OLD_SYMBOL(dlerror);

namespace regroup {

namespace {

/// @source NVIDIA, nvml.h, nvmlReturn_t
constexpr int kSuccess = 0;
constexpr int kNotSupported = 3;
constexpr int kNoPermission = 4;
constexpr int kNotFound = 6;
constexpr int kInsufficientSize = 7;
constexpr int kFunctionNotFound = 13;

using Handle = void*;

/// nvmlPciInfo_t; in the second version's, which is shorter, these fields lie at the same places.
struct PciInfo {
  char busIdLegacy[16];
  unsigned domain;
  unsigned bus;
  unsigned device;
  char rest[64];
};

using ListProcesses = int (*)(Handle, unsigned*, void*);

/// What we call of the library.
struct Calls {
  int (*init)();
  int (*shutdown)();
  const char* (*errorString)(int);
  int (*count)(unsigned*);
  int (*handle)(unsigned, Handle*);
  int (*uuid)(Handle, char*, unsigned);
  int (*pciInfo)(Handle, PciInfo*);
  int (*minor)(Handle, unsigned*);
  int (*maxInstances)(Handle, unsigned*);
  int (*instance)(Handle, unsigned, Handle*);
  ListProcesses compute;
  size_t computeBytes;  // of one entry, as a rule
  ListProcesses graphics;
  size_t graphicsBytes;
};

class Reader {
 public:
  Reader(std::atomic<const char*>& step) : step_(step) {}

  NvmlReport read(const std::string& library) {
    if (!load(library)) return failed();
    if (!call("nvmlInit_v2", calls_.init)) return failed();
    NvmlReport report = devices();
    // Nobody can do anything about it if it fails.
    (void)call("nvmlShutdown", calls_.shutdown);
    return report;
  }

 private:
  NvmlReport failed() { return {{}, std::move(trouble_)}; }

  bool load(const std::string& library) {
    step_ = "dlopen";
    // It stays loaded: nobody promises that it can be unloaded while threads of its own run.
    library_ = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) {
      const char* why = ::dlerror();
      trouble_ = {NvmlTrouble::Why::NoLibrary, "dlopen", 0, why == nullptr ? library : why};
      return false;
    }
    find(calls_.errorString, {"nvmlErrorString"});
    find(calls_.shutdown, {"nvmlShutdown"});
    find(calls_.uuid, {"nvmlDeviceGetUUID"});
    find(calls_.pciInfo, {"nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2"});
    find(calls_.minor, {"nvmlDeviceGetMinorNumber"});
    find(calls_.maxInstances, {"nvmlDeviceGetMaxMigDeviceCount"});
    find(calls_.instance, {"nvmlDeviceGetMigDeviceHandleByIndex"});
    calls_.computeBytes = find(calls_.compute, {"nvmlDeviceGetComputeRunningProcesses_v3",
                                                "nvmlDeviceGetComputeRunningProcesses_v2",
                                                "nvmlDeviceGetComputeRunningProcesses"}) < 2
                              ? 24
                              : 16;
    calls_.graphicsBytes = find(calls_.graphics, {"nvmlDeviceGetGraphicsRunningProcesses_v3",
                                                  "nvmlDeviceGetGraphicsRunningProcesses_v2",
                                                  "nvmlDeviceGetGraphicsRunningProcesses"}) < 2
                               ? 24
                               : 16;
    return need(calls_.init, "nvmlInit_v2") && need(calls_.count, "nvmlDeviceGetCount_v2") &&
           need(calls_.handle, "nvmlDeviceGetHandleByIndex_v2");
  }

  /// The first of `names` that the library has. @returns its place among them
  template <typename F>
  size_t find(F& function, std::initializer_list<const char*> names) {
    size_t place = 0;
    function = nullptr;
    for (const char* name : names) {
      function = reinterpret_cast<F>(::dlsym(library_, name));
      if (function != nullptr) return place;
      place++;
    }
    return place;
  }

  template <typename F>
  bool need(F& function, const char* name) {
    find(function, {name});
    if (function != nullptr) return true;
    trouble_ = {NvmlTrouble::Why::NoLibrary, name, 0, "the library lacks it"};
    return false;
  }

  /// @returns whether it succeeded; else `trouble_` and `code_` say why not
  template <typename F, typename... Args>
  bool call(const char* name, F function, Args... args) {
    step_ = name;
    code_ = function == nullptr ? kFunctionNotFound : function(args...);
    if (code_ == kSuccess) return true;
    const char* text = calls_.errorString == nullptr ? nullptr : calls_.errorString(code_);
    trouble_ = {NvmlTrouble::Why::Refused, name, code_, text == nullptr ? "" : text};
    return false;
  }

  NvmlReport devices() {
    unsigned count = 0;
    if (!call("nvmlDeviceGetCount_v2", calls_.count, &count)) return failed();
    NvmlReport report;
    for (unsigned index = 0; index < count; index++) report.devices.push_back(device(index));
    return report;
  }

  /// One that's lost or forbidden is told as such; the others may be well.
  NvmlDevice device(unsigned index) {
    NvmlDevice device{.index = index};
    Handle handle = nullptr;
    PciInfo pci{};
    unsigned minor = 0;
    if (!call("nvmlDeviceGetHandleByIndex_v2", calls_.handle, index, &handle)) {
      device.trouble = std::move(trouble_);
      return device;
    }
    if (!uuid(handle, device.uuid)) device.trouble = std::move(trouble_);
    if (call("nvmlDeviceGetPciInfo", calls_.pciInfo, handle, &pci))
      device.pci = sysfsAddress(pci);
    else
      device.trouble = std::move(trouble_);
    if (call("nvmlDeviceGetMinorNumber", calls_.minor, handle, &minor)) device.minor = minor;
    addInstances(handle, device);
    if (!addProcesses(handle, device.processes)) device.trouble = std::move(trouble_);
    return device;
  }

  bool uuid(Handle handle, std::string& uuid) {
    char text[96] = {};  // NVML_DEVICE_UUID_V2_BUFFER_SIZE
    if (!call("nvmlDeviceGetUUID", calls_.uuid, handle, text, unsigned{sizeof text})) return false;
    text[sizeof text - 1] = 0;
    uuid = text;
    return true;
  }

  /// NVML's own text has eight digits of a domain, in capitals. A GPU is its device's function 0.
  static std::string sysfsAddress(const PciInfo& pci) {
    char text[40];
    ::snprintf(text, sizeof text, "%04x:%02x:%02x.0", pci.domain, pci.bus, pci.device);
    return text;
  }

  /// Most devices have none: that MIG isn't there, or off, is no trouble.
  void addInstances(Handle handle, NvmlDevice& device) {
    unsigned most = 0;
    if (!call("nvmlDeviceGetMaxMigDeviceCount", calls_.maxInstances, handle, &most)) return;
    for (unsigned i = 0; i < most; i++) {
      Handle each = nullptr;
      // The numbers have gaps.
      if (!call("nvmlDeviceGetMigDeviceHandleByIndex", calls_.instance, handle, i, &each)) {
        if (code_ == kNotFound) continue;
        return;
      }
      NvmlInstance instance;
      if (!uuid(each, instance.uuid)) continue;
      (void)addProcesses(each, instance.processes);  // the GPU's own list tells what's wrong
      device.instances.push_back(std::move(instance));
    }
  }

  /// @returns false if the driver can tell and doesn't
  bool addProcesses(Handle handle, std::vector<NvmlProcess>& processes) {
    const bool compute = list("nvmlDeviceGetComputeRunningProcesses", calls_.compute,
                              calls_.computeBytes, handle, false, processes);
    if (!compute && !isHarmless()) return false;
    const bool graphics = list("nvmlDeviceGetGraphicsRunningProcesses", calls_.graphics,
                               calls_.graphicsBytes, handle, true, processes);
    return graphics || isHarmless();
  }

  /// Many devices and users can't ask for processes; whoever needs them looks elsewhere, too.
  bool isHarmless() const {
    return code_ == kNotSupported || code_ == kNoPermission || code_ == kFunctionNotFound;
  }

  bool list(const char* name, ListProcesses function, size_t usualBytes, Handle handle,
            bool graphics, std::vector<NvmlProcess>& processes) {
    constexpr unsigned char kUntouched = 0xa5;
    constexpr unsigned kMost = 4096;      // what a machine may reasonably have
    constexpr size_t kLargestEntry = 40;  // more than any driver's, so that none writes beyond
    for (unsigned room = 64; room <= kMost; room *= 4) {
      std::vector<unsigned char> bytes(room * kLargestEntry, kUntouched);
      unsigned count = room;
      if (!call(name, function, handle, &count, static_cast<void*>(bytes.data()))) {
        if (code_ == kInsufficientSize) continue;
        return false;
      }
      count = std::min(count, room);
      const auto end = std::find_if(bytes.rbegin(), bytes.rend(),
                                    [](unsigned char byte) { return byte != kUntouched; });
      const size_t entry = entryBytes(bytes.rend() - end, count, usualBytes);
      for (unsigned i = 0; i < count; i++)
        processes.push_back(process(bytes.data() + i * entry, graphics));
      return true;
    }
    return false;
  }

  /// Drivers have changed an entry's size without changing the function's name: 535.43 to 535.86
  /// have 32 bytes where those before and after have 24. So what was written tells.
  static size_t entryBytes(size_t written, size_t count, size_t usual) {
    if (count == 0) return usual;
    const size_t each = (written + 7) / 8 * 8 / count;
    return each == 16 || each == 24 || each == 32 ? each : usual;
  }

  static NvmlProcess process(const unsigned char* entry, bool graphics) {
    constexpr uint64_t kUnknown = ~uint64_t{0};  // NVML_VALUE_NOT_AVAILABLE
    uint32_t pid;
    uint64_t used;
    ::memcpy(&pid, entry, sizeof pid);
    ::memcpy(&used, entry + 8, sizeof used);
    NvmlProcess process{.pid = static_cast<pid_t>(pid), .graphics = graphics};
    if (used != kUnknown) process.usedBytes = used;
    return process;
  }

  std::atomic<const char*>& step_;
  void* library_ = nullptr;
  Calls calls_{};
  NvmlTrouble trouble_;
  int code_ = kSuccess;
};

}  // namespace

NvmlReport readNvml(const std::string& library, std::atomic<const char*>& step) {
  return Reader(step).read(library);
}

}  // namespace regroup
