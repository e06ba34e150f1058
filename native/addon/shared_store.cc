#include "addon/shared_store.h"

#include <errno.h>

#include <memory>
#include <string>

#include "addon/errors.h"
#include "addon/fields.h"
#include "addon/methods.h"
#include "core/shm/shm_client.h"

namespace regroup {

namespace {

/// How long a server may take to answer who connects; it does so in microseconds.
constexpr uint32_t kConnectMs = 5000;

struct Disconnect {
  void operator()(regroup_shm_client* client) const { ::regroup_shm_disconnect(client); }
};

/// Thread: JS.
struct SharedStore {
  std::unique_ptr<regroup_shm_client, Disconnect> client;
  std::string buffer;  // as large as the largest value so far
};

/// The C interface's answer, as an error of the system.
Error errorOf(int answer) {
  switch (answer) {
    case REGROUP_SHM_ESYSTEM:
      return {"connect", errno};
    case REGROUP_SHM_EUSER:
      return {"connect", EACCES};
    case REGROUP_SHM_ECLOSED:
      return {"connect", ECONNREFUSED};
    case REGROUP_SHM_TIMED_OUT:
      return {"connect", ETIMEDOUT};
    case REGROUP_SHM_EARGUMENT:
      return {"connect", EINVAL};
    default:
      return {"connect", EPROTO};
  }
}

/// get(key): Buffer | undefined | null. Undefined: there's no such key; null: ask the server.
Napi::Value getValue(SharedStore& store, const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto key = toString(info[0], "key");
  if (!key) return {};
  if (!store.client) return env.Null();
  const regroup_shm_reader* const reader = ::regroup_shm_client_reader(store.client.get());
  for (;;) {
    size_t bytes = 0;
    const int answer = ::regroup_shm_get(reader, key->data(), key->size(), store.buffer.data(),
                                         store.buffer.size(), &bytes);
    if (answer == REGROUP_SHM_OK) return Napi::Buffer<char>::Copy(env, store.buffer.data(), bytes);
    if (answer == REGROUP_SHM_NOT_FOUND) return env.Undefined();
    if (answer != REGROUP_SHM_TOO_SMALL) return env.Null();
    store.buffer.resize(bytes);
  }
}

Napi::Value notice(SharedStore& store, const Napi::CallbackInfo& info) {
  const uint32_t word =
      store.client ? ::regroup_shm_notice(::regroup_shm_client_reader(store.client.get())) : 0;
  return Napi::Number::New(info.Env(), word);
}

Napi::Value close(SharedStore& store, const Napi::CallbackInfo&) {
  store.client.reset();
  return {};
}

/// openSharedStore(name): NativeSharedStore
Napi::Value openSharedStore(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto name = toString(info[0], "name");
  if (!name) return {};
  regroup_shm_client* client = nullptr;
  const int answer = ::regroup_shm_connect(name->c_str(), kConnectMs, &client);
  if (answer != REGROUP_SHM_OK) {
    throwError(env, errorOf(answer));
    return {};
  }
  const auto store = std::make_shared<SharedStore>();
  store->client.reset(client);
  store->buffer.resize(4096);

  Napi::Object object = Napi::Object::New(env);
  const Method<SharedStore> methods[] = {
      {"get", getValue},
      {"notice", notice},
      {"close", close},
  };
  addMethods(object, store, methods);
  return object;
}

}  // namespace

void initSharedStore(Napi::Object exports) {
  const Method<> functions[] = {
      {"openSharedStore", openSharedStore},
  };
  addMethods(exports, functions);
}

}  // namespace regroup
