#pragma once

#include <napi.h>

#include <vector>

#include "addon/channel.h"
#include "core/base/features.h"
#include "core/process/supervisor.h"

namespace regroup {

// Core structs → JS; lib/native/events.ts has the types.

/// NativeEvent[]. Empty if an exception is pending.
Napi::Value toJs(Napi::Env env, std::vector<SupervisorEvent> events);
Expects endOf(const SupervisorEvent& event);
Napi::Value toJs(Napi::Env env, const Features& features);

/// A clock's time as `atMs`.
double toMs(TimePoint time);

}  // namespace regroup
