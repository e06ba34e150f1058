#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/store/hot_keys.h"
#include "core/store/protocol.h"

namespace regroup::store {

/// A number that the store's thread changes, and any thread reads.
class Count {
 public:
  Count() = default;
  Count& operator=(uint64_t value) {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  operator uint64_t() const { return value_.load(std::memory_order_relaxed); }

  // Not read-modify-write: there's one writer.
  void operator+=(uint64_t more) { *this = *this + more; }
  void operator-=(uint64_t less) { *this = *this - less; }

 private:
  std::atomic<uint64_t> value_{0};
};

/// What a table counts of itself.
struct TableCounts {
  Count keys;
  Count waiters;
  Count bytes;
  std::array<Count, kOpCount> requests{};
  HotKeys hotKeys;
};

}  // namespace regroup::store
