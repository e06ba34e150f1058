#pragma once

#include <napi.h>

#include <memory>

#include "addon/output.h"

namespace regroup {

/// Adds createSupervisor, features and monotonicMs to the addon's exports.
void initSupervisor(Napi::Object exports, std::shared_ptr<SharedPump> pump);

}  // namespace regroup
