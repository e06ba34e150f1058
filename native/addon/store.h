#pragma once

#include <napi.h>

namespace regroup {

/// Adds createStore to the addon's exports.
void initStore(Napi::Object exports);

}  // namespace regroup
