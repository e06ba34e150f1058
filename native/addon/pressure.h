#pragma once

#include <napi.h>

namespace regroup {

/// Adds watchPressure to the addon's exports.
void initPressure(Napi::Object exports);

}  // namespace regroup
