#include "addon/pressure.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/channel.h"
#include "addon/errors.h"
#include "addon/fields.h"
#include "addon/methods.h"
#include "core/cgroup/pressure.h"

namespace regroup {

namespace {

struct Pressure {};

Expects endOf(const Pressure&) {
  return Expects::AsMany;
}

/// How often it has been told.
Napi::Value toJs(Napi::Env env, const std::vector<Pressure>& batch) {
  return Napi::Number::New(env, static_cast<double>(batch.size()));
}

/// A watch and its way to JS. The cleanup hook holds a share, so that the garbage collector can't
/// end it.
///
/// Thread: JS.
class Pressures {
 public:
  /// @returns null, with the exception pending
  static std::shared_ptr<Pressures> create(Napi::Env env, std::vector<std::string> paths,
                                           std::string trigger, Napi::Function onPressure) {
    auto pressures = std::make_shared<Pressures>();
    auto channel = Channel<Pressure>::create(env, onPressure);
    if (!channel) return nullptr;
    auto watch = PressureWatch::start(std::move(paths), std::move(trigger),
                                      [channel] { channel->push({}); });
    if (!watch) {
      channel->close();
      throwError(env, watch.error());
      return nullptr;
    }
    pressures->env_ = env;
    pressures->channel_ = std::move(channel);
    pressures->watch_ = *std::move(watch);
    pressures->self_ = pressures;
    // After the channel's own hook, and so run before it.
    (void)napi_add_env_cleanup_hook(env, onEnvironmentEnd, pressures.get());
    return pressures;
  }

  void close() {
    if (!self_) return;
    (void)napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
    end();
  }

 private:
  static void onEnvironmentEnd(void* pressures) { static_cast<Pressures*>(pressures)->end(); }

  void end() {
    const auto keep = std::move(self_);
    watch_.reset();
    channel_->close();
  }

  napi_env env_ = nullptr;
  std::shared_ptr<Channel<Pressure>> channel_;
  std::unique_ptr<PressureWatch> watch_;
  std::shared_ptr<Pressures> self_;  // until the end
};

/// watchPressure(paths, trigger, onPressure): NativePressureWatch
Napi::Value watchPressure(const Napi::CallbackInfo& info) {
  auto paths = toList<std::string>(info[0], "paths", toString);
  if (!paths) return {};
  auto trigger = toString(info[1], "trigger");
  if (!trigger) return {};
  const auto onPressure = toFunction(info[2], "onPressure");
  if (!onPressure) return {};
  const auto pressures =
      Pressures::create(info.Env(), *std::move(paths), *std::move(trigger), *onPressure);
  if (!pressures) return {};

  Napi::Object object = Napi::Object::New(info.Env());
  const Method<Pressures> methods[] = {
      {"close", [](Pressures& self, const Napi::CallbackInfo&) { self.close(); }},
  };
  addMethods(object, pressures, methods);
  return object;
}

}  // namespace

void initPressure(Napi::Object exports) {
  const Method<> functions[] = {{"watchPressure", watchPressure}};
  addMethods(exports, functions);
}

}  // namespace regroup
