#include "core/store/hot_keys.h"

#include <algorithm>

#include "core/base/old_symbols.h"

REGROUP_OLD_SYMBOL(pthread_mutex_trylock);

namespace regroup::store {

namespace {

/// Distances are 1 to this, each as likely.
constexpr uint32_t kMaxDistance = 32;
constexpr double kMeanDistance = (1 + kMaxDistance) / 2.0;

/// @source G. Marsaglia, Xorshift RNGs, 2003
uint32_t next(uint32_t state) {
  state ^= state << 13;
  state ^= state >> 17;
  return state ^ (state << 5);
}

}  // namespace

HotKeys::HotKeys() {
  for (Counter& each : counters_) each.key.reserve(kMaxKeyBytes);
}

void HotKeys::sample(std::string_view key) {
  random_ = next(random_);
  untilNext_ = 1 + random_ % kMaxDistance;
  if (key.empty() || key.size() > kMaxKeyBytes) return;
  // Somebody reads them: then this one isn't counted. The store's thread waits for nobody.
  const std::unique_lock lock(countersMutex_, std::try_to_lock);
  if (!lock) return;

  Counter* least = &counters_[0];
  for (Counter& each : counters_) {
    if (each.count > 0 && each.key == key) {
      each.count++;
      return;
    }
    if (each.count < least->count) least = &each;
  }
  least->error = least->count;
  least->count++;
  least->key.assign(key);
}

std::vector<HotKey> HotKeys::top() const {
  std::vector<HotKey> top;
  const std::lock_guard lock(countersMutex_);
  for (const Counter& each : counters_) {
    const uint64_t sure = each.count - each.error;
    // One sample is chance.
    if (sure >= 2)
      top.push_back({each.key, static_cast<uint64_t>(static_cast<double>(sure) * kMeanDistance)});
  }
  std::stable_sort(top.begin(), top.end(),
                   [](const HotKey& a, const HotKey& b) { return a.requests > b.requests; });
  return top;
}

}  // namespace regroup::store
