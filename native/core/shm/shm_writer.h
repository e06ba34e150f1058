#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/shm/layout.h"
#include "core/shm/segment.h"

namespace regroup::shm {

struct WriterOptions {
  size_t bytes = 16 << 20;      // of the segment; at least 64 KiB, at most kMaxSegmentBytes
  bool sealFutureWrite = true;  // false: do as on a kernel without that seal
};

/// Publishes a store's keys to readers on this machine. What finds no room is left out, and
/// readers of it are told to ask the store.
///
/// Invariant: what it must rely on (where blocks are, which are free) is kept apart from the
/// segment, so that a segment that somebody scribbled on gives wrong values at worst.
/// Owner: the store's server.
/// Thread: any, one at a time.
class Writer {
 public:
  /// EINVAL for sizes out of bounds, else as Segment::create.
  static Result<std::unique_ptr<Writer>> create(const WriterOptions& options);
  /// Tells readers that nothing is true any more, and wakes those that wait.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// @returns whether readers can see it; else its last value is gone from here too
  bool put(std::string_view key, std::string_view value);
  void remove(std::string_view key);
  /// The store has more to say about this key than readers can see: they're told to ask it.
  void hide(std::string_view key);
  /// The same, of all keys that readers can't see.
  void hideUnknown();
  /// Forgets all keys, those left out too. Those that wait are told to ask the store.
  void reset();
  /// Sets the word that every reader sees, and wakes who waits for it to change.
  void setNotice(uint32_t notice);

  const Segment& segment() const { return segment_; }
  size_t keys() const { return keys_; }
  size_t leftOut() const { return leftOut_; }  // puts, since the last reset

 private:
  /// Blocks have 64 << order bytes, up to the longest key with the longest value.
  static constexpr uint32_t kSmallestBlock = 64;
  static constexpr uint32_t kOrders = 16;
  static_assert((uint64_t{kSmallestBlock} << (kOrders - 1)) >= kMaxKeyBytes + kMaxValueBytes);

  struct Slot {
    uint64_t hash = kNeverUsed;
    uint64_t sequence = 0;
    uint64_t block = 0;
    uint32_t keyBytes = 0;
    uint32_t order = 0;
  };

  Writer(Segment segment, uint32_t buckets, uint32_t slots);
  Slot* find(uint64_t hash, std::string_view key);
  Slot* vacant(uint64_t hash);
  bool store(Slot* slot, uint64_t hash, std::string_view key, std::string_view value);
  void leaveOut(Slot* slot, uint64_t hash);
  void clear(Slot& slot, uint64_t mark);
  Entry& beginWrite(Slot& slot);
  void endWrite(Slot& slot);

  uint64_t allocate(uint32_t order);  // 0: no room
  void release(const Slot& slot) { free_[slot.order].push_back(slot.block); }
  void copyIn(uint64_t block, std::string_view bytes);
  void wake(Bucket& bucket);
  void wakeAll();
  Bucket& bucketOf(uint64_t hash) { return buckets_[hash & (bucketCount_ - 1)]; }

  Segment segment_;
  const uint32_t bucketCount_;
  Header* header_;
  Bucket* buckets_;
  Entry* entries_;
  std::vector<Slot> slots_;  // beside entries_, one for one
  uint64_t arenaBegin_;
  uint64_t fresh_;  // the arena beyond it was never used
  std::vector<uint64_t> free_[kOrders];
  uint64_t generation_ = 0;
  size_t keys_ = 0;
  size_t leftOut_ = 0;
};

}  // namespace regroup::shm
