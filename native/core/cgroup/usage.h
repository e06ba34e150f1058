#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace regroup {

/// What a worker may take, together with all that it starts. Absent: no limit of its own.
struct UsageLimits {
  std::optional<uint64_t> memoryHigh;  // bytes: beyond, it's slowed down; version 2 only
  std::optional<uint64_t> memoryMax;   // bytes: beyond, it's killed
  std::optional<uint64_t> pidsMax;     // processes and threads
  std::optional<uint64_t> cpuQuotaUs;  // CPU time in each kCpuPeriodUs
};

constexpr uint64_t kCpuPeriodUs = 100'000;

/// A set of controllers, as bits.
using Controllers = unsigned;
constexpr Controllers kMemory = 1;
constexpr Controllers kPids = 2;
constexpr Controllers kCpu = 4;

Controllers controllersOf(const UsageLimits& limits);
/// As files of a cgroup name it. `one`: a single bit.
const char* nameOf(Controllers one);

/// Calls `visit(bit)` for each of the set.
template <typename Visit>
void eachController(Controllers set, Visit visit) {
  for (Controllers one = 1; one <= set; one <<= 1) {
    if (set & one) visit(one);
  }
}

/// A limit that can't be had: the file or folder that's in the way, empty where no hierarchy has
/// the controller that the error names.
struct UsageRefusal {
  std::string path;
  Error error;
};

/// What the kernel has counted for a worker and all that it started.
struct Usage {
  uint64_t oomKills = 0;     // of its processes, for lack of memory
  uint64_t pidsRefused = 0;  // forks, or threads
  std::optional<uint64_t> peakBytes;
  std::optional<double> pressure;  // of memory, in percent of the last ten seconds
};

/// The number that the text begins with.
std::optional<uint64_t> numberIn(std::string_view text);
/// The number in the line `key number`.
std::optional<uint64_t> countOf(std::string_view text, std::string_view key);
/// Of memory.pressure: avg10 of its line `some`, in percent.
std::optional<double> pressureOf(std::string_view text);

}  // namespace regroup
