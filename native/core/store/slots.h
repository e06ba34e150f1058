#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/base/siphash.h"
#include "core/store/value.h"
#include "core/store/wait_list.h"

namespace regroup::store {

struct Slot;
/// A name and what it stands for. It keeps its address for as long as it's there.
using Entry = std::pair<const std::string, Slot>;

/// Those that wait at a name.
struct Waiters {
  explicit Waiters(Entry* entry) : forName(entry), atBarrier(entry) {}

  bool isEmpty() const { return forName.isEmpty() && atBarrier.isEmpty(); }

  WaitList<Entry> forName;    // until it exists
  WaitList<Entry> atBarrier;  // until somebody writes there
};

/// A name: a key, a queue, both, or only something that's waited for.
///
/// Invariant: at least one of these; an empty slot is erased.
struct Slot {
  std::optional<Value> value;
  std::unique_ptr<std::deque<Value>> queue;  // not empty, if there
  std::unique_ptr<Waiters> waiters;          // the same

  bool exists() const { return value.has_value() || queue; }
  bool isEmpty() const { return !exists() && !waiters; }
};

/// Names and their slots.
///
/// One map would stop everything for a second when it grows beyond ten million names. So there are
/// many, told apart by some bits of the hash: none is large, whoever walks through all names can
/// pause between two, and what was walked through stays so. The hash is seeded, since names come
/// from whoever reaches the port.
///
/// Thread: store.
class Slots {
 public:
  static constexpr size_t kShards = 256;

  explicit Slots(const HashKey& key) : key_(key) {
    shards_.reserve(kShards);
    for (size_t i = 0; i < kShards; i++) shards_.emplace_back(0, Hash{key});
  }

  size_t size() const { return size_; }

  Entry* find(std::string_view name) {
    const Hashed hashed{name, sipHash13(key_, name)};
    Shard& shard = shardOf(hashed.hash);
    const auto found = shard.find(hashed);
    return found == shard.end() ? nullptr : &*found;
  }

  /// A name that isn't there yet.
  Entry& add(std::string_view name) {
    const uint64_t hash = sipHash13(key_, name);
    Shard& shard = shardOf(hash);
    size_++;
    return *shard.try_emplace(std::string(name)).first;
  }

  void erase(Entry& entry) {
    const Hashed hashed{entry.first, sipHash13(key_, entry.first)};
    Shard& shard = shardOf(hashed.hash);
    shard.erase(shard.find(hashed));
    size_--;
  }

  /// Calls `visit` with each entry of a shard until it returns false. False: it did.
  template <typename Visit>
  bool forEachOf(size_t shard, Visit visit) const {
    for (const Entry& entry : shards_[shard]) {
      if (!visit(entry)) return false;
    }
    return true;
  }

  /// Any that's left; null: none is. For who empties it, while nobody adds to it.
  Entry* any() {
    while (emptied_ < kShards && shards_[emptied_].empty()) emptied_++;
    return emptied_ == kShards ? nullptr : &*shards_[emptied_].begin();
  }

 private:
  struct Hashed {
    std::string_view name;
    uint64_t hash;
  };
  struct Hash {
    using is_transparent = void;
    HashKey key;
    // Not noexcept: so nodes keep their hash, and a map that grows needn't ask for it again.
    size_t operator()(const std::string& name) const { return sipHash13(key, name); }
    size_t operator()(const Hashed& hashed) const { return hashed.hash; }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const std::string& a, const std::string& b) const { return a == b; }
    bool operator()(const Hashed& a, const std::string& b) const { return a.name == b; }
    bool operator()(const std::string& a, const Hashed& b) const { return a == b.name; }
  };
  using Shard = std::unordered_map<std::string, Slot, Hash, Equal>;

  Shard& shardOf(uint64_t hash) { return shards_[hash >> 56]; }

  const HashKey key_;
  std::vector<Shard> shards_;
  size_t size_ = 0;
  size_t emptied_ = 0;
};

static_assert(Slots::kShards == 1 << 8);

}  // namespace regroup::store
