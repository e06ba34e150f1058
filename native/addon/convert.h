#pragma once

#include <napi.h>

#include <optional>

#include "core/process/supervisor.h"

namespace regroup {

// JS → core structs, one function per struct; lib/native/plan.ts has the types. What doesn't fit
// gives nothing, and a TypeError is pending that names the field.

std::optional<GroupPlan> toGroupPlan(Napi::Value value);
std::optional<StopRequest> toStopRequest(Napi::Value value);
/// A group's number: a non-negative integer.
std::optional<GroupId> toGroupId(Napi::Value value);
std::optional<int> toSignal(Napi::Value value);
std::optional<Target> toTarget(Napi::Value value);
std::optional<std::chrono::milliseconds> toMilliseconds(Napi::Value value, const char* what);

}  // namespace regroup
