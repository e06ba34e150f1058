#pragma once

#include <napi.h>

#include <vector>

#include "core/store/server.h"

namespace regroup {

// What a table tells of itself; lib/native/store.ts has the types.

/// NativeStoreStats
Napi::Value toJs(Napi::Env env, const store::TableStats& stats);
/// NativeStoreSlot[]
Napi::Value toJs(Napi::Env env, const std::vector<store::SlotView>& views);

}  // namespace regroup
