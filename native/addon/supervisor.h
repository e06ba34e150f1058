#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>

#include "addon/output.h"
#include "core/base/last_notice.h"
#include "core/process/fence.h"

namespace regroup {

/// The fence of what createSupervisor has made. Nothing with a JS error pending: it isn't one, or
/// it's closed.
std::optional<std::shared_ptr<Fence>> toFence(Napi::Value value, const std::string& what);

/// Gives what createSupervisor has made, and isn't closed, its last notice. `value` is one that
/// toFence has taken.
void setLastNotice(Napi::Value value, LastNotice notice);

/// Adds createSupervisor, features and monotonicMs to the addon's exports.
void initSupervisor(Napi::Object exports, std::shared_ptr<SharedPump> pump);

}  // namespace regroup
