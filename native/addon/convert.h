#pragma once

#include <napi.h>

#include <optional>
#include <string>

#include "core/process/supervisor.h"

namespace regroup {

// JS → core structs, one function per struct; lib/native/plan.ts has the types. What doesn't fit
// gives nothing, and a TypeError is pending that names the field.

std::optional<GroupPlan> toGroupPlan(Napi::Value value, const std::string& what);
/// Messages to standbys.
std::optional<std::vector<std::string>> toOrders(Napi::Value value, const std::string& what);
std::optional<StopRequest> toStopRequest(Napi::Value value, const std::string& what);
/// A group's number: a non-negative integer.
std::optional<GroupId> toGroupId(Napi::Value value, const std::string& what);
std::optional<int> toSignal(Napi::Value value, const std::string& what);
std::optional<Target> toTarget(Napi::Value value, const std::string& what);

}  // namespace regroup
