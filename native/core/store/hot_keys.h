#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace regroup::store {

struct HotKey {
  std::string key;
  uint64_t requests;  // at least, by an estimate from the sample
};

/// The keys that are asked for most, from a sample of all requests, in room for a few.
///
/// Space-saving: a key that isn't counted takes the place of the one with the least, and its count
/// as an error. A key that makes up more than 1/kRoom of the requests is always among them.
///
/// Thread: store, but top(), which any may call.
///
/// @source A. Metwally et al., Efficient Computation of Frequent and Top-k Elements in Data
/// Streams, 2005
class HotKeys {
 public:
  static constexpr size_t kRoom = 16;
  /// Longer ones aren't counted: they'd cost more to keep than they tell.
  static constexpr size_t kMaxKeyBytes = 256;

  HotKeys();

  /// Allocates nothing. Empty: the request is about no key.
  void note(std::string_view key) {
    if (--untilNext_ == 0) sample(key);
  }

  /// The most asked for first; keys that may be there by chance aren't.
  std::vector<HotKey> top() const;

 private:
  struct Counter {
    std::string key;
    uint64_t count = 0;
    uint64_t error = 0;
  };

  void sample(std::string_view key);

  mutable std::mutex countersMutex_;
  std::array<Counter, kRoom> counters_;  // guarded by countersMutex_
  // At random distances: requests come in patterns, and every sixteenth could always be of the same
  // key.
  uint32_t random_ = 2463534242;
  uint32_t untilNext_ = 1;
};

}  // namespace regroup::store
