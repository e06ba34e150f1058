#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/store/counts.h"
#include "core/store/garbage.h"
#include "core/store/protocol.h"
#include "core/store/reply.h"
#include "core/store/slots.h"

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

/// Told of each change to what a table's keys are, as it's made.
class TableObserver {
 public:
  virtual void changed(std::string_view key, const Value& value) = 0;
  /// The value got longer by an APPEND; `value` is the whole.
  virtual void grew(std::string_view key, const Value& value) = 0;
  virtual void removed(std::string_view key) = 0;
  /// It exists by its queue only.
  virtual void queued(std::string_view key) = 0;
  /// There's more than it was told of.
  virtual void incomplete() = 0;

 protected:
  ~TableObserver() = default;
};

/// What a step may cost: names looked up, and bytes copied or compared. Counted rather than timed,
/// so that the same requests are applied in one step on every machine.
struct Slice {
  uint64_t names = 1024;
  uint64_t bytes = 256 << 10;

  bool isLeft() const { return names > 0 && bytes > 0; }
  void spend(uint64_t more) {
    names -= names > 0;
    bytes -= std::min(bytes, more);
  }
};

/// Keys, queues, barriers, and who waits for them. Pure: requests in, replies out.
///
/// Where stock's two servers differ, this follows the libuv one, but for its bugs
/// (spec/tcpstore.md §4.3, §5.3): a waiter is released only when all its keys exist at that
/// moment, and leaves every list then; a failing COMPARE_SET wakes nobody.
///
/// No call takes long. A request that asks for much is applied in several steps, between which
/// others have their turn; whom a change releases is told by advance(), a few at a time.
/// - A request about up to a Slice is one step: nobody sees it half done.
/// - Else CHECK, WAIT and MULTI_GET look at one key after the other, LIST_KEYS at 256 parts of the
///   table; each is seen as it is at that moment. MULTI_SET writes one pair after the other, all of
///   them, even if its client goes meanwhile.
/// - A value is stored as a whole, however long it is.
///
/// Owner: the store server. Thread: store.
class Table {
  struct Task;

 public:
  /// A connection, as the table sees it. It leaves before it goes.
  class Client : WaitLink {
   public:
    Client();
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    bool waiting() const { return isLinked(); }

   private:
    friend class Table;

    std::unique_ptr<Task> task_;  // what's been applied in part

    // While it waits, at one place: at a name that's missing, or at its barrier, or among those
    // that are to be looked at.
    Bytes names_;         // all that it waits for, as in its request; at a barrier none
    uint64_t count_ = 0;  // of them
    size_t at_ = 0;       // the one to look at next
    uint64_t left_ = 0;   // how many to look at before all have been found, one after the other
    uint64_t cost_ = 0;   // what it's counted for
  };

  /// The request was applied, and its reply is there, or will be once the wait is over.
  struct Done {};
  /// It takes further calls with the same request, until it's done. None may come between.
  struct More {};
  using Outcome = std::variant<Done, More, Refusal>;

  /// `counts` outlive it, or its retirement. `seed` decides the order of LIST_KEYS.
  Table(const TableLimits& limits, TableCounts& counts, const HashKey& seed = HashKey::random());
  ~Table();
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  /// Takes a step. Appends the client's reply, if there's one, to `reply`. A waiting client's
  /// pending wait is cancelled first: 1.13 gives up waiting without a word (§4.4).
  [[nodiscard]] Outcome apply(Client& client, const Request& request, Reply& reply);
  /// Whether many such requests are applied in a moment.
  static bool isShort(const Request& request);

  /// Finds those whom earlier changes have released, by about so many looks at names, or less.
  /// False: nothing is left to look at.
  bool advance(size_t looks);
  bool hasWork() const { return !due_.isEmpty() || !scans_.isEmpty(); }
  /// Whom the last advance() released, the longest-waiting first; each is owed one kStatusOk.
  std::span<Client* const> released() const { return released_; }

  /// The client waits no more. What it counted at barriers stays counted.
  void forget(Client& client);
  /// The client is gone. What it had applied in part stays so.
  void leave(Client& client);

  /// Frees a part of what isn't needed any more. False: there's nothing.
  bool freeSome() { return garbage_.freeSome(); }
  bool hasGarbage() const { return !garbage_.isEmpty(); }

  /// From now on it counts nothing that anybody reads, and tells its observer nothing.
  void retire();
  /// Drops a part of all that's there. False: it's empty. Only once no client is left.
  bool dismantle();

  /// Tells `observer` of what's there, as far as that takes no time, and of every change from now
  /// on.
  void observe(TableObserver& observer);

  uint64_t keys() const { return counts_->keys; }
  uint64_t bytes() const { return counts_->bytes; }
  uint64_t waiters() const { return counts_->waiters; }

 private:
  // table.cc: keys, and room for them.
  Outcome set(Client& client, const Request& request);
  Outcome get(const Request& request, Reply& reply);
  Outcome add(const Request& request, Reply& reply);
  Outcome append(Client& client, const Request& request);
  int64_t remove(std::string_view key);
  /// What the key's counter would be then; a missing one is 0. False: it's no number.
  bool addTo(std::string_view key, int64_t number, int64_t& sum);
  Entry& entryOf(std::string_view key);
  void eraseIfEmpty(Entry& entry);
  void write(Entry& entry, std::string_view value);
  void write(Entry& entry, Value value);
  void noteWritten(Entry& entry);
  std::optional<Refusal> admit(uint64_t moreKeys, uint64_t moreBytes) const;
  std::optional<Refusal> admitReply(uint64_t bytes) const;

  // table_steps.cc: what may take several steps.
  Outcome compareSet(Client& client, const Request& request, Reply& reply);
  Outcome compareLong(Client& client, const Request& request, Reply& reply);
  Outcome check(Client& client, const Request& request, Reply& reply);
  Outcome multiGet(Client& client, const Request& request, Reply& reply);
  Outcome multiSet(Client& client, const Request& request);
  Outcome listKeys(Client& client, Reply& reply);
  Task& taskOf(Client& client);
  void finish(Client& client);
  void reserve(Client& client, uint64_t keys, uint64_t bytes);
  bool copy(Client& client, std::string_view bytes, Slice& slice);

  // table_queues.cc
  Outcome queuePush(Client& client, const Request& request);
  Outcome queuePop(const Request& request, Reply& reply);

  // table_waits.cc: who waits for a key or at a barrier, and when they go on.
  Outcome wait(Client& client, const Request& request, Reply& reply);
  Outcome waitForMany(Client& client, const Request& request);
  Outcome barrier(Client& client, const Request& request, Reply& reply);
  void beginWait(Client& client, uint64_t names, uint64_t cost);
  void endWait(Client& client);
  void watch(Client& client);
  void look(Client& client, size_t& looks);
  void unlink(Client& client);
  Waiters& waitersOf(Entry& entry);
  void wakeAll(Slot& slot);
  void wakeForName(Slot& slot);
  void wakeForElement(Slot& slot);

  /// What a slot, a queued value and a waiter cost beside their bytes: nodes, buckets, malloc's
  /// headers. Rounded up; the limit is about orders of magnitude.
  static constexpr uint64_t kSlotBytes = 192;
  static constexpr uint64_t kQueuedBytes = 64;
  static constexpr uint64_t kWaiterBytes = 48;
  static constexpr Refusal kNotANumber{"stoll: the key's value isn't a number"};

  const TableLimits limits_;
  Slots slots_;
  TableCounts* counts_;
  std::unique_ptr<TableCounts> unread_;  // of a retired table
  uint64_t keyBytes_ = 0;                // of LIST_KEYS's reply
  uint64_t reservedBytes_ = 0;           // for what's being applied in several steps
  uint64_t reservedKeys_ = 0;
  WaitList<Entry> due_{nullptr};    // what they watched has come
  WaitList<Entry> scans_{nullptr};  // the same, and they have many names to look at
  std::vector<Client*> released_;
  Garbage garbage_;
  TableObserver* observer_ = nullptr;
};

}  // namespace regroup::store
