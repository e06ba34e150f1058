#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/store/table.h"

/// A table, and clients that have no connection.
namespace table_harness {

using namespace regroup::store;

/// A table, and clients by number. Each call gives what it made everybody receive, as text:
/// replies as hex or quoted text, `close` for a refusal.
class World {
 public:
  explicit World(const TableLimits& limits = {}) : table(limits, counts) {}

  /// One step of a request.
  Table::Outcome step(int client, const Request& request, Reply& reply) {
    return table.apply(at(client), request, reply);
  }

  /// What the caller got, once it's done; whom that released goes to `releases`.
  std::string apply(int client, const Request& request) {
    Reply reply;
    for (steps = 1;; steps++) {
      const auto outcome = step(client, request, reply);
      if (std::holds_alternative<Table::More>(outcome)) continue;
      const auto* refusal = std::get_if<Refusal>(&outcome);
      lastRefusal = refusal ? refusal->describe() : "";
      release();
      return refusal ? "close" : reply.flat();
    }
  }

  void release() {
    for (bool more = true; more;) {
      more = table.advance(1000);
      for (Table::Client* released : table.released()) releases += numberOf(released) + " ";
    }
  }

  std::string set(int client, std::string_view key, std::string_view value) {
    return apply(client, {.op = Op::Set, .key = key, .value = value});
  }
  std::string get(int client, std::string_view key) {
    return apply(client, {.op = Op::Get, .key = key});
  }
  std::string add(int client, std::string_view key, int64_t delta) {
    return apply(client, {.op = Op::Add, .number = delta, .key = key});
  }
  std::string compareSet(int client, std::string_view key, std::string_view expected,
                         std::string_view desired) {
    return apply(client,
                 {.op = Op::CompareSet, .key = key, .value = desired, .expected = expected});
  }
  std::string list(Op op, int client, std::initializer_list<std::string_view> strings) {
    std::string bytes;
    for (const std::string_view string : strings) appendString(bytes, string);
    return apply(client, {.op = op, .list = {bytes, strings.size()}});
  }
  std::string check(int client, std::initializer_list<std::string_view> keys) {
    return list(Op::Check, client, keys);
  }
  std::string wait(int client, std::initializer_list<std::string_view> keys) {
    return list(Op::Wait, client, keys);
  }
  std::string remove(int client, std::string_view key) {
    return apply(client, {.op = Op::DeleteKey, .key = key});
  }
  std::string append(int client, std::string_view key, std::string_view value) {
    return apply(client, {.op = Op::Append, .key = key, .value = value});
  }
  std::string push(int client, std::string_view key, std::string_view value) {
    return apply(client, {.op = Op::QueuePush, .key = key, .value = value});
  }
  std::string pop(int client, std::string_view key) {
    return apply(client, {.op = Op::QueuePop, .key = key});
  }
  std::string queueLen(int client, std::string_view key) {
    return apply(client, {.op = Op::QueueLen, .key = key});
  }
  std::string barrier(int client, std::string_view key, int64_t worldSize) {
    return apply(client, {.op = Op::Barrier, .number = worldSize, .key = key});
  }
  std::string cancel(int client) { return apply(client, {.op = Op::CancelWait}); }
  std::string numKeys(int client) { return apply(client, {.op = Op::GetNumKeys}); }

  /// The clients released since the last call, in order: "1 2 ".
  std::string released() { return std::exchange(releases, ""); }

  void disconnect(int client) {
    table.leave(at(client));
    clients[static_cast<size_t>(client)].reset();
  }

  Table::Client& at(int client) {
    while (clients.size() <= static_cast<size_t>(client)) clients.push_back(nullptr);
    auto& slot = clients[static_cast<size_t>(client)];
    if (!slot) slot = std::make_unique<Table::Client>();
    return *slot;
  }

  TableCounts counts;
  Table table;
  std::string lastRefusal;
  int steps = 0;  // of the last request

 private:
  std::string numberOf(Table::Client* client) {
    for (size_t i = 0; i < clients.size(); i++) {
      if (clients[i].get() == client) return std::to_string(i);
    }
    return "?";
  }

  std::vector<std::unique_ptr<Table::Client>> clients;
  std::string releases;
};

inline std::string i64(int64_t value) {
  std::string out;
  appendI64(out, value);
  return out;
}

inline std::string vec(std::string_view value) {
  std::string out;
  appendString(out, value);
  return out;
}

inline const std::string kOk(1, '\0');
inline const std::string kNotReady(1, '\1');
inline const std::string kCancelled(1, '\1');
inline const std::string kNothing;

}  // namespace table_harness
