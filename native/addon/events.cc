#include "addon/events.h"

namespace regroup {

namespace {

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
    object_.Set("unbound", unbound(started));
  }

  void operator()(const StartFailed& failed) {
    name("start-failed");
    number("index", static_cast<double>(failed.index));
    text("step", rowOf(failed.step).name);
    error(failed.error);
    text("detail", failed.detail);
  }

  void operator()(const StartHangs& hangs) {
    name("start-hangs");
    number("index", static_cast<double>(hangs.index));
    text("step", rowOf(hangs.step).name);
    text("detail", hangs.detail);
    number("pid", hangs.pid);
  }

  void operator()(const Dying& dying) {
    name("dying");
    number("index", static_cast<double>(dying.index));
    number("pid", dying.pid);
    exit(dying.status);
  }

  void operator()(const Exited& exited) {
    name("exited");
    number("index", static_cast<double>(exited.index));
    number("pid", exited.pid);
    exit(exited.status);
    if (exited.usage) usage(*exited.usage);
  }

  void operator()(const StandbySaid& said) {
    name("standby-said");
    number("index", static_cast<double>(said.index));
    object_.Set("message",
                Napi::Buffer<char>::Copy(env_, said.message.data(), said.message.size()));
  }

  void operator()(const NotTaken&) { name("not-taken"); }

  void operator()(const Ended& ended) {
    name("ended");
    Napi::Array stuck = Napi::Array::New(env_, ended.stuck.size());
    for (uint32_t i = 0; i < ended.stuck.size(); i++) {
      EventWriter item(env_, Napi::Object::New(env_));
      item.number("index", static_cast<double>(ended.stuck[i].index));
      item.number("pid", ended.stuck[i].pid);
      item.text("state", std::string(1, ended.stuck[i].state));
      stuck.Set(i, item.object_);
    }
    object_.Set("stuck", stuck);
    object_.Set("strays", processes(ended.strays));
    object_.Set("left", processes(ended.left));
    object_.Set("tails", tails(ended));
  }

  void operator()(const OutputFailed& failed) {
    name("output-trouble");
    number("index", static_cast<double>(failed.index));
    text("path", failed.path);
    error(failed.error);
    number("droppedLines", static_cast<double>(failed.droppedLines));
  }

  void operator()(const Unguarded& unguarded) {
    name("unguarded");
    error(unguarded.error);
  }

  void operator()(const Fenced&) { name("fenced"); }

  void operator()(const Ungrouped& ungrouped) {
    name("ungrouped");
    text("path", ungrouped.path);
    error(ungrouped.error);
  }

 private:
  void name(const char* event) { text("event", event); }
  void text(const char* key, const std::string& value) {
    object_.Set(key, Napi::String::New(env_, value));
  }
  void number(const char* key, double value) { object_.Set(key, Napi::Number::New(env_, value)); }
  void exit(const ExitStatus& status) {
    EventWriter exit(env_, Napi::Object::New(env_));
    switch (status.how) {
      case ExitStatus::How::Exited:
        exit.text("how", "exited");
        exit.number("code", status.code);
        break;
      case ExitStatus::How::Signaled:
        exit.text("how", "signaled");
        exit.number("signal", status.code);
        exit.object_.Set("coreDumped", Napi::Boolean::New(env_, status.coreDumped));
        break;
      case ExitStatus::How::Unknown:
        exit.text("how", "unknown");
        break;
    }
    object_.Set("exit", exit.object_);
  }
  void usage(const Usage& usage) {
    EventWriter item(env_, Napi::Object::New(env_));
    item.number("oomKills", static_cast<double>(usage.oomKills));
    item.number("pidsRefused", static_cast<double>(usage.pidsRefused));
    if (usage.peakBytes) item.number("peakBytes", static_cast<double>(*usage.peakBytes));
    if (usage.pressure) item.number("pressure", *usage.pressure);
    object_.Set("usage", item.object_);
  }
  void error(const Error& error) {
    text("syscall", error.op);
    number("errno", error.code);
  }

  Napi::Array processes(const std::vector<NamedProcess>& list) {
    Napi::Array array = Napi::Array::New(env_, list.size());
    for (uint32_t i = 0; i < list.size(); i++) {
      EventWriter item(env_, Napi::Object::New(env_));
      item.number("pid", list[i].pid);
      item.text("command", list[i].command);
      array.Set(i, item.object_);
    }
    return array;
  }

  Napi::Array unbound(const Started& started) {
    Napi::Array list = Napi::Array::New(env_, started.unbound.size());
    uint32_t count = 0;
    for (const Unbound& each : started.unbound) {
      EventWriter item(env_, Napi::Object::New(env_));
      item.number("index", static_cast<double>(each.index));
      item.text("step", rowOf(each.step).name);
      item.error(each.error);
      list.Set(count++, item.object_);
    }
    return list;
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

Napi::Value toJs(Napi::Env env, std::vector<SupervisorEvent> events) {
  Napi::EscapableHandleScope scope(env);
  Napi::Array batch = Napi::Array::New(env, events.size());
  for (uint32_t i = 0; i < events.size(); i++) {
    Napi::HandleScope inner(env);
    Napi::Object object = Napi::Object::New(env);
    if (!std::holds_alternative<Fenced>(events[i].what))
      object.Set("group", Napi::Number::New(env, static_cast<double>(events[i].group)));
    object.Set("atMs", Napi::Number::New(env, toMs(events[i].at)));
    std::visit(EventWriter(env, object), events[i].what);
    batch.Set(i, object);
  }
  return scope.Escape(batch);
}

Expects endOf(const SupervisorEvent& event) {
  if (std::holds_alternative<StartHangs>(event.what)) return Expects::NoMore;
  const bool isLast =
      std::holds_alternative<Ended>(event.what) || std::holds_alternative<StartFailed>(event.what);
  return isLast ? Expects::OneLess : Expects::AsMany;
}

Napi::Value toJs(Napi::Env env, const Features& features) {
  Napi::Object object = Napi::Object::New(env);
  for (const FeatureName& feature : featureNames())
    object.Set(std::string(feature.name), Napi::Boolean::New(env, features.*feature.flag));
  return object;
}

}  // namespace regroup
