#pragma once

#include <errno.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/shm/shm_client.h"
#include "core/store/server.h"
#include "test/native/shm_harness.h"

/// A server that offers shared memory, and clients of it.
namespace lane_harness {

using namespace regroup;
using namespace regroup::store;
using shm_harness::Child;
using shm_harness::Got;
using shm_harness::kLongMs;
using shm_harness::kSanitized;

struct World {
  explicit World(ServerOptions options = {}) {
    options.sharedMemory.offered = true;
    options.onLog = [this](std::string_view line) {
      const std::lock_guard lock(mutex);
      log += std::string(line) + "\n";
      errno = EAGAIN;  // whoever logs may leave anything there
    };
    auto created = StoreServer::create(std::move(options));
    if (!created) return;
    server = *std::move(created);
    const std::string hosts[] = {"127.0.0.1"};
    auto opened = server->openTable(hosts, 0);
    if (opened) address = *opened;
  }
  ~World() { server.reset(); }  // it logs until then

  bool ok() const { return server && !address.local.empty(); }
  TableStats stats() { return server->stats(address.table); }
  std::string logged() {
    const std::lock_guard lock(mutex);
    return log;
  }

  std::mutex mutex;
  std::string log;
  std::unique_ptr<StoreServer> server;
  TableAddress address{};
};

class LaneClient {
 public:
  explicit LaneClient(const std::string& name) {
    answer = ::regroup_shm_connect(name.c_str(), kLongMs, &client);
    error = errno;
  }
  explicit LaneClient(const World& world) : LaneClient(world.address.local) {}
  ~LaneClient() { ::regroup_shm_disconnect(client); }
  LaneClient(const LaneClient&) = delete;

  const regroup_shm_reader* reader() const { return ::regroup_shm_client_reader(client); }

  int set(std::string_view key, std::string_view value, uint32_t ms = kLongMs) {
    return ::regroup_shm_set(client, key.data(), key.size(), value.data(), value.size(), ms);
  }
  int64_t add(std::string_view key, int64_t delta) {
    int64_t sum = -1;
    answer = ::regroup_shm_add(client, key.data(), key.size(), delta, &sum, kLongMs);
    return sum;
  }
  Got get(std::string_view key, uint32_t ms = kLongMs, size_t capacity = 64 << 10) {
    if (buffer.size() < capacity) buffer.resize(capacity);
    size_t bytes = 0;
    const int got = ::regroup_shm_client_get(client, key.data(), key.size(), buffer.data(),
                                             capacity, &bytes, ms);
    return {got, got == REGROUP_SHM_OK ? std::string(buffer.data(), bytes) : "", bytes};
  }
  int write(std::string_view bytes, size_t* written = nullptr, uint32_t ms = kLongMs) {
    size_t done = 0;
    const int got = ::regroup_shm_write(client, bytes.data(), bytes.size(), &done, ms);
    if (written) *written = done;
    return got;
  }
  int request(const Request& request) {
    std::string out;
    appendRequest(out, Dialect::D, request);
    return write(out);
  }
  /// As many bytes as came.
  std::string read(size_t bytes, uint32_t ms = kLongMs) {
    std::string out(bytes, '\0');
    size_t done = 0;
    answer = ::regroup_shm_read(client, out.data(), bytes, &done, ms);
    out.resize(done);
    return out;
  }
  std::string readString() {
    const std::string header = read(8);
    uint64_t size = 0;
    if (header.size() == 8) ::memcpy(&size, header.data(), 8);
    return read(size);
  }

  regroup_shm_client* client = nullptr;
  int answer = 0;
  int error = 0;
  std::string buffer;
};

}  // namespace lane_harness
