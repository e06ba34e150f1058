#pragma once

#include <napi.h>

namespace regroup {

/// Adds createSupervisor, features and monotonicMs to the addon's exports.
void initLauncher(Napi::Env env, Napi::Object exports);

}  // namespace regroup
