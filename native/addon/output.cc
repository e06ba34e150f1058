#include "addon/output.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "addon/channel.h"
#include "addon/errors.h"
#include "addon/fields.h"
#include "addon/methods.h"
#include "addon/option_reader.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

/// A console has taken all, or isn't waited for any longer.
struct Flushed {
  double id;
  uint64_t unshownLines;
};

Expects endOf(const Flushed&) {
  return Expects::OneLess;
}

/// NativeFlushed[]
Napi::Value toJs(Napi::Env env, std::vector<Flushed> events) {
  Napi::Array batch = Napi::Array::New(env, events.size());
  for (uint32_t i = 0; i < events.size(); i++) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("id", Napi::Number::New(env, events[i].id));
    object.Set("unshownLines", Napi::Number::New(env, static_cast<double>(events[i].unshownLines)));
    batch.Set(i, object);
  }
  return batch;
}

/// What a command says by itself, and its way to JS. The cleanup hook holds a share, so that the
/// garbage collector can't end it.
///
/// Thread: JS.
class Words : public std::enable_shared_from_this<Words> {
 public:
  static std::shared_ptr<Words> create(Napi::Env env, Napi::Function onFlushed,
                                       std::shared_ptr<SharedPump> shared) {
    auto words = std::make_shared<Words>();
    words->channel_ = Channel<Flushed>::create(env, onFlushed);
    if (!words->channel_) return nullptr;
    words->env_ = env;
    words->shared_ = std::move(shared);
    words->self_ = words;
    // After the channel's own hook, and so run before it.
    (void)napi_add_env_cleanup_hook(env, onEnvironmentEnd, words.get());
    return words;
  }

  void say(int console, std::string lines) {
    if (!self_) return;
    // Kept from now on: what's been said is to be written, whoever else comes and goes.
    if (!pump_) {
      auto pump = shared_->need();
      if (!pump) return throwError(env_, pump.error());
      pump_ = *std::move(pump);
    }
    pump_->say(console, std::move(lines));
  }

  /// @returns whether there's something to wait for
  bool flush(double id, FlushPatience patience) {
    const auto pump = self_ ? shared_->running() : nullptr;
    if (!pump) return false;
    channel_->expect();
    pump->flush(patience, [channel = channel_, id](uint64_t lines) { channel->push({id, lines}); });
    return true;
  }

  void flushNow(std::chrono::milliseconds bound) {
    const auto pump = self_ ? shared_->running() : nullptr;
    auto done = makeEventFd();
    if (!pump || !done) return;
    auto shared = std::make_shared<Fd>(*std::move(done));
    pump->flush({bound, bound}, [shared](uint64_t) { signalEvent(*shared); });
    (void)waitReadable(*shared, bound);
  }

  void hurry() {
    const auto pump = self_ ? shared_->running() : nullptr;
    if (pump) pump->hurry();
  }

  void close() {
    if (!self_) return;
    (void)napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
    end();
  }

 private:
  static void onEnvironmentEnd(void* words) { static_cast<Words*>(words)->end(); }

  void end() {
    const auto keep = std::move(self_);
    pump_.reset();
    channel_->close();
  }

  napi_env env_ = nullptr;
  std::shared_ptr<SharedPump> shared_;
  std::shared_ptr<Pump> pump_;  // once something was said
  std::shared_ptr<Channel<Flushed>> channel_;
  std::shared_ptr<Words> self_;  // until the end
};

std::optional<FlushPatience> toPatience(Napi::Value value, const std::string& what) {
  FlushPatience patience;
  OptionReader options(value, what);
  options.required("wordsMs", patience.words, toMilliseconds);
  options.optional("linesMs", patience.lines, toMilliseconds);
  if (!options.ok()) return std::nullopt;
  return patience;
}

/// openConsole(onFlushed): NativeConsole
Napi::Value openConsole(const Napi::CallbackInfo& info, const std::shared_ptr<SharedPump>& shared) {
  Napi::Env env = info.Env();
  const auto onFlushed = toFunction(info[0], "onFlushed");
  if (!onFlushed) return {};
  auto words = Words::create(env, *onFlushed, shared);
  if (!words) return {};

  Napi::Object object = Napi::Object::New(env);
  const Method<Words> methods[] = {
      {"say",
       [](Words& self, const Napi::CallbackInfo& call) {
         auto console = toInteger<int>(call[0], "console", 1, 2);
         if (!console) return;
         auto lines = toString(call[1], "lines");
         if (lines) self.say(*console, *std::move(lines));
       }},
      {"flush",
       [](Words& self, const Napi::CallbackInfo& call) -> Napi::Value {
         auto id = toNumber(call[0], "id", 0, kMaxSafeInteger, true);
         if (!id) return {};
         auto patience = toPatience(call[1], "patience");
         if (!patience) return {};
         return Napi::Boolean::New(call.Env(), self.flush(*id, *patience));
       }},
      {"flushNow",
       [](Words& self, const Napi::CallbackInfo& call) {
         auto bound = toMilliseconds(call[0], "boundMs");
         if (bound) self.flushNow(*bound);
       }},
      {"hurry", [](Words& self, const Napi::CallbackInfo&) { self.hurry(); }},
      {"close", [](Words& self, const Napi::CallbackInfo&) { self.close(); }},
  };
  addMethods(object, words, methods);
  return object;
}

}  // namespace

Result<std::shared_ptr<Pump>> SharedPump::need() {
  std::lock_guard lock(mutex_);
  if (auto pump = pump_.lock()) return pump;
  auto pump = Pump::start({});
  if (pump) pump_ = *pump;
  return pump;
}

std::shared_ptr<Pump> SharedPump::running() {
  std::lock_guard lock(mutex_);
  return pump_.lock();
}

void initOutput(Napi::Object exports, std::shared_ptr<SharedPump> pump) {
  const Method<> functions[] = {
      {"openConsole", [pump = std::move(pump)](
                          const Napi::CallbackInfo& info) { return openConsole(info, pump); }},
  };
  addMethods(exports, functions);
}

}  // namespace regroup
