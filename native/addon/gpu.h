#pragma once

#include <napi.h>

namespace regroup {

/// Adds gpus and deviceHolders to the addon's exports.
void initGpu(Napi::Object exports);

}  // namespace regroup
