#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "core/base/loop.h"

/// What agents of a job share: a small table of keys whose every change has a number, leases that
/// keys are bound to, and the last changes, for those who watch. The primitives of etcd v3.
///
/// @source etcd 3.6, Documentation/learning/api.md
namespace regroup::coordination {

/// Numbers a change of the whole table, from 1 on; 0: before any. The changes of one transaction
/// have the same.
using Revision = uint64_t;
/// 0: none.
using LeaseId = uint64_t;

struct Entry {
  std::string value;
  Revision created = 0;   // by this change
  Revision modified = 0;  // last
  LeaseId lease = 0;

  bool operator==(const Entry&) const = default;
};

struct Compare {
  enum class What : uint8_t { Absent, Modified, Value };

  std::string_view key;
  What what = What::Absent;
  Revision modified = 0;        // Modified: the last change that it must have had
  std::string_view value = {};  // Value: what it must hold
};

struct Change {
  std::string_view key;
  std::optional<std::string_view> value;  // none: it's deleted
  LeaseId lease = 0;
};

/// One key's change, as watchers are told.
struct Record {
  Revision revision;
  std::string key;
  std::optional<Entry> entry;  // none: it was deleted
};

enum class Refusal : uint8_t {
  LeaseLost,  // it has ended, or never was
  Full,       // the table, or its leases, would pass their limits
  TooLarge,   // a key, a value, or a transaction
  Twice,      // a transaction that changes a key twice
};

struct Limits {
  size_t keyBytes = 4 << 10;
  size_t valueBytes = 1 << 20;
  /// Of all keys and values, with what it takes to keep them.
  size_t tableBytes = 64 << 20;
  size_t leases = 100'000;
  /// Comparisons, and changes, of a transaction.
  size_t operations = 128;
  /// Of the last changes, with what it takes to keep them. The newest revision's are always kept.
  size_t historyBytes = 16 << 20;
  std::chrono::milliseconds shortestTtl{100};
  std::chrono::milliseconds longestTtl{24 * 60 * 60 * 1000};
};

/// The state of the server, without its sockets. It reads no clock: `now` never goes back.
///
/// Thread: its owner's.
class State {
 public:
  using Table = std::map<std::string, Entry, std::less<>>;

  struct Done {
    bool held;          // the comparisons did, so that the changes were made
    Revision revision;  // theirs; else the newest
  };

  /// @param firstLease the id of the first lease; by chance, so that one of a server that was here
  ///   before isn't taken for ours
  State(const Limits& limits, LeaseId firstLease) : limits_(limits), nextLease_(firstLease) {}

  const Table& table() const { return table_; }
  Revision revision() const { return revision_; }
  /// Those whose keys begin with `prefix`, in the order of their bytes.
  void each(std::string_view prefix,
            const std::function<void(const std::string& key, const Entry& entry)>& visit) const;

  /// Makes the changes, all in one revision, if all the comparisons hold. A deletion of what isn't
  /// there changes nothing.
  std::variant<Done, Refusal> txn(std::span<const Compare> compares,
                                  std::span<const Change> changes);

  /// A lease that ends when `ttl`, cut to the limits, is over.
  std::variant<LeaseId, Refusal> grant(std::chrono::milliseconds ttl, TimePoint now);
  /// 0: there's no such lease.
  std::chrono::milliseconds ttlOf(LeaseId id) const;
  /// It has all of its time from now on. False: there's no such lease.
  bool renew(LeaseId id, TimePoint now);
  /// Who renewed it is gone without a word: it ends after `window` at the latest, unless it's
  /// renewed.
  void abandon(LeaseId id, TimePoint now, std::chrono::milliseconds window);
  /// Ends it, with its keys, in a revision of their own. False: there's no such lease.
  bool revoke(LeaseId id);
  /// Ends those whose time is over, each in a revision of its own. @returns how many
  size_t expire(TimePoint now);
  /// When the next one ends.
  std::optional<TimePoint> nextEnd() const;

  /// The oldest revision from which on all changes are kept; the newest plus 1 if none is.
  Revision oldestKept() const;
  /// Visits the changes to keys that begin with `prefix`, from a revision that's kept on, in order,
  /// until a revision ends with `visit` having said false. @returns the revision to go on with
  Revision replay(Revision from, std::string_view prefix,
                  const std::function<bool(const Record& record)>& visit) const;

  /// What limits are about.
  size_t tableBytes() const { return tableBytes_; }
  size_t historyBytes() const { return historyBytes_; }
  /// Of all changes ever, forgotten ones included.
  size_t recordedBytes() const { return recordedBytes_; }
  size_t leases() const { return leases_.size(); }

 private:
  struct Lease {
    std::chrono::milliseconds ttl;
    TimePoint end;
    std::set<std::string, std::less<>> keys;
  };

  bool holds(const Compare& compare) const;
  std::optional<Refusal> refusal(std::span<const Change> changes) const;
  void put(std::string_view key, std::string_view value, LeaseId lease);
  bool erase(std::string_view key);
  void bind(const std::string& key, Entry& entry, LeaseId lease);
  void moveEnd(LeaseId id, Lease& lease, TimePoint end);
  void record(std::string key, std::optional<Entry> entry);
  void forgetOldest();

  const Limits limits_;
  Table table_;
  size_t tableBytes_ = 0;
  Revision revision_ = 0;
  std::map<LeaseId, Lease> leases_;
  std::set<std::pair<TimePoint, LeaseId>> ends_;
  LeaseId nextLease_;
  std::deque<Record> history_;
  size_t historyBytes_ = 0;
  size_t recordedBytes_ = 0;
  Revision forgotten_ = 0;  // the newest revision that isn't kept
};

}  // namespace regroup::coordination
