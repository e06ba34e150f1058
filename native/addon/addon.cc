#include <napi.h>
#include <unistd.h>

#include "addon/fields.h"
#include "addon/files.h"
#include "addon/gpu.h"
#include "addon/lease.h"
#include "addon/methods.h"
#include "addon/option_reader.h"
#include "addon/output.h"
#include "addon/pressure.h"
#include "addon/shared_store.h"
#include "addon/store.h"
#include "addon/supervisor.h"
#include "core/base/nofile.h"
#include "core/base/start_signals.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

/// raiseNofile(): void
void raiseOurNofile(const Napi::CallbackInfo&) {
  raiseNofile();
}

/// An array of signals' numbers as a bit mask.
std::optional<uint64_t> toSignals(Napi::Value value, const std::string& what) {
  auto numbers = toNumbers(value, what, 64);
  if (!numbers) return std::nullopt;
  uint64_t mask = 0;
  for (const uint32_t number : *numbers) {
    if (number == 0) return typeError(value.Env(), what + " must hold signals from 1");
    mask |= signalBit(static_cast<int>(number));
  }
  return mask;
}

/// startedWith(start: NativeStart): void
void startedWith(const Napi::CallbackInfo& info) {
  StartSignals signals;
  std::optional<rlim_t> nofileSoft;
  OptionReader start(info[0], "start");
  start.required("ignoredSignals", signals.ignored, toSignals);
  start.required("blockedSignals", signals.blocked, toSignals);
  start.optional("nofileSoft", nofileSoft, integerOf<rlim_t>(0, kMaxSafeInteger));
  if (!start.ok()) return;
  if (nofileSoft) setNofileBeforeRaise(*nofileSoft);
  setStartSignals(signals);
  ignoreAgain(signals.ignored);
}

/// exitNow(code: number): never. For a command that has closed all that it had: Node's own
/// tear-down only frees what the kernel frees as well, and joins V8's threads, for some
/// milliseconds.
void exitNow(const Napi::CallbackInfo& info) {
  if (info.Length() != 1 || !info[0].IsNumber()) {
    Napi::TypeError::New(info.Env(), "exitNow: give an exit code").ThrowAsJavaScriptException();
    return;
  }
  ::_exit(info[0].As<Napi::Number>().Int32Value() & 0xff);
}

}  // namespace

/// Runs once per environment: worker threads get supervisors and stores of their own.
Napi::Object init(Napi::Object exports) {
  const auto pump = std::make_shared<SharedPump>();
  initSupervisor(exports, pump);
  initOutput(exports, pump);
  initFiles(exports);
  initStore(exports);
  initSharedStore(exports);
  initGpu(exports);
  initPressure(exports);
  initLease(exports);
  const Method<> functions[] = {
      {"raiseNofile", raiseOurNofile},
      {"startedWith", startedWith},
      {"exitNow", exitNow},
  };
  addMethods(exports, functions);
  return exports;
}

}  // namespace regroup

static Napi::Object init(Napi::Env, Napi::Object exports) {
  return regroup::init(exports);
}

NODE_API_MODULE(regroup, init)
