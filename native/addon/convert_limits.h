#pragma once

#include <napi.h>

#include <string>

#include "core/cgroup/usage.h"
#include "core/spawn/plan.h"

namespace regroup {

/// Reads what of `object`, a NativePlan, tells a worker's place and limits. Absent fields leave
/// `command` as it is. @returns false with an exception pending
bool readLimits(Napi::Object object, const std::string& what, Command& command);
bool readUsageLimits(Napi::Object object, const std::string& what, UsageLimits& limits);

}  // namespace regroup
