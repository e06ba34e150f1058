#include "addon/convert.h"

#include <math.h>

#include <algorithm>

#include "addon/convert_limits.h"
#include "addon/fields.h"

namespace regroup {

namespace {

using std::chrono::milliseconds;

/// Protects timers from overflow: 24 days, as JS's own.
constexpr double kMaxMs = 2147483647.0;
/// Protects us from a plan that would take all memory.
constexpr double kMaxTailBytes = 64.0 * 1024 * 1024;
constexpr uint32_t kMaxWorkers = 65'536;
constexpr size_t kCommandBytes = 15;

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
    auto list = toStrings(filters, what + ".filters");
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
  auto argv = toStrings(get(*object, "argv"), what + ".argv");
  if (!argv) return std::nullopt;
  if (argv->empty()) return typeError(value.Env(), what + ".argv must not be empty");
  auto env = toStrings(get(*object, "env"), what + ".env");
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
  if (!readLimits(*object, what, plan.command) || !readUsageLimits(*object, what, plan.usage))
    return std::nullopt;
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

std::optional<TidyUp> toTidyUp(Napi::Value value) {
  auto object = toObject(value, "plan.tidyUp");
  if (!object) return std::nullopt;
  auto grace = toMilliseconds(get(*object, "graceMs"), "plan.tidyUp.graceMs");
  if (!grace) return std::nullopt;
  const Napi::Value leave = get(*object, "leaveDetached");
  if (value.Env().IsExceptionPending()) return std::nullopt;
  if (!leave.IsBoolean())
    return typeError(value.Env(), "plan.tidyUp.leaveDetached must be a boolean");
  auto lingering = toStrings(get(*object, "lingering"), "plan.tidyUp.lingering");
  if (!lingering) return std::nullopt;
  auto devices = toString(get(*object, "devices"), "plan.tidyUp.devices");
  if (!devices) return std::nullopt;
  // As /proc/PID/comm cuts them.
  for (std::string& command : *lingering) command.resize(std::min(command.size(), kCommandBytes));
  return TidyUp{*grace, leave.As<Napi::Boolean>().Value(), *std::move(lingering),
                *std::move(devices)};
}

}  // namespace

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
  auto tidyUp = toTidyUp(get(*object, "tidyUp"));
  if (!tidyUp) return std::nullopt;
  const Napi::Value plans = get(*object, "plans");
  if (env.IsExceptionPending()) return std::nullopt;
  if (!plans.IsArray()) return typeError(env, "plan.plans must be an array");
  const Napi::Array list = plans.As<Napi::Array>();
  if (list.Length() > kMaxWorkers) return typeError(env, "plan.plans has too many workers");

  GroupPlan plan{*group, *std::move(cookie), {}, static_cast<size_t>(*tailBytes),
                 *drain, *std::move(tidyUp)};
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

}  // namespace regroup
