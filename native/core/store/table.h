#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/store/hot_keys.h"
#include "core/store/protocol.h"

namespace regroup::store {

/// What a table may hold. They protect the host of the agent from its workers.
struct TableLimits {
  /// Keys, values, queues and waiters, with an estimate of what they cost beside their bytes.
  uint64_t bytes = 1ull << 30;
  uint64_t keys = 16 << 20;
  /// A short request can ask for much: MULTI_GET of one large value, a thousand times.
  uint64_t replyBytes = 256 << 20;
};

/// The client's request can't be served; close the client. Nothing was changed.
struct Refusal {
  const char* reason;
  uint64_t value = 0;
  uint64_t limit = 0;  // 0: no limit was broken

  std::string describe() const;
};

struct KeyHash {
  using is_transparent = void;  // lookups by view, without a copy
  size_t operator()(std::string_view key) const { return std::hash<std::string_view>()(key); }
};

/// Told of each change to what a table's keys are, as it's made.
class TableObserver {
 public:
  virtual void changed(std::string_view key, std::string_view value) = 0;
  /// The value got longer by an APPEND; `value` is the whole.
  virtual void grew(std::string_view key, std::string_view value) = 0;
  virtual void removed(std::string_view key) = 0;
  /// It exists by its queue only.
  virtual void queued(std::string_view key) = 0;

 protected:
  ~TableObserver() = default;
};

/// Keys, queues, barriers, and who waits for them. Pure: requests in, replies out.
///
/// Where stock's two servers differ, this follows the libuv one, but for its bugs
/// (spec/tcpstore.md §4.3, §5.3): a waiter is released only when all its keys exist at that
/// moment, and leaves every list then; a MULTI_SET is applied whole; a failing COMPARE_SET wakes
/// nobody.
///
/// Owner: the store server. Thread: store.
class Table {
  struct Slot;
  using Slots = std::unordered_map<std::string, Slot, KeyHash, std::equal_to<>>;
  using Entry = std::pair<const std::string, Slot>;

 public:
  class Client;

  /// One client's place in the list of one key.
  ///
  /// Invariant: linked into `entry`'s list exactly while the client waits.
  struct Waiter {
    Client* client;
    Entry* entry;
    Waiter* before;
    Waiter* after;
    bool atBarrier;  // released by any write; the others once all their keys exist
  };

  /// A connection, as the table sees it. Forget it before it goes.
  class Client {
   public:
    Client() = default;
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    bool waiting() const { return !waiters_.empty(); }

   private:
    friend class Table;
    std::vector<Waiter> waiters_;  // one for each key that it waits for
    uint64_t missing_ = 0;         // those of them that don't exist
  };

  explicit Table(const TableLimits& limits = {}) : limits_(limits) {}
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  /// Appends the client's reply, if there's one, to `reply`. A waiting client's pending wait is
  /// cancelled first: 1.13 gives up waiting without a word (§4.4).
  [[nodiscard]] std::optional<Refusal> apply(Client& client, const Request& request,
                                             std::string& reply);

  /// Whom the last apply() released, the longest-waiting first; each is owed one kStatusOk.
  std::span<Client* const> released() const { return released_; }

  /// The client is gone, or waits no more. What it counted at barriers stays counted.
  void forget(Client& client);

  /// Drops everything, the observer too. No client may wait.
  void clear();

  /// Tells `observer` of all that's there, and of every change from now on, until clear().
  void observe(TableObserver& observer);

  std::optional<std::string_view> find(std::string_view key) const;
  uint64_t keys() const { return keys_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t waiters() const { return waiting_; }
  /// How often each operation was applied.
  const std::array<uint64_t, kOpCount>& requests() const { return requests_; }
  const HotKeys& hotKeys() const { return hotKeys_; }

 private:
  /// A name: a key, a queue, both, or only something that's waited for.
  ///
  /// Invariant: at least one of these; an empty slot is erased.
  struct Slot {
    std::optional<std::string> value;
    std::unique_ptr<std::deque<std::string>> queue;  // not empty, if there
    Waiter* first = nullptr;
    Waiter* last = nullptr;

    bool exists() const { return value.has_value() || queue; }
  };

  using Outcome = std::optional<Refusal>;

  // table.cc: keys, and room for them.
  Outcome set(const Request& request);
  Outcome compareSet(const Request& request, std::string& reply);
  Outcome add(const Request& request, std::string& reply);
  Outcome append(const Request& request);
  Outcome multiGet(const Request& request, std::string& reply);
  Outcome multiSet(const Request& request);
  Outcome listKeys(std::string& reply);
  int64_t remove(std::string_view key);
  /// What the key's counter would be then; a missing one is 0. False: it's no number.
  bool addTo(std::string_view key, int64_t number, int64_t& sum) const;
  const Entry* lookup(std::string_view key) const;
  Entry& entryOf(std::string_view key);
  void eraseIfEmpty(Entry& entry);
  void write(Entry& entry, std::string_view value);
  void noteChange(const Entry& entry);
  Outcome admit(uint64_t moreKeys, uint64_t moreBytes) const;
  Outcome admitReply(uint64_t bytes) const;

  // table_queues.cc
  Outcome queuePush(const Request& request);
  Outcome queuePop(const Request& request, std::string& reply);

  // table_waits.cc: who waits for a key or at a barrier, and when they go on.
  Outcome wait(Client& client, const Request& request, std::string& reply);
  Outcome barrier(Client& client, const Request& request, std::string& reply);
  void appeared(Entry& entry);
  void vanished(Entry& entry);
  enum class Whom { Everybody, NotAtBarrier };
  void wake(Entry& entry, Whom whom);
  void release(Client& client);
  void enlist(Client& client, Entry& entry, bool atBarrier);

  /// What a slot, a queued value and a waiter cost beside their bytes: nodes, buckets, malloc's
  /// headers. Rounded up; the limit is about orders of magnitude.
  static constexpr uint64_t kSlotBytes = 192;
  static constexpr uint64_t kQueuedBytes = 64;
  static constexpr uint64_t kWaiterBytes = 48;
  static constexpr Refusal kNotANumber{"stoll: the key's value isn't a number"};

  const TableLimits limits_;
  Slots slots_;
  uint64_t keys_ = 0;
  uint64_t bytes_ = 0;
  uint64_t waiting_ = 0;
  std::vector<Client*> released_;
  TableObserver* observer_ = nullptr;
  std::array<uint64_t, kOpCount> requests_{};
  HotKeys hotKeys_;
};

}  // namespace regroup::store
