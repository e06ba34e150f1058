#include "addon/store.h"

#include <cmath>
#include <memory>
#include <optional>
#include <string>

#include "addon/errors.h"
#include "addon/fields.h"
#include "core/store/server.h"

namespace regroup {

namespace {

using store::StoreServer;
using store::TableStats;

/// The server, and the hook that ends its thread with the environment. The hook holds a share,
/// so that the garbage collector can't end a store whose port is in use: close() does.
///
/// Thread: JS.
class Store {
 public:
  static std::shared_ptr<Store> create(Napi::Env env) {
    auto server = StoreServer::create();
    if (!server) {
      throwError(env, server.error());
      return nullptr;
    }
    auto store = std::make_shared<Store>();
    store->env_ = env;
    store->server_ = *std::move(server);
    store->self_ = store;
    (void)napi_add_env_cleanup_hook(env, onEnvironmentEnd, store.get());
    return store;
  }

  StoreServer& server() { return *server_; }

  void close() {
    if (!self_) return;
    (void)napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
    end();
  }

 private:
  static void onEnvironmentEnd(void* store) { static_cast<Store*>(store)->end(); }

  void end() {
    const auto keep = std::move(self_);
    server_->close();
  }

  napi_env env_ = nullptr;
  std::unique_ptr<StoreServer> server_;
  std::shared_ptr<Store> self_;  // until the end
};

/// A whole number from 0 to `most`.
std::optional<uint32_t> toWhole(Napi::Value value, uint32_t most, const char* what) {
  if (!value.IsNumber()) return typeError(value.Env(), what);
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= most) || number != std::floor(number))
    return typeError(value.Env(), what);
  return static_cast<uint32_t>(number);
}

std::optional<uint32_t> toTable(Napi::Value value) {
  return toWhole(value, UINT32_MAX, "table must be a number that openTable gave");
}

/// openTable({ hosts, port }): { table, port }
Napi::Value openTable(Store& store, const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsObject()) {
    (void)typeError(env, "options must be an object");
    return {};
  }
  const auto options = info[0].As<Napi::Object>();
  const Napi::Value hostList = options.Get("hosts");
  if (env.IsExceptionPending()) return {};
  const auto hosts = toStrings(hostList, "options.hosts");
  if (!hosts) return {};
  const Napi::Value portNumber = options.Get("port");
  if (env.IsExceptionPending()) return {};
  const auto port = toWhole(portNumber, UINT16_MAX, "options.port must be from 0 to 65535");
  if (!port) return {};

  auto address = store.server().openTable(*hosts, static_cast<uint16_t>(*port));
  if (!address) {
    throwError(env, address.error());
    return {};
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("table", Napi::Number::New(env, address->table));
  object.Set("port", Napi::Number::New(env, address->port));
  return object;
}

/// { SET: 3, … }: those that there were.
Napi::Object operationsToJs(Napi::Env env, const TableStats& stats) {
  Napi::Object object = Napi::Object::New(env);
  for (size_t op = 0; op < stats.requests.size(); op++) {
    if (stats.requests[op] > 0)
      object.Set(store::nameOf(static_cast<store::Op>(op)),
                 Napi::Number::New(env, static_cast<double>(stats.requests[op])));
  }
  return object;
}

/// stats(table): NativeStoreStats
Napi::Value stats(Store& store, const Napi::CallbackInfo& info) {
  const auto table = toTable(info[0]);
  if (!table) return {};
  const TableStats stats = store.server().stats(*table);
  Napi::Env env = info.Env();
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&](const char* name, uint64_t value) {
    object.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  set("clients", stats.clients);
  set("keys", stats.keys);
  set("waiters", stats.waiters);
  set("bytes", stats.bytes);
  set("accepted", stats.accepted);
  set("refused", stats.refused);
  set("faults", stats.faults);
  set("bytesIn", stats.bytesIn);
  set("bytesOut", stats.bytesOut);
  object.Set("operations", operationsToJs(env, stats));
  if (stats.slowest.took.count() > 0) {
    Napi::Object slowest = Napi::Object::New(env);
    slowest.Set("operation", store::nameOf(stats.slowest.op));
    slowest.Set("ns", Napi::Number::New(env, static_cast<double>(stats.slowest.took.count())));
    object.Set("slowest", slowest);
  }
  return object;
}

Napi::Value resetTable(Store& store, const Napi::CallbackInfo& info) {
  if (const auto table = toTable(info[0])) store.server().resetTable(*table);
  return {};
}

Napi::Value closeTable(Store& store, const Napi::CallbackInfo& info) {
  if (const auto table = toTable(info[0])) store.server().closeTable(*table);
  return {};
}

Napi::Value close(Store& store, const Napi::CallbackInfo&) {
  store.close();
  return {};
}

/// createStore(): NativeStore
Napi::Value createStore(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto store = Store::create(env);
  if (!store) return {};

  Napi::Object object = Napi::Object::New(env);
  const auto method = [&](const char* name,
                          Napi::Value (*body)(Store&, const Napi::CallbackInfo&)) {
    object.Set(
        name, Napi::Function::New(
                  env, [store, body](const Napi::CallbackInfo& call) { return body(*store, call); },
                  name));
  };
  method("openTable", openTable);
  method("resetTable", resetTable);
  method("closeTable", closeTable);
  method("stats", stats);
  method("close", close);
  return object;
}

}  // namespace

void initStore(Napi::Env env, Napi::Object exports) {
  exports.Set("createStore", Napi::Function::New(env, createStore, "createStore"));
}

}  // namespace regroup
