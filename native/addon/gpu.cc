#include "addon/gpu.h"

#include <stdlib.h>

#include <functional>
#include <string>

#include "addon/fields.h"
#include "addon/methods.h"
#include "core/gpu/holders.h"
#include "core/gpu/nvml.h"

namespace regroup {

namespace {

const char* nameOf(NvmlTrouble::Why why) {
  switch (why) {
    case NvmlTrouble::Why::NoLibrary:
      return "no-library";
    case NvmlTrouble::Why::Refused:
      return "refused";
    case NvmlTrouble::Why::TimedOut:
      return "timed-out";
    case NvmlTrouble::Why::NoThread:
      return "no-thread";
  }
  return "";
}

Napi::Value toJs(Napi::Env env, const NvmlTrouble& trouble) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("why", Napi::String::New(env, nameOf(trouble.why)));
  object.Set("step", Napi::String::New(env, trouble.step));
  object.Set("code", Napi::Number::New(env, trouble.code));
  object.Set("text", Napi::String::New(env, trouble.text));
  return object;
}

Napi::Value toJs(Napi::Env env, const std::vector<NvmlProcess>& processes) {
  Napi::Array list = Napi::Array::New(env, processes.size());
  for (uint32_t i = 0; i < processes.size(); i++) {
    const NvmlProcess& process = processes[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("pid", Napi::Number::New(env, process.pid));
    object.Set("kind", Napi::String::New(env, process.graphics ? "graphics" : "compute"));
    if (process.usedBytes)
      object.Set("usedBytes", Napi::Number::New(env, static_cast<double>(*process.usedBytes)));
    list.Set(i, object);
  }
  return list;
}

Napi::Value toJs(Napi::Env env, const NvmlDevice& device) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("index", Napi::Number::New(env, device.index));
  object.Set("uuid", Napi::String::New(env, device.uuid));
  object.Set("pci", Napi::String::New(env, device.pci));
  if (device.minor) object.Set("minor", Napi::Number::New(env, *device.minor));
  Napi::Array instances = Napi::Array::New(env, device.instances.size());
  for (uint32_t i = 0; i < device.instances.size(); i++) {
    Napi::Object instance = Napi::Object::New(env);
    instance.Set("uuid", Napi::String::New(env, device.instances[i].uuid));
    instance.Set("processes", toJs(env, device.instances[i].processes));
    instances.Set(i, instance);
  }
  object.Set("instances", instances);
  object.Set("processes", toJs(env, device.processes));
  if (device.trouble) object.Set("trouble", toJs(env, *device.trouble));
  return object;
}

Napi::Value toJs(Napi::Env env, const NvmlReport& report) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array devices = Napi::Array::New(env, report.devices.size());
  for (uint32_t i = 0; i < report.devices.size(); i++) devices.Set(i, toJs(env, report.devices[i]));
  object.Set("devices", devices);
  if (report.trouble) object.Set("trouble", toJs(env, *report.trouble));
  return object;
}

Napi::Value toJs(Napi::Env env, const DeviceHolders& found) {
  Napi::Array holders = Napi::Array::New(env, found.holders.size());
  for (uint32_t i = 0; i < found.holders.size(); i++) {
    const DeviceHolder& holder = found.holders[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("pid", Napi::Number::New(env, holder.pid));
    Napi::Array devices = Napi::Array::New(env, holder.devices.size());
    for (uint32_t d = 0; d < holder.devices.size(); d++)
      devices.Set(d, Napi::String::New(env, holder.devices[d]));
    object.Set("devices", devices);
    holders.Set(i, object);
  }
  Napi::Array unread = Napi::Array::New(env, found.unread.size());
  for (uint32_t i = 0; i < found.unread.size(); i++)
    unread.Set(i, Napi::Number::New(env, found.unread[i]));
  Napi::Object object = Napi::Object::New(env);
  object.Set("holders", holders);
  object.Set("unread", unread);
  return object;
}

/// What's asked on one of Node's pool threads, which it holds for its own limit at most.
///
/// Owner: itself, until its promise is settled or the environment ends.
/// Thread: JS, but for Execute.
template <typename Answer>
class Question : public Napi::AsyncWorker {
 public:
  static Napi::Promise ask(Napi::Env env, const char* name, std::function<Answer()> question) {
    auto* asked = new Question(env, name, std::move(question));
    const Napi::Promise promise = asked->deferred_.Promise();
    asked->Queue();
    return promise;
  }

 protected:
  void Execute() override { answer_ = question_(); }
  void OnOK() override { deferred_.Resolve(toJs(Env(), answer_)); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Question(Napi::Env env, const char* name, std::function<Answer()> question)
      : Napi::AsyncWorker(env, name),
        deferred_(Napi::Promise::Deferred::New(env)),
        question_(std::move(question)) {}

  Napi::Promise::Deferred deferred_;
  std::function<Answer()> question_;
  Answer answer_;
};

/// gpus(timeoutMs): Promise<NativeGpus>
Napi::Value gpus(const Napi::CallbackInfo& info) {
  const auto limit = toMilliseconds(info[0], "timeoutMs");
  if (!limit) return {};  // toMilliseconds left the TypeError pending
  const char* given = ::getenv("REGROUP_NVML");
  const std::string library = given == nullptr ? kNvmlLibrary : given;
  return Question<NvmlReport>::ask(info.Env(), "regroup gpus",
                                   [library, limit = *limit] { return queryNvml(library, limit); });
}

/// deviceHolders(folder, timeoutMs): Promise<NativeDeviceHolders>
Napi::Value deviceHolders(const Napi::CallbackInfo& info) {
  auto folder = toString(info[0], "folder");
  if (!folder) return {};  // toString left the TypeError pending
  const auto limit = toMilliseconds(info[1], "timeoutMs");
  if (!limit) return {};
  return Question<DeviceHolders>::ask(
      info.Env(), "regroup device holders",
      [folder = *std::move(folder), limit = *limit] { return findDeviceHolders(folder, limit); });
}

}  // namespace

void initGpu(Napi::Object exports) {
  const Method<> functions[] = {
      {"gpus", gpus},
      {"deviceHolders", deviceHolders},
  };
  addMethods(exports, functions);
}

}  // namespace regroup
