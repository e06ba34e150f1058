#pragma once

#include <napi.h>

namespace regroup {

/// Adds openFiles to the addon's exports.
void initFiles(Napi::Object exports);

}  // namespace regroup
