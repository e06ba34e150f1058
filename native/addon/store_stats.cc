#include "addon/store_stats.h"

#include <array>

namespace regroup {

namespace {

using store::TableStats;

/// { SET: 3, … }: those that aren't 0. `nameOf(i)`: of counts[i].
template <size_t kCount, typename NameOf>
Napi::Object countsToJs(Napi::Env env, const std::array<uint64_t, kCount>& counts, NameOf nameOf) {
  Napi::Object object = Napi::Object::New(env);
  for (size_t i = 0; i < kCount; i++) {
    if (counts[i] > 0)
      object.Set(nameOf(i), Napi::Number::New(env, static_cast<double>(counts[i])));
  }
  return object;
}

const char* operationName(size_t op) {
  return store::nameOf(static_cast<store::Op>(op));
}

const char* dialectName(size_t dialect) {
  constexpr const char* kNames[store::kDialectCount] = {"unknown", "headerless", "A", "B", "D"};
  return kNames[dialect];
}

Napi::Array hotKeysToJs(Napi::Env env, const TableStats& stats) {
  Napi::Array array = Napi::Array::New(env, stats.hotKeys.size());
  uint32_t count = 0;
  for (const store::HotKey& each : stats.hotKeys) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("key", Napi::String::New(env, each.key));
    object.Set("requests", Napi::Number::New(env, static_cast<double>(each.requests)));
    array.Set(count++, object);
  }
  return array;
}

}  // namespace

Napi::Value toJs(Napi::Env env, const std::vector<store::SlotView>& views) {
  Napi::Array array = Napi::Array::New(env, views.size());
  for (uint32_t i = 0; i < views.size(); i++) {
    const store::SlotView& view = views[i];
    Napi::Object object = Napi::Object::New(env);
    const auto set = [&](const char* name, double value) {
      object.Set(name, Napi::Number::New(env, value));
    };
    set("pid", view.pid);
    set("rank", view.rank);
    set("beats", static_cast<double>(view.beats));
    set("beatAtMs", static_cast<double>(view.beatNs) / 1e6);
    set("step", static_cast<double>(view.step));
    set("phase", view.phase);
    array.Set(i, object);
  }
  return array;
}

Napi::Value toJs(Napi::Env env, const TableStats& stats) {
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&](const char* name, uint64_t value) {
    object.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  set("clients", stats.clients);
  set("lanes", stats.lanes);
  set("keys", stats.keys);
  set("waiters", stats.waiters);
  set("bytes", stats.bytes);
  set("accepted", stats.accepted);
  set("refused", stats.refused);
  set("faults", stats.faults);
  set("bytesIn", stats.bytesIn);
  set("bytesOut", stats.bytesOut);
  set("highestStep", stats.highestStep);
  object.Set("operations", countsToJs(env, stats.requests, operationName));
  object.Set("dialects", countsToJs(env, stats.dialects, dialectName));
  object.Set("hotKeys", hotKeysToJs(env, stats));
  if (stats.slowest.took.count() > 0) {
    Napi::Object slowest = Napi::Object::New(env);
    slowest.Set("operation", store::nameOf(stats.slowest.op));
    slowest.Set("ns", Napi::Number::New(env, static_cast<double>(stats.slowest.took.count())));
    object.Set("slowest", slowest);
  }
  return object;
}

}  // namespace regroup
