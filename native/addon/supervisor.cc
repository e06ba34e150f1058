#include "addon/supervisor.h"

#include <climits>
#include <memory>

#include "addon/channel.h"
#include "addon/convert.h"
#include "addon/errors.h"
#include "addon/events.h"
#include "addon/fields.h"
#include "addon/methods.h"
#include "addon/option_reader.h"
#include "core/base/local_time.h"
#include "core/base/syscall.h"
#include "core/base/thread.h"

namespace regroup {

namespace {

/// A supervisor and its way to JS. The cleanup hook holds a share, so that the garbage
/// collector can't end what runs: close() does, or the environment's end.
///
/// Thread: JS.
class JsSupervisor : public std::enable_shared_from_this<JsSupervisor> {
 public:
  static std::shared_ptr<JsSupervisor> create(Napi::Env env, std::vector<std::string> disable,
                                              std::string guardian,
                                              Supervisor::Options::Preloads preloads,
                                              std::shared_ptr<SharedPump> pump,
                                              Napi::Function onEvents) {
    auto own = std::make_shared<JsSupervisor>();
    own->channel_ = Channel<SupervisorEvent>::create(env, onEvents);
    if (!own->channel_) return nullptr;
    auto supervisor = Supervisor::start({
        .disable = std::move(disable),
        .guardian = std::move(guardian),
        .preloads = std::move(preloads),
        .onEvent = [channel =
                        own->channel_](SupervisorEvent event) { channel->push(std::move(event)); },
        .pump = [pump = std::move(pump)] { return pump->need(); },
    });
    if (!supervisor) {
      own->channel_->close();
      throwError(env, supervisor.error());
      return nullptr;
    }
    own->supervisor_ = *std::move(supervisor);
    own->env_ = env;
    own->self_ = own;
    // After the channel's own hook, and so run before it: threads stop first.
    (void)napi_add_env_cleanup_hook(env, onEnvironmentEnd, own.get());
    return own;
  }

  void startGroup(GroupPlan plan) {
    if (!self_) return;
    channel_->expect();
    supervisor_->startGroup(std::move(plan));
  }

  Supervisor& supervisor() { return *supervisor_; }

  Result<std::shared_ptr<Fence>> fence() const { return supervisor_->fence(); }

  void setLastNotice(LastNotice notice) { supervisor_->setLastNotice(std::move(notice)); }

  /// Null once it's closed, or with a JS error pending.
  std::shared_ptr<Fence> fenceFor(Napi::Env env) {
    if (!self_) return nullptr;
    auto fence = supervisor_->fence();
    if (fence) return *std::move(fence);
    throwError(env, fence.error());
    return nullptr;
  }

  void close() {
    if (!self_) return;
    (void)napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
    end();
  }

 private:
  static void onEnvironmentEnd(void* own) { static_cast<JsSupervisor*>(own)->end(); }

  void end() {
    const auto keep = std::move(self_);
    supervisor_->close();
    channel_->close();
  }

  napi_env env_ = nullptr;
  std::shared_ptr<Channel<SupervisorEvent>> channel_;
  std::unique_ptr<Supervisor> supervisor_;
  std::shared_ptr<JsSupervisor> self_;  // until the end
};

/// Marks those objects that are supervisors.
constexpr napi_type_tag kSupervisorTag{0x4b1f0c6e58a94d27, 0x9d3e62b7a1c8f054};

/// So that other functions can be given one.
void tag(Napi::Object object, const std::shared_ptr<JsSupervisor>& own) {
  auto* share = new std::shared_ptr<JsSupervisor>(own);
  const auto free = [](napi_env, void* data, void*) {
    delete static_cast<std::shared_ptr<JsSupervisor>*>(data);
  };
  if (napi_wrap(object.Env(), object, share, free, nullptr, nullptr) == napi_ok)
    (void)napi_type_tag_object(object.Env(), object, &kSupervisorTag);
  else
    delete share;
}

/// A century.
constexpr double kMaxBootMs = 3.2e12;

/// Nothing with a JS error pending.
std::optional<BootTime> toBootTime(Napi::Value value, const std::string& what) {
  const auto ms = toNumber(value, what, 0, kMaxBootMs, false);
  if (!ms) return std::nullopt;
  using Ms = std::chrono::duration<double, std::milli>;
  return BootTime(std::chrono::duration_cast<BootClock::duration>(Ms(*ms)));
}

/// createSupervisor(options, onEvents): NativeSupervisor
Napi::Value createSupervisor(const Napi::CallbackInfo& info,
                             const std::shared_ptr<SharedPump>& pump) {
  Napi::Env env = info.Env();
  Supervisor::Options::Preloads preloads;
  std::vector<std::string> disable;
  std::string guardian;
  OptionReader options(info[0], "options");
  options.required("disable", disable, toStrings);
  options.optional("guardian", guardian, toString);
  options.optional("earlyLibrary", preloads.early, toString);
  options.optional("exitGuardLibrary", preloads.exitGuard, toString);
  if (!options.ok()) return {};
  const auto onEvents = toFunction(info[1], "onEvents");
  if (!onEvents) return {};
  auto own = JsSupervisor::create(env, std::move(disable), std::move(guardian), std::move(preloads),
                                  pump, *onEvents);
  if (!own) return {};

  Napi::Object object = Napi::Object::New(env);
  const Method<JsSupervisor> methods[] = {
      {"startGroup",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         auto plan = toGroupPlan(call[0], "plan");
         if (plan) self.startGroup(*std::move(plan));
       }},
      {"takeOver",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         auto plan = toGroupPlan(call[0], "plan");
         if (!plan) return;
         auto orders = toOrders(call[1], "orders");
         if (!orders) return;
         if (call[2].IsUndefined())
           return self.supervisor().takeOver(*std::move(plan), *std::move(orders));
         auto answerWait = toMilliseconds(call[2], "answerMs");
         if (answerWait)
           self.supervisor().takeOver(*std::move(plan), *std::move(orders), *answerWait);
       }},
      {"stopGroup",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         auto group = toGroupId(call[0], "group");
         if (!group) return;
         auto stop = toStopRequest(call[1], "stop");
         if (stop) self.supervisor().stopGroup(*group, *stop);
       }},
      {"signalGroup",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         auto group = toGroupId(call[0], "group");
         if (!group) return;
         auto signal = toSignal(call[1], "signal");
         if (!signal) return;
         auto target = toTarget(call[2], "target");
         if (target) self.supervisor().signalGroup(*group, *signal, *target);
       }},
      {"signalLeader",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         auto group = toGroupId(call[0], "group");
         if (!group) return;
         auto index = toInteger<uint32_t>(call[1], "index", 0, UINT32_MAX);
         if (!index) return;
         auto signal = toSignal(call[2], "signal");
         if (signal) self.supervisor().signalLeader(*group, *index, *signal);
       }},
      {"reapOrphans",
       [](JsSupervisor& self, const Napi::CallbackInfo&) { self.supervisor().reapOrphans(); }},
      {"beginGuest",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         auto cookie = toString(call[0], "cookie");
         if (cookie) self.supervisor().beginGuest(*std::move(cookie));
       }},
      {"endGuest",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         auto cookie = toString(call[0], "cookie");
         if (cookie) self.supervisor().endGuest(*std::move(cookie));
       }},
      {"owesMs",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) -> Napi::Value {
         const auto ms = static_cast<double>(self.supervisor().owes().count());
         return Napi::Number::New(call.Env(), ms);
       }},
      {"setFence",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         std::optional<BootTime> at;
         if (!call[0].IsUndefined()) {
           at = toBootTime(call[0], "atMs");
           if (!at) return;
         }
         if (const auto fence = self.fenceFor(call.Env())) fence->set(at);
       }},
      {"postponeFence",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         const auto at = toBootTime(call[0], "atMs");
         if (!at) return;
         if (const auto fence = self.fenceFor(call.Env())) fence->postpone(*at);
       }},
      {"killAll",
       [](JsSupervisor& self, const Napi::CallbackInfo& call) {
         auto bound = toMilliseconds(call[0], "boundMs");
         if (bound) self.supervisor().killAll(*bound);
       }},
      {"close", [](JsSupervisor& self, const Napi::CallbackInfo&) { self.close(); }},
  };
  addMethods(object, own, methods);
  tag(object, own);
  return object;
}

/// Those of any Date of JavaScript.
constexpr double kMaxUnixSeconds = 8.64e12;
constexpr double kMaxProbedThreads = 1024;

/// features(disable): Record<string, boolean>
Napi::Value features(const Napi::CallbackInfo& info) {
  auto disable = toStrings(info[0], "disable");
  if (!disable) return {};
  return toJs(info.Env(), probeFeatures(*disable));
}

/// monotonicMs(): number
Napi::Value monotonicMs(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), toMs(monotonicNow()));
}

/// boottimeMs(): number
Napi::Value boottimeMs(const Napi::CallbackInfo& info) {
  const std::chrono::duration<double, std::milli> ms = BootClock::now().time_since_epoch();
  return Napi::Number::New(info.Env(), ms.count());
}

/// probeThreads(count: number): void
Napi::Value probeThreadsOf(const Napi::CallbackInfo& info) {
  auto count = toNumber(info[0], "count", 0, kMaxProbedThreads, false);
  if (!count) return {};
  auto had = probeThreads(static_cast<size_t>(*count));
  if (!had) throwError(info.Env(), had.error());
  return info.Env().Undefined();
}

/// peerOf(socket: number): { pid, uid }
Napi::Value peerOfOn(const Napi::CallbackInfo& info) {
  const auto socket = toInteger<int>(info[0], "socket", 0, INT_MAX);
  if (!socket) return {};
  auto peer = peerOf(*socket);
  if (!peer) {
    throwError(info.Env(), peer.error());
    return {};
  }
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("pid", static_cast<double>(peer->pid));
  object.Set("uid", static_cast<double>(peer->uid));
  return object;
}

/// utcOffset(unixSeconds: number): number
Napi::Value utcOffsetOf(const Napi::CallbackInfo& info) {
  auto moment = toNumber(info[0], "unixSeconds", -kMaxUnixSeconds, kMaxUnixSeconds, false);
  if (!moment) return {};
  auto offset = utcOffset(static_cast<int64_t>(*moment));
  if (!offset) {
    throwError(info.Env(), offset.error());
    return {};
  }
  return Napi::Number::New(info.Env(), static_cast<double>(*offset));
}

/// Null: it isn't one that createSupervisor has made.
JsSupervisor* supervisorIn(Napi::Value value) {
  const Napi::Env env = value.Env();
  bool isOne = false;
  void* share = nullptr;
  const bool isFound = value.IsObject() &&
                       napi_check_object_type_tag(env, value, &kSupervisorTag, &isOne) == napi_ok &&
                       isOne && napi_unwrap(env, value, &share) == napi_ok;
  return isFound ? static_cast<std::shared_ptr<JsSupervisor>*>(share)->get() : nullptr;
}

}  // namespace

std::optional<std::shared_ptr<Fence>> toFence(Napi::Value value, const std::string& what) {
  JsSupervisor* const supervisor = supervisorIn(value);
  if (supervisor == nullptr)
    return typeError(value.Env(), what + " must be one that createSupervisor has made");
  auto fence = supervisor->fence();
  if (fence) return *std::move(fence);
  throwError(value.Env(), fence.error());
  return std::nullopt;
}

void setLastNotice(Napi::Value value, LastNotice notice) {
  JsSupervisor* const supervisor = supervisorIn(value);
  if (supervisor != nullptr) supervisor->setLastNotice(std::move(notice));
}

void initSupervisor(Napi::Object exports, std::shared_ptr<SharedPump> pump) {
  const Method<> functions[] = {
      {"createSupervisor",
       [pump = std::move(pump)](const Napi::CallbackInfo& info) {
         return createSupervisor(info, pump);
       }},
      {"features", features},
      {"probeThreads", probeThreadsOf},
      {"peerOf", peerOfOn},
      {"utcOffset", utcOffsetOf},
      {"monotonicMs", monotonicMs},
      {"boottimeMs", boottimeMs},
  };
  addMethods(exports, functions);
}

}  // namespace regroup
