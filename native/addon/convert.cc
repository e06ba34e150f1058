#include "addon/convert.h"

#include <math.h>

namespace regroup {

namespace {

using std::chrono::milliseconds;

/// 2^53: beyond it numbers aren't integers any more.
constexpr double kMaxSafeInteger = 9007199254740991.0;
/// Protects timers from overflow: 24 days, as JS's own.
constexpr double kMaxMs = 2147483647.0;
/// Protects us from a plan that would take all memory.
constexpr double kMaxTailBytes = 64.0 * 1024 * 1024;
constexpr uint32_t kMaxWorkers = 65'536;

std::nullopt_t typeError(Napi::Env env, const std::string& message) {
  // A getter's own exception goes first.
  if (!env.IsExceptionPending()) Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return std::nullopt;
}

std::optional<Napi::Object> toObject(Napi::Value value, const std::string& what) {
  if (!value.IsObject()) return typeError(value.Env(), what + " must be an object");
  return value.As<Napi::Object>();
}

/// Without an exception; the caller looks for one.
Napi::Value get(Napi::Object object, const char* name) {
  const Napi::Value value = object.Get(name);
  return value.IsEmpty() ? object.Env().Undefined() : value;
}

/// Strings go to the kernel, where a NUL would end them early.
std::optional<std::string> toString(Napi::Value value, const std::string& what) {
  if (value.Env().IsExceptionPending()) return std::nullopt;
  if (!value.IsString()) return typeError(value.Env(), what + " must be a string");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos)
    return typeError(value.Env(), what + " must not contain a NUL character");
  return text;
}

std::optional<double> toNumber(Napi::Value value, const std::string& what, double lowest,
                               double highest, bool whole) {
  if (value.Env().IsExceptionPending()) return std::nullopt;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(number >= lowest && number <= highest) || (whole && number != ::floor(number)))
    return typeError(value.Env(), what + " must be " + (whole ? "an integer" : "a number") +
                                      " from " + std::to_string(static_cast<int64_t>(lowest)) +
                                      " to " + std::to_string(static_cast<int64_t>(highest)));
  return number;
}

/// Leaves `target` as it is when the field is absent. @returns false with an exception pending
bool readOptional(Napi::Object object, const char* name, const std::string& what,
                  std::string& target) {
  const Napi::Value value = get(object, name);
  if (object.Env().IsExceptionPending()) return false;
  if (value.IsUndefined()) return true;
  auto text = toString(value, what + "." + name);
  if (!text) return false;
  target = *std::move(text);
  return true;
}

std::optional<std::vector<std::string>> toStringList(Napi::Value value, const std::string& what) {
  Napi::Env env = value.Env();
  if (env.IsExceptionPending()) return std::nullopt;
  if (!value.IsArray()) return typeError(env, what + " must be an array of strings");
  const Napi::Array array = value.As<Napi::Array>();
  const uint32_t length = array.Length();
  std::vector<std::string> strings;
  for (uint32_t i = 0; i < length; i++) {
    Napi::HandleScope scope(env);
    const Napi::Value item = array.Get(i);
    if (env.IsExceptionPending()) return std::nullopt;
    auto text = toString(item, what + "[" + std::to_string(i) + "]");
    if (!text) return std::nullopt;
    strings.push_back(*std::move(text));
  }
  return strings;
}

std::optional<StreamPlan> toStreamPlan(Napi::Value value, const std::string& what) {
  auto object = toObject(value, what);
  if (!object) return std::nullopt;
  auto to = toString(get(*object, "to"), what + ".to");
  if (!to) return std::nullopt;

  StreamPlan plan;
  if (*to == "inherit") return plan;
  if (*to == "null") {
    plan.to = StreamPlan::To::Null;
    return plan;
  }
  if (*to == "file") {
    plan.to = StreamPlan::To::File;
    auto path = toString(get(*object, "path"), what + ".path");
    if (!path) return std::nullopt;
    plan.sinks.file = *std::move(path);
    return plan;
  }
  if (*to != "pipe")
    return typeError(value.Env(), what + ".to must be inherit, null, file or pipe");

  plan.to = StreamPlan::To::Pipe;
  if (!readOptional(*object, "file", what, plan.sinks.file) ||
      !readOptional(*object, "prefix", what, plan.sinks.prefix) ||
      !readOptional(*object, "filteredFile", what, plan.sinks.filteredFile))
    return std::nullopt;
  const Napi::Value console = get(*object, "console");
  if (value.Env().IsExceptionPending()) return std::nullopt;
  if (!console.IsUndefined()) {
    auto number = toNumber(console, what + ".console", 1, 2, true);
    if (!number) return std::nullopt;
    plan.sinks.console = static_cast<int>(*number);
  }
  const Napi::Value filters = get(*object, "filters");
  if (value.Env().IsExceptionPending()) return std::nullopt;
  if (!filters.IsUndefined()) {
    auto list = toStringList(filters, what + ".filters");
    if (!list) return std::nullopt;
    plan.sinks.filters = *std::move(list);
  }
  return plan;
}

std::optional<WorkerPlan> toWorkerPlan(Napi::Value value, const std::string& what) {
  auto object = toObject(value, what);
  if (!object) return std::nullopt;
  auto file = toString(get(*object, "file"), what + ".file");
  if (!file) return std::nullopt;
  auto argv = toStringList(get(*object, "argv"), what + ".argv");
  if (!argv) return std::nullopt;
  if (argv->empty()) return typeError(value.Env(), what + ".argv must not be empty");
  auto env = toStringList(get(*object, "env"), what + ".env");
  if (!env) return std::nullopt;
  auto input = toString(get(*object, "stdin"), what + ".stdin");
  if (!input) return std::nullopt;
  if (*input != "inherit" && *input != "null")
    return typeError(value.Env(), what + ".stdin must be inherit or null");

  WorkerPlan plan;
  plan.command.file = *std::move(file);
  plan.command.argv = *std::move(argv);
  plan.command.env = *std::move(env);
  plan.inheritStdin = *input == "inherit";
  if (!readOptional(*object, "cwd", what, plan.command.cwd)) return std::nullopt;
  const Napi::Value nofile = get(*object, "nofileSoft");
  if (value.Env().IsExceptionPending()) return std::nullopt;
  if (!nofile.IsUndefined()) {
    auto number = toNumber(nofile, what + ".nofileSoft", 3, kMaxSafeInteger, true);
    if (!number) return std::nullopt;
    plan.command.nofileSoft = static_cast<rlim_t>(*number);
  }
  const char* const names[] = {"stdout", "stderr"};
  for (int i = 0; i < 2; i++) {
    const Napi::Value stream = get(*object, names[i]);
    if (value.Env().IsExceptionPending()) return std::nullopt;
    auto parsed = toStreamPlan(stream, what + "." + names[i]);
    if (!parsed) return std::nullopt;
    plan.streams[i] = *std::move(parsed);
  }
  return plan;
}

const char* nameOf(StartStep step) {
  switch (step) {
    case StartStep::Resolve:
      return "resolve";
    case StartStep::Output:
      return "output";
    case StartStep::Spawn:
      return "spawn";
    case StartStep::Session:
      return "session";
    case StartStep::ParentDeath:
      return "parent-death";
    case StartStep::Stdio:
      return "stdio";
    case StartStep::Rlimits:
      return "rlimits";
    case StartStep::Cwd:
      return "cwd";
    case StartStep::Signals:
      return "signals";
    case StartStep::Exec:
      return "exec";
    case StartStep::KilledBeforeExec:
      return "killed-before-exec";
  }
  return "";
}

/// Fills one NativeEvent. Thread: JS.
class EventWriter {
 public:
  EventWriter(Napi::Env env, Napi::Object object) : env_(env), object_(object) {}

  void operator()(const Started& started) {
    name("started");
    Napi::Array pids = Napi::Array::New(env_, started.pids.size());
    Napi::Array at = Napi::Array::New(env_, started.at.size());
    for (uint32_t i = 0; i < started.pids.size(); i++) {
      pids.Set(i, Napi::Number::New(env_, started.pids[i]));
      at.Set(i, Napi::Number::New(env_, toMs(started.at[i])));
    }
    object_.Set("pids", pids);
    object_.Set("startedAtMs", at);
  }

  void operator()(const StartFailed& failed) {
    name("start-failed");
    number("index", static_cast<double>(failed.index));
    text("step", nameOf(failed.step));
    error(failed.error);
    text("detail", failed.detail);
  }

  void operator()(const Exited& exited) {
    name("exited");
    number("index", static_cast<double>(exited.index));
    number("pid", exited.pid);
    EventWriter exit(env_, Napi::Object::New(env_));
    switch (exited.status.how) {
      case ExitStatus::How::Exited:
        exit.text("how", "exited");
        exit.number("code", exited.status.code);
        break;
      case ExitStatus::How::Signaled:
        exit.text("how", "signaled");
        exit.number("signal", exited.status.code);
        exit.object_.Set("coreDumped", Napi::Boolean::New(env_, exited.status.coreDumped));
        break;
      case ExitStatus::How::Unknown:
        exit.text("how", "unknown");
        break;
    }
    object_.Set("exit", exit.object_);
  }

  void operator()(const Ended& ended) {
    name("ended");
    Napi::Array stuck = Napi::Array::New(env_, ended.stuck.size());
    for (uint32_t i = 0; i < ended.stuck.size(); i++) {
      EventWriter item(env_, Napi::Object::New(env_));
      item.number("index", static_cast<double>(ended.stuck[i].index));
      item.number("pid", ended.stuck[i].pid);
      item.text("state", std::string(1, ended.stuck[i].state));
      item.text("waitChannel", ended.stuck[i].waitChannel);
      stuck.Set(i, item.object_);
    }
    object_.Set("stuck", stuck);
    number("strays", static_cast<double>(ended.strays));
    object_.Set("tails", tails(ended));
  }

  void operator()(const OutputFailed& failed) {
    name("output-trouble");
    number("index", static_cast<double>(failed.index));
    text("path", failed.path);
    error(failed.error);
    number("droppedLines", static_cast<double>(failed.droppedLines));
  }

 private:
  void name(const char* event) { text("event", event); }
  void text(const char* key, const std::string& value) {
    object_.Set(key, Napi::String::New(env_, value));
  }
  void number(const char* key, double value) { object_.Set(key, Napi::Number::New(env_, value)); }
  void error(const Error& error) {
    text("syscall", error.op);
    number("errno", error.code);
  }

  /// One object per worker that has a piped stream.
  Napi::Array tails(const Ended& ended) {
    Napi::Array list = Napi::Array::New(env_);
    uint32_t count = 0;
    size_t previous = SIZE_MAX;
    Napi::Object item;
    for (const Ended::Tail& tail : ended.tails) {
      if (count == 0 || tail.index != previous) {
        item = Napi::Object::New(env_);
        item.Set("index", Napi::Number::New(env_, static_cast<double>(tail.index)));
        list.Set(count++, item);
        previous = tail.index;
      }
      item.Set(tail.stream == 0 ? "stdout" : "stderr",
               Napi::Buffer<char>::Copy(env_, tail.bytes.data(), tail.bytes.size()));
    }
    return list;
  }

  Napi::Env env_;
  Napi::Object object_;
};

}  // namespace

double toMs(TimePoint time) {
  return std::chrono::duration<double, std::milli>(time.time_since_epoch()).count();
}

std::optional<std::vector<std::string>> toStrings(Napi::Value value, const char* what) {
  return toStringList(value, what);
}

std::optional<GroupId> toGroupId(Napi::Value value) {
  auto number = toNumber(value, "group", 0, kMaxSafeInteger, true);
  if (!number) return std::nullopt;
  return static_cast<GroupId>(*number);
}

std::optional<int> toSignal(Napi::Value value) {
  auto number = toNumber(value, "signal", 1, 64, true);
  if (!number) return std::nullopt;
  return static_cast<int>(*number);
}

std::optional<Target> toTarget(Napi::Value value) {
  auto target = toString(value, "target");
  if (!target) return std::nullopt;
  if (*target == "leader") return Target::Leader;
  if (*target == "group") return Target::Group;
  return typeError(value.Env(), "target must be leader or group");
}

std::optional<milliseconds> toMilliseconds(Napi::Value value, const char* what) {
  auto number = toNumber(value, what, 0, kMaxMs, false);
  if (!number) return std::nullopt;
  return milliseconds(static_cast<int64_t>(::ceil(*number)));
}

std::optional<StopRequest> toStopRequest(Napi::Value value) {
  auto object = toObject(value, "stop");
  if (!object) return std::nullopt;
  auto signal = toSignal(get(*object, "signal"));
  if (!signal) return std::nullopt;
  auto target = toTarget(get(*object, "target"));
  if (!target) return std::nullopt;
  auto grace = toMilliseconds(get(*object, "graceMs"), "stop.graceMs");
  if (!grace) return std::nullopt;
  auto killWait = toMilliseconds(get(*object, "killWaitMs"), "stop.killWaitMs");
  if (!killWait) return std::nullopt;
  return StopRequest{*signal, *target, *grace, *killWait};
}

std::optional<GroupPlan> toGroupPlan(Napi::Value value) {
  Napi::Env env = value.Env();
  auto object = toObject(value, "plan");
  if (!object) return std::nullopt;
  auto group = toGroupId(get(*object, "group"));
  if (!group) return std::nullopt;
  auto cookie = toString(get(*object, "cookie"), "plan.cookie");
  if (!cookie) return std::nullopt;
  auto tailBytes = toNumber(get(*object, "tailBytes"), "plan.tailBytes", 0, kMaxTailBytes, true);
  if (!tailBytes) return std::nullopt;
  auto drain = toMilliseconds(get(*object, "drainMs"), "plan.drainMs");
  if (!drain) return std::nullopt;
  const Napi::Value plans = get(*object, "plans");
  if (env.IsExceptionPending()) return std::nullopt;
  if (!plans.IsArray()) return typeError(env, "plan.plans must be an array");
  const Napi::Array list = plans.As<Napi::Array>();
  if (list.Length() > kMaxWorkers) return typeError(env, "plan.plans has too many workers");

  GroupPlan plan{*group, *std::move(cookie), {}, static_cast<size_t>(*tailBytes), *drain};
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::HandleScope scope(env);
    const Napi::Value item = list.Get(i);
    if (env.IsExceptionPending()) return std::nullopt;
    auto worker = toWorkerPlan(item, "plan.plans[" + std::to_string(i) + "]");
    if (!worker) return std::nullopt;
    plan.workers.push_back(*std::move(worker));
  }
  return plan;
}

Napi::Value toJs(Napi::Env env, std::vector<SupervisorEvent> events) {
  Napi::EscapableHandleScope scope(env);
  Napi::Array batch = Napi::Array::New(env, events.size());
  for (uint32_t i = 0; i < events.size(); i++) {
    Napi::HandleScope inner(env);
    Napi::Object object = Napi::Object::New(env);
    object.Set("group", Napi::Number::New(env, static_cast<double>(events[i].group)));
    object.Set("atMs", Napi::Number::New(env, toMs(events[i].at)));
    std::visit(EventWriter(env, object), events[i].what);
    batch.Set(i, object);
  }
  return scope.Escape(batch);
}

Napi::Value toJs(Napi::Env env, const Features& features) {
  Napi::Object object = Napi::Object::New(env);
  for (const FeatureName& feature : featureNames())
    object.Set(std::string(feature.name), Napi::Boolean::New(env, features.*feature.flag));
  return object;
}

}  // namespace regroup
