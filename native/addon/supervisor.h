#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>

#include "addon/output.h"
#include "core/process/fence.h"

namespace regroup {

/// The fence of what createSupervisor has made. Nothing with a JS error pending: it isn't one, or
/// it's closed.
std::optional<std::shared_ptr<Fence>> toFence(Napi::Value value, const std::string& what);

/// Adds createSupervisor, features and monotonicMs to the addon's exports.
void initSupervisor(Napi::Object exports, std::shared_ptr<SharedPump> pump);

}  // namespace regroup
