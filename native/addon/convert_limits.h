#pragma once

#include "addon/option_reader.h"
#include "core/cgroup/usage.h"
#include "core/spawn/plan.h"

namespace regroup {

/// Reads what of a NativePlan tells a worker's place and limits. Absent fields leave `command` as
/// it is.
void readLimits(OptionReader& options, Command& command);
void readUsageLimits(OptionReader& options, UsageLimits& limits);

}  // namespace regroup
