#pragma once

#include <atomic>
#include <string>

#include "core/gpu/nvml.h"

namespace regroup {

/// All calls of the library, one after the other. May hang; `step` is the function that's being
/// called, always a literal.
///
/// Thread: one that may hang.
NvmlReport readNvml(const std::string& library, std::atomic<const char*>& step);

}  // namespace regroup
