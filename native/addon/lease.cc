#include "addon/lease.h"

#include <atomic>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "addon/channel.h"
#include "addon/errors.h"
#include "addon/fields.h"
#include "addon/methods.h"
#include "addon/option_reader.h"
#include "addon/supervisor.h"
#include "core/coordination/lease_keeper.h"

namespace regroup {

using coordination::LeaseKeeper;

namespace {

/// An event on its way to JS.
struct LeaseEvent {
  LeaseKeeper::Event what;
};

const char* nameOf(LeaseKeeper::Event event) {
  switch (event) {
    case LeaseKeeper::Event::Lost:
      return "lost";
    case LeaseKeeper::Event::Stalled:
      return "stalled";
    case LeaseKeeper::Event::Moved:
      return "moved";
    case LeaseKeeper::Event::Gone:
      return "gone";
  }
  return "lost";
}

/// There's one at most.
Napi::Value toJs(Napi::Env env, std::vector<LeaseEvent> events) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("event", Napi::String::New(env, nameOf(events.front().what)));
  return object;
}

Expects endOf(const LeaseEvent&) {
  return Expects::AsMany;
}

/// A keeper and its way to JS. The cleanup hook holds a share, so that the garbage collector can't
/// end what runs: close() does, or the environment's end.
///
/// Thread: JS.
class JsLease {
 public:
  /// Null with a JS error pending.
  static std::shared_ptr<JsLease> create(Napi::Env env, LeaseKeeper::Options options,
                                         std::shared_ptr<Fence> fence, Napi::Function onEvent) {
    auto own = std::make_shared<JsLease>();
    own->channel_ = Channel<LeaseEvent>::create(env, onEvent);
    if (!own->channel_) return nullptr;
    options.onFence = [fence = std::move(fence), at = own->fenceAt_](BootTime fenceAt) {
      fence->set(fenceAt);
      at->store(fenceAt.time_since_epoch().count(), std::memory_order_relaxed);
    };
    options.onEvent = [channel = own->channel_](LeaseKeeper::Event event) {
      channel->push(LeaseEvent{event});
    };
    auto keeper = LeaseKeeper::start(std::move(options));
    if (!keeper) {
      own->channel_->close();
      throwError(env, keeper.error());
      return nullptr;
    }
    own->keeper_ = *std::move(keeper);
    own->env_ = env;
    own->self_ = own;
    // After the channel's own hook, and so run before it: the thread stops first.
    (void)napi_add_env_cleanup_hook(env, onEnvironmentEnd, own.get());
    return own;
  }

  LastNotice lastNotice() const { return keeper_->lastNotice(); }

  void beat() {
    if (self_) keeper_->beat();
  }

  /// undefined before the first renewal.
  Napi::Value fenceMs(Napi::Env env) const {
    const BootTime at(BootTime::duration(fenceAt_->load(std::memory_order_relaxed)));
    if (at == BootTime()) return env.Undefined();
    const std::chrono::duration<double, std::milli> ms = at.time_since_epoch();
    return Napi::Number::New(env, ms.count());
  }

  void close() {
    if (!self_) return;
    (void)napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
    end(LeaseKeeper::Farewell::Goodbye);
  }

 private:
  static void onEnvironmentEnd(void* own) {
    static_cast<JsLease*>(own)->end(LeaseKeeper::Farewell::None);
  }

  void end(LeaseKeeper::Farewell farewell) {
    const auto keep = std::move(self_);
    keeper_->close(farewell);
    channel_->close();
  }

  napi_env env_ = nullptr;
  std::shared_ptr<Channel<LeaseEvent>> channel_;
  std::unique_ptr<LeaseKeeper> keeper_;
  // Written by the keeper's thread, and by nobody else.
  const std::shared_ptr<std::atomic<BootTime::rep>> fenceAt_ =
      std::make_shared<std::atomic<BootTime::rep>>(0);
  std::shared_ptr<JsLease> self_;  // until the end
};

/// A lease's id as lib/coordination has it: a hexadecimal number.
std::optional<uint64_t> toLeaseId(Napi::Value value, const std::string& what) {
  const auto text = toString(value, what);
  if (!text) return std::nullopt;
  uint64_t id = 0;
  const char* const end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, id, 16);
  if (error == std::errc() && at == end && id != 0) return id;
  return typeError(value.Env(), what + " must be a lease's id");
}

/// keepLease(options, supervisor, onEvent): NativeLease
Napi::Value keepLease(const Napi::CallbackInfo& info) {
  LeaseKeeper::Options keeper;
  OptionReader options(info[0], "options");
  options.required("host", keeper.host, toString);
  options.required("port", keeper.port, integerOf<uint16_t>(1, UINT16_MAX));
  options.required("lease", keeper.lease.lease, toLeaseId);
  options.required("ttlMs", keeper.lease.ttl, toMilliseconds);
  options.required("marginMs", keeper.lease.margin, toMilliseconds);
  options.required("stallMs", keeper.lease.stall, toMilliseconds);
  options.optional("refusalsMs", keeper.lease.refusals, toMilliseconds);
  options.optional("token", keeper.lease.token, toString);
  if (keeper.lease.margin >= keeper.lease.ttl) options.refuse(".marginMs must be below ttlMs");
  if (!options.ok()) return {};
  auto fence = toFence(info[1], "supervisor");
  if (!fence) return {};
  const auto onEvent = toFunction(info[2], "onEvent");
  if (!onEvent) return {};
  const auto own = JsLease::create(info.Env(), std::move(keeper), *std::move(fence), *onEvent);
  if (!own) return {};
  // Should we be killed, nobody need wait for the lease's end.
  setLastNotice(info[1], own->lastNotice());

  Napi::Object object = Napi::Object::New(info.Env());
  const Method<JsLease> methods[] = {
      {"beat", [](JsLease& self, const Napi::CallbackInfo&) { self.beat(); }},
      {"fenceMs",
       [](JsLease& self, const Napi::CallbackInfo& call) { return self.fenceMs(call.Env()); }},
      {"close", [](JsLease& self, const Napi::CallbackInfo&) { self.close(); }},
  };
  addMethods(object, own, methods);
  return object;
}

}  // namespace

void initLease(Napi::Object exports) {
  const Method<> functions[] = {{"keepLease", keepLease}};
  addMethods(exports, functions);
}

}  // namespace regroup
