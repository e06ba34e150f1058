#include "addon/convert.h"

#include <algorithm>

#include "addon/convert_limits.h"
#include "addon/fields.h"
#include "addon/option_reader.h"

namespace regroup {

namespace {

/// Protects us from a plan that would take all memory.
constexpr double kMaxTailBytes = 64.0 * 1024 * 1024;
constexpr uint32_t kMaxWorkers = 65'536;
constexpr size_t kCommandBytes = 15;

constexpr Choice<Target> kTargets[] = {{"leader", Target::Leader}, {"group", Target::Group}};
constexpr Choice<bool> kInputs[] = {{"inherit", true}, {"null", false}};
constexpr Choice<StreamPlan::To> kStreams[] = {
    {"inherit", StreamPlan::To::Inherit},
    {"null", StreamPlan::To::Null},
    {"file", StreamPlan::To::File},
    {"pipe", StreamPlan::To::Pipe},
};

std::optional<StreamPlan> toStreamPlan(Napi::Value value, const std::string& what) {
  StreamPlan plan;
  OptionReader options(value, what);
  options.required("to", plan.to, oneOf(kStreams));
  if (plan.to == StreamPlan::To::File) options.required("path", plan.sinks.file, toString);
  if (plan.to == StreamPlan::To::Pipe) {
    options.optional("file", plan.sinks.file, toString);
    options.optional("prefix", plan.sinks.prefix, toString);
    options.optional("filteredFile", plan.sinks.filteredFile, toString);
    options.optional("console", plan.sinks.console, integerOf<int>(1, 2));
    options.optional("filters", plan.sinks.filters, toStrings);
  }
  if (!options.ok()) return std::nullopt;
  return plan;
}

std::optional<std::string> toMessage(Napi::Value value, const std::string& what) {
  // A DataView, too, is said to be one.
  if (!value.IsBuffer() || !value.IsTypedArray())
    return typeError(value.Env(), what + " must be a Buffer");
  const auto bytes = value.As<Napi::Buffer<char>>();
  return std::string(bytes.Data(), bytes.Length());
}

std::optional<WorkerPlan> toWorkerPlan(Napi::Value value, const std::string& what) {
  WorkerPlan plan;
  OptionReader options(value, what);
  options.required("file", plan.command.file, toString);
  options.required("argv", plan.command.argv, toStrings);
  if (plan.command.argv.empty()) options.refuse(".argv must not be empty");
  options.required("env", plan.command.env, toStrings);
  options.required("stdin", plan.inheritStdin, oneOf(kInputs));
  options.optional("cwd", plan.command.cwd, toString);
  options.optional("nofileSoft", plan.command.nofileSoft, integerOf<rlim_t>(3, kMaxSafeInteger));
  readLimits(options, plan.command);
  readUsageLimits(options, plan.usage);
  options.optional("standbyWords", plan.standbyWords, toMessage);
  options.required("stdout", plan.streams[0], toStreamPlan);
  options.required("stderr", plan.streams[1], toStreamPlan);
  if (!options.ok()) return std::nullopt;
  return plan;
}

std::optional<std::vector<WorkerPlan>> toWorkers(Napi::Value value, const std::string& what) {
  const auto list = toArray(value, what);
  if (!list) return std::nullopt;
  if (list->Length() > kMaxWorkers) return typeError(value.Env(), what + " has too many workers");
  return toList<WorkerPlan>(value, what, toWorkerPlan);
}

std::optional<TidyUp> toTidyUp(Napi::Value value, const std::string& what) {
  TidyUp tidyUp;
  OptionReader options(value, what);
  options.required("graceMs", tidyUp.grace, toMilliseconds);
  options.required("leaveDetached", tidyUp.leaveDetached, toBoolean);
  options.required("lingering", tidyUp.lingering, toStrings);
  options.required("devices", tidyUp.devices, toString);
  if (!options.ok()) return std::nullopt;
  // As /proc/PID/comm cuts them.
  for (std::string& command : tidyUp.lingering)
    command.resize(std::min(command.size(), kCommandBytes));
  return tidyUp;
}

}  // namespace

std::optional<GroupId> toGroupId(Napi::Value value, const std::string& what) {
  return toInteger<GroupId>(value, what, 0, kMaxSafeInteger);
}

std::optional<int> toSignal(Napi::Value value, const std::string& what) {
  return toInteger<int>(value, what, 1, 64);
}

std::optional<Target> toTarget(Napi::Value value, const std::string& what) {
  return toChoice(value, what, kTargets);
}

std::optional<StopRequest> toStopRequest(Napi::Value value, const std::string& what) {
  StopRequest stop{};
  OptionReader options(value, what);
  options.required("signal", stop.signal, toSignal);
  options.required("target", stop.target, toTarget);
  options.required("graceMs", stop.grace, toMilliseconds);
  options.required("killWaitMs", stop.killWait, toMilliseconds);
  if (!options.ok()) return std::nullopt;
  return stop;
}

std::optional<GroupPlan> toGroupPlan(Napi::Value value, const std::string& what) {
  GroupPlan plan{};
  OptionReader options(value, what);
  options.required("group", plan.group, toGroupId);
  options.required("cookie", plan.cookie, toString);
  options.required("tailBytes", plan.tailBytes, integerOf<size_t>(0, kMaxTailBytes));
  options.required("drainMs", plan.drain, toMilliseconds);
  options.required("tidyUp", plan.tidyUp, toTidyUp);
  options.required("plans", plan.workers, toWorkers);
  options.optional("parks", plan.parks, toBoolean);
  if (!options.ok()) return std::nullopt;
  return plan;
}

std::optional<std::vector<std::string>> toOrders(Napi::Value value, const std::string& what) {
  return toList<std::string>(value, what, toMessage);
}

}  // namespace regroup
