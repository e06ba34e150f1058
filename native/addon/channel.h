#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace regroup {

/// What's still expected once an event is delivered.
enum class Expects : uint8_t { AsMany, OneLess, NoMore };

/// Takes a core's events to JS, in batches: while a wake-up is under way, events only pile up.
///
/// For an Event there are `Napi::Value toJs(Napi::Env, std::vector<Event>)`, empty with an
/// exception pending, and `Expects endOf(const Event&)`.
///
/// Invariant: once closed, `function_` isn't touched again.
/// Thread: push() any, the rest JS.
template <typename Event>
class Channel {
 public:
  /// Doesn't keep Node alive until something is expected. @returns null, with the exception pending
  static std::shared_ptr<Channel> create(Napi::Env env, Napi::Function onEvents);

  void push(Event event);

  /// One more thing keeps Node alive, until its last event is delivered.
  void expect();

  /// What was pushed before, but isn't delivered yet, is dropped.
  void close();

 private:
  Channel() = default;
  static void deliver(napi_env env, napi_value onEvents, void* context, void* data);
  void keepAlive(bool alive);

  napi_env env_ = nullptr;
  napi_threadsafe_function function_ = nullptr;
  size_t expected_ = 0;  // that are yet to end
  std::mutex eventsMutex_;
  std::vector<Event> events_;  // guarded by eventsMutex_
  bool posted_ = false;        // guarded by eventsMutex_: a wake-up is under way
  bool closed_ = false;        // guarded by eventsMutex_
};

template <typename Event>
std::shared_ptr<Channel<Event>> Channel<Event>::create(Napi::Env env, Napi::Function onEvents) {
  std::shared_ptr<Channel> channel(new Channel());
  channel->env_ = env;
  // The function holds a share until it's finalized, which is after its last call. Its queue
  // needs no bound: push() puts at most one wake-up into it.
  auto* share = new std::shared_ptr<Channel>(channel);
  const napi_status status = napi_create_threadsafe_function(
      env, onEvents, nullptr, Napi::String::New(env, "regroup events"), 0, 1, share,
      [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<Channel>*>(data); },
      share, deliver, &channel->function_);
  if (status != napi_ok) {
    delete share;
    Napi::Error::New(env, "napi_create_threadsafe_function failed").ThrowAsJavaScriptException();
    return nullptr;
  }
  channel->keepAlive(false);
  return channel;
}

template <typename Event>
void Channel<Event>::push(Event event) {
  std::lock_guard lock(eventsMutex_);
  if (closed_) return;
  events_.push_back(std::move(event));
  if (posted_) return;
  posted_ = true;
  // Under the lock, so that close() can't release the function meanwhile. It doesn't block.
  if (napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking) == napi_closing)
    closed_ = true;  // Node has released our share of the function itself
}

/// Thread: JS. `env` is null when the function was closed with a wake-up in its queue; Node has
/// finalized it by then, so that even `context` is gone.
template <typename Event>
void Channel<Event>::deliver(napi_env env, napi_value onEvents, void* context, void*) {
  if (env == nullptr) return;
  // Our own share: the call may close the channel.
  const std::shared_ptr<Channel> channel = *static_cast<std::shared_ptr<Channel>*>(context);
  std::vector<Event> events;
  {
    std::lock_guard lock(channel->eventsMutex_);
    channel->posted_ = false;
    events.swap(channel->events_);
  }
  if (events.empty()) return;

  for (const Event& event : events) {
    const Expects end = endOf(event);
    if (end == Expects::AsMany || channel->expected_ == 0) continue;
    channel->expected_ = end == Expects::NoMore ? 0 : channel->expected_ - 1;
    if (channel->expected_ == 0) channel->keepAlive(false);
  }
  const Napi::Value batch = toJs(env, std::move(events));
  if (batch.IsEmpty()) return;
  const napi_value argument = batch;
  napi_value result;
  (void)napi_call_function(env, Napi::Env(env).Undefined(), onEvents, 1, &argument, &result);
  // Node would only warn of it, and go on; a listener's mistake is as fatal as any other's.
  napi_value error;
  if (Napi::Env(env).IsExceptionPending() &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok)
    (void)napi_fatal_exception(env, error);
}

template <typename Event>
void Channel<Event>::expect() {
  if (expected_++ == 0) keepAlive(true);
}

template <typename Event>
void Channel<Event>::keepAlive(bool alive) {
  {
    std::lock_guard lock(eventsMutex_);
    if (closed_) return;
  }
  if (alive) {
    (void)napi_ref_threadsafe_function(env_, function_);
  } else {
    (void)napi_unref_threadsafe_function(env_, function_);
  }
}

template <typename Event>
void Channel<Event>::close() {
  std::lock_guard lock(eventsMutex_);
  if (closed_) return;
  closed_ = true;
  events_.clear();
  (void)napi_release_threadsafe_function(function_, napi_tsfn_abort);
}

}  // namespace regroup
