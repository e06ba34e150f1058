#include "addon/store.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "addon/errors.h"
#include "addon/events.h"
#include "addon/fields.h"
#include "addon/methods.h"
#include "addon/option_reader.h"
#include "addon/store_stats.h"
#include "core/coordination/service.h"
#include "core/store/bind.h"
#include "core/store/proc_sockets.h"
#include "core/store/server.h"

namespace regroup {

namespace {

using store::StoreServer;

/// What the server says, on its way to JS. It says little in a second, so the queue is short.
///
/// Invariant: nobody calls the function once it's released; the server's thread may have something
/// to say until the end.
/// Thread: any.
class Reports {
 public:
  struct Line {
    std::string line;
  };
  struct Refused {
    pid_t pid;
    std::string address;
  };
  struct Used {
    uint32_t table;
    TimePoint at;
  };
  using Report = std::variant<Line, Refused, Used>;

  /// Null with a JS error pending.
  static std::shared_ptr<Reports> create(Napi::Env env, Napi::Function onReport) {
    auto reports = std::make_shared<Reports>();
    if (napi_create_threadsafe_function(env, onReport, nullptr,
                                        Napi::String::New(env, "regroup store"), 0, 1, nullptr,
                                        nullptr, nullptr, call, &reports->function_) != napi_ok) {
      Napi::Error::New(env, "napi_create_threadsafe_function failed").ThrowAsJavaScriptException();
      return nullptr;
    }
    (void)napi_unref_threadsafe_function(env, reports->function_);
    return reports;
  }

  void tell(Report report) {
    const std::lock_guard lock(functionMutex_);
    if (function_ == nullptr) return;
    auto owned = std::make_unique<Report>(std::move(report));
    if (napi_call_threadsafe_function(function_, owned.get(), napi_tsfn_nonblocking) == napi_ok)
      (void)owned.release();
  }

  void close() {
    const std::lock_guard lock(functionMutex_);
    if (function_) (void)napi_release_threadsafe_function(function_, napi_tsfn_abort);
    function_ = nullptr;
  }

 private:
  static void call(napi_env env, napi_value onReport, void*, void* data) {
    const std::unique_ptr<Report> report(static_cast<Report*>(data));
    if (env == nullptr) return;
    const napi_value object = toJs(env, *report);
    napi_value result;
    (void)napi_call_function(env, Napi::Env(env).Undefined(), onReport, 1, &object, &result);
    napi_value error;
    if (Napi::Env(env).IsExceptionPending() &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok)
      (void)napi_fatal_exception(env, error);
  }

  static Napi::Object toJs(Napi::Env env, const Report& report) {
    Napi::Object object = Napi::Object::New(env);
    if (const auto* line = std::get_if<Line>(&report)) {
      object.Set("report", "line");
      object.Set("line", Napi::String::New(env, line->line));
    } else if (const auto* refused = std::get_if<Refused>(&report)) {
      object.Set("report", "refused");
      object.Set("pid", Napi::Number::New(env, refused->pid));
      object.Set("address", Napi::String::New(env, refused->address));
    } else if (const auto* used = std::get_if<Used>(&report)) {
      object.Set("report", "used");
      object.Set("table", Napi::Number::New(env, used->table));
      object.Set("atMs", Napi::Number::New(env, toMs(used->at)));
    }
    return object;
  }

  std::mutex functionMutex_;
  napi_threadsafe_function function_ = nullptr;
};

/// The server, and the hook that ends its thread with the environment. The hook holds a share,
/// so that the garbage collector can't end a store whose port is in use: close() does.
///
/// Thread: JS.
class Store {
 public:
  static std::shared_ptr<Store> create(Napi::Env env, store::ServerOptions options,
                                       Napi::Function onReport) {
    auto reports = Reports::create(env, onReport);
    if (!reports) return nullptr;
    options.onLog = [reports](std::string_view line) {
      reports->tell(Reports::Line{std::string(line)});
    };
    options.onRefused = [reports](pid_t pid, std::string_view address) {
      reports->tell(Reports::Refused{pid, std::string(address)});
    };
    options.onFirstUse = [reports](uint32_t table, TimePoint at) {
      reports->tell(Reports::Used{table, at});
    };
    auto server = StoreServer::create(std::move(options));
    if (!server) {
      reports->close();
      throwError(env, server.error());
      return nullptr;
    }
    auto store = std::make_shared<Store>();
    store->env_ = env;
    store->server_ = *std::move(server);
    store->reports_ = std::move(reports);
    store->self_ = store;
    // After the function's own hook, and so run before it: the thread stops first.
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
    reports_->close();
  }

  napi_env env_ = nullptr;
  std::shared_ptr<Reports> reports_;
  std::unique_ptr<StoreServer> server_;
  std::shared_ptr<Store> self_;  // until the end
};

/// A table's number, as openTable gave it.
std::optional<uint32_t> toTable(Napi::Value value) {
  return toInteger<uint32_t>(value, "table", 0, UINT32_MAX);
}

std::optional<uint16_t> toPort(Napi::Value value, const std::string& what) {
  return toInteger<uint16_t>(value, what, 0, UINT16_MAX);
}

Napi::Value addressToJs(Napi::Env env, Result<store::TableAddress> address) {
  if (!address) {
    throwError(env, address.error());
    return {};
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("table", Napi::Number::New(env, address->table));
  object.Set("port", Napi::Number::New(env, address->port));
  if (!address->host.empty()) object.Set("host", Napi::String::New(env, address->host));
  if (!address->local.empty()) object.Set("local", Napi::String::New(env, address->local));
  return object;
}

/// openTable({ hosts | fd, port, coordination?, token?, exclusive? }):
/// { table, port, host?, local? }.
/// Waits for the store's thread for a second at most.
Napi::Value openTable(Store& store, const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::optional<int> fd;
  std::vector<std::string> hosts;
  uint16_t port = 0;
  bool coordination = false;
  coordination::Service::Options service;
  OptionReader options(info[0], "options");
  options.optional("fd", fd, integerOf<int>(0, INT32_MAX));
  if (!fd) options.required("hosts", hosts, toStrings);
  options.required("port", port, toPort);
  options.optional("coordination", coordination, toBoolean);
  options.optional("token", service.token, toString);
  options.optional("exclusive", service.exclusive, toBoolean);
  if (!options.ok()) return {};

  std::vector<store::ProtocolFactory> protocols;
  if (coordination) protocols.push_back(coordination::serviceFactory(std::move(service)));
  return addressToJs(env, fd ? store.server().adoptTable(*fd, port, std::move(protocols))
                             : store.server().openTable(hosts, port, std::move(protocols)));
}

/// borrowPort(lender): { table, port, local? }. Waits as openTable does.
Napi::Value borrowPort(Store& store, const Napi::CallbackInfo& info) {
  const auto lender = toTable(info[0]);
  if (!lender) return {};
  return addressToJs(info.Env(), store.server().borrowPort(*lender));
}

/// slots(table): NativeStoreSlot[]
Napi::Value slots(Store& store, const Napi::CallbackInfo& info) {
  const auto table = toTable(info[0]);
  if (!table) return {};
  return toJs(info.Env(), store.server().slots(*table));
}

/// setNotice(table, notice)
Napi::Value setNotice(Store& store, const Napi::CallbackInfo& info) {
  const auto table = toTable(info[0]);
  if (!table) return {};
  if (const auto notice = toInteger<uint32_t>(info[1], "notice", 0, UINT32_MAX))
    store.server().setNotice(*table, *notice);
  return {};
}

/// watchRefusals(pids)
Napi::Value watchRefusals(Store& store, const Napi::CallbackInfo& info) {
  const auto pids = toNumbers(info[0], "pids", INT32_MAX);
  if (pids) store.server().watchRefusals({pids->begin(), pids->end()});
  return {};
}

/// freePort({ hosts, port }): number. A port that nobody listens at, and we neither.
Napi::Value freePort(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::vector<std::string> hosts;
  uint16_t wanted = 0;
  OptionReader options(info[0], "options");
  options.required("hosts", hosts, toStrings);
  options.required("port", wanted, toPort);
  if (!options.ok()) return {};
  auto port = store::freePort(hosts, wanted);
  if (!port) {
    throwError(env, port.error());
    return {};
  }
  return Napi::Number::New(env, *port);
}

/// portHolder(port, timeoutMs): { pid, command } | undefined
Napi::Value portHolder(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto port = toPort(info[0], "port");
  if (!port) return {};
  const auto limitMs = toInteger<int64_t>(info[1], "timeoutMs", 0, INT32_MAX);
  if (!limitMs) return {};
  const auto holder = store::findPortHolder(*port, std::chrono::milliseconds(*limitMs));
  if (!holder) return env.Undefined();
  Napi::Object object = Napi::Object::New(env);
  object.Set("pid", Napi::Number::New(env, holder->pid));
  object.Set("command", Napi::String::New(env, holder->command));
  return object;
}

/// stats(table): NativeStoreStats
Napi::Value stats(Store& store, const Napi::CallbackInfo& info) {
  const auto table = toTable(info[0]);
  if (!table) return {};
  return toJs(info.Env(), store.server().stats(*table));
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

/// createStore({ disable, sharedMemory, keptDescriptors }, onReport): NativeStore
Napi::Value createStore(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::vector<std::string> disable;
  store::ServerOptions server;
  OptionReader options(info[0], "options");
  options.required("disable", disable, toStrings);
  options.required("sharedMemory", server.sharedMemory.offered, toBoolean);
  options.required("keptDescriptors", server.keptDescriptors, integerOf<size_t>(0, INT32_MAX));
  if (!options.ok()) return {};
  const auto onReport = toFunction(info[1], "onReport");
  if (!onReport) return {};
  server.sharedMemory.sealFutureWrite =
      std::find(disable.begin(), disable.end(), "seal-future-write") == disable.end();
  const auto store = Store::create(env, std::move(server), *onReport);
  if (!store) return {};

  Napi::Object object = Napi::Object::New(env);
  const Method<Store> methods[] = {
      {"openTable", openTable},   {"borrowPort", borrowPort},
      {"resetTable", resetTable}, {"closeTable", closeTable},
      {"stats", stats},           {"slots", slots},
      {"setNotice", setNotice},   {"watchRefusals", watchRefusals},
      {"close", close},
  };
  addMethods(object, store, methods);
  return object;
}

}  // namespace

void initStore(Napi::Object exports) {
  const Method<> functions[] = {
      {"createStore", createStore},
      {"portHolder", portHolder},
      {"freePort", freePort},
  };
  addMethods(exports, functions);
}

}  // namespace regroup
