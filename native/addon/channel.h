#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <vector>

#include "core/process/supervisor.h"

namespace regroup {

/// Takes the core's events to JS, in batches: while a wake-up is under way, events only pile up.
///
/// Invariant: once closed, `function_` isn't touched again.
/// Thread: push() any, the rest JS.
class Channel {
 public:
  /// Doesn't keep Node alive until a group does. @returns null, with the exception pending
  static std::shared_ptr<Channel> create(Napi::Env env, Napi::Function onEvents);
  ~Channel();

  void push(SupervisorEvent event);

  /// One more group keeps Node alive, until its last event is delivered.
  void expectGroup();

  /// What was pushed before, but isn't delivered yet, is dropped.
  void close();

 private:
  Channel() = default;
  static void deliver(napi_env env, napi_value onEvents, void* context, void* data);
  void keepAlive(bool alive);

  napi_env env_ = nullptr;
  napi_threadsafe_function function_ = nullptr;
  size_t groups_ = 0;  // that are yet to end
  std::mutex eventsMutex_;
  std::vector<SupervisorEvent> events_;  // guarded by eventsMutex_
  bool posted_ = false;                  // guarded by eventsMutex_: a wake-up is under way
  bool closed_ = false;                  // guarded by eventsMutex_
};

}  // namespace regroup
