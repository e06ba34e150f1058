#include <napi.h>
#include <signal.h>
#include <unistd.h>

#include "addon/gpu.h"
#include "addon/launcher.h"
#include "addon/shared_store.h"
#include "addon/store.h"
#include "core/base/nofile.h"

namespace regroup {

namespace {

/// Only those whose numbers are the same wherever we run, by the names that Node uses.
Napi::Object signals(Napi::Env env) {
  static constexpr struct {
    const char* name;
    int number;
  } kSignals[] = {
#define SIGNAL(s) {#s, s}
      SIGNAL(SIGHUP),  SIGNAL(SIGINT),    SIGNAL(SIGQUIT), SIGNAL(SIGILL),   SIGNAL(SIGTRAP),
      SIGNAL(SIGABRT), SIGNAL(SIGBUS),    SIGNAL(SIGFPE),  SIGNAL(SIGKILL),  SIGNAL(SIGUSR1),
      SIGNAL(SIGSEGV), SIGNAL(SIGUSR2),   SIGNAL(SIGPIPE), SIGNAL(SIGALRM),  SIGNAL(SIGTERM),
      SIGNAL(SIGCHLD), SIGNAL(SIGSTKFLT), SIGNAL(SIGCONT), SIGNAL(SIGSTOP),  SIGNAL(SIGTSTP),
      SIGNAL(SIGTTIN), SIGNAL(SIGTTOU),   SIGNAL(SIGURG),  SIGNAL(SIGXCPU),  SIGNAL(SIGXFSZ),
      SIGNAL(SIGVTALRM), SIGNAL(SIGPROF), SIGNAL(SIGWINCH), SIGNAL(SIGIO),   SIGNAL(SIGPWR),
      SIGNAL(SIGSYS),
#undef SIGNAL
  };
  Napi::Object object = Napi::Object::New(env);
  for (const auto& signal : kSignals)
    object.Set(signal.name, Napi::Number::New(env, signal.number));
  return object;
}

/// raiseNofile(): void
void raiseOurNofile(const Napi::CallbackInfo&) {
  raiseNofile();
}

/// exitNow(code: number): never. For a command that has closed all that it had: Node's own tear-down
/// only frees what the kernel frees as well, and joins V8's threads, for some milliseconds.
void exitNow(const Napi::CallbackInfo& info) {
  if (info.Length() != 1 || !info[0].IsNumber()) {
    Napi::TypeError::New(info.Env(), "exitNow: give an exit code").ThrowAsJavaScriptException();
    return;
  }
  ::_exit(info[0].As<Napi::Number>().Int32Value() & 0xff);
}

}  // namespace

/// Runs once per environment: worker threads get supervisors and stores of their own.
Napi::Object init(Napi::Env env, Napi::Object exports) {
  initLauncher(env, exports);
  initStore(env, exports);
  initSharedStore(env, exports);
  initGpu(env, exports);
  Napi::Object constants = Napi::Object::New(env);
  constants.Set("signals", signals(env));
  exports.Set("constants", constants);
  exports.Set("raiseNofile", Napi::Function::New(env, raiseOurNofile, "raiseNofile"));
  exports.Set("exitNow", Napi::Function::New(env, exitNow, "exitNow"));
  return exports;
}

}  // namespace regroup

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  return regroup::init(env, exports);
}

NODE_API_MODULE(regroup, init)
