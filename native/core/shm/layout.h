#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

/// Every shared byte of a segment: header, wake-up words, index, arena, in this order. Numbers are
/// in the machine's byte order, since a segment never leaves its machine.
///
/// One writer, any number of readers who can't write. Each word that changes is an atomic of 4 or
/// 8 bytes; keys and values are copied by 8-byte atomics, stored with release and loaded with
/// acquire. So whoever reads a word of a newer write also sees the sequence number that went odd
/// before it: a seqlock without fences, which the standard and ThreadSanitizer both understand.
/// On x86 these are plain moves.
///
/// A change here that an older reader can't read needs a new kVersion.
namespace regroup::shm {

inline constexpr uint64_t kMagic = 0x31304d4853475224;  // "$RGSHM01"
inline constexpr uint32_t kVersion = 1;

/// Protects readers from absurd geometry; a default segment has 16 MiB.
inline constexpr uint64_t kMaxSegmentBytes = uint64_t{1} << 30;
/// A key lies at most so many slots behind its home, so a look-up is bounded.
inline constexpr uint32_t kProbeLimit = 32;
/// Longer ones aren't mirrored. Protects the arena from a single key.
inline constexpr uint32_t kMaxKeyBytes = 4096;
inline constexpr uint32_t kMaxValueBytes = 1 << 20;

using Word32 = std::atomic<uint32_t>;
using Word64 = std::atomic<uint64_t>;
static_assert(Word32::is_always_lock_free && sizeof(Word32) == 4);
static_assert(Word64::is_always_lock_free && sizeof(Word64) == 8);

enum class State : uint32_t {
  Open = 1,
  Closed = 2,  // the writer is gone; nothing here is true any more
};

struct Header {
  // Written once, before anybody else sees the segment.
  Word64 magic;
  Word32 version;
  Word32 headerBytes;
  Word64 segmentBytes;
  Word64 bucketOffset;
  Word64 indexOffset;
  Word64 arenaOffset;
  Word64 arenaBytes;
  Word32 buckets;  // a power of two
  Word32 slots;    // a power of two

  // On a cache line of its own.
  alignas(64) Word64 generation;  // of the whole table; odd while it's being emptied
  Word32 state;                   // State
  Word32 notice;                  // a futex; what the server tells every reader, 0 at first
};

/// Where those wait whose keys hash to it.
struct Bucket {
  Word32 event;  // a futex; it moves when a key of this bucket appears or is left out
  /// Not 0: some key of this bucket isn't in the index though the store has it, so that absence
  /// here says nothing.
  Word32 leftOut;
};

/// A slot of the index: linear probing from `hash & (slots - 1)`.
struct Entry {
  Word64 hash;      // or kNeverUsed, kRemoved
  Word64 sequence;  // odd while the fields below, or the bytes that they name, change
  Word64 block;     // offset in the segment: the key, padded to 8 bytes, then the value
  Word32 keyBytes;
  Word32 valueBytes;
};

inline constexpr uint64_t kNeverUsed = 0;  // since the last reset: a look-up may end here
inline constexpr uint64_t kRemoved = 1;    // a look-up goes on

static_assert(sizeof(Header) == 128 && alignof(Header) == 64);
static_assert(offsetof(Header, magic) == 0);
static_assert(offsetof(Header, version) == 8);
static_assert(offsetof(Header, headerBytes) == 12);
static_assert(offsetof(Header, segmentBytes) == 16);
static_assert(offsetof(Header, bucketOffset) == 24);
static_assert(offsetof(Header, indexOffset) == 32);
static_assert(offsetof(Header, arenaOffset) == 40);
static_assert(offsetof(Header, arenaBytes) == 48);
static_assert(offsetof(Header, buckets) == 56);
static_assert(offsetof(Header, slots) == 60);
static_assert(offsetof(Header, generation) == 64);
static_assert(offsetof(Header, state) == 72);
static_assert(offsetof(Header, notice) == 76);
static_assert(sizeof(Bucket) == 8);
static_assert(offsetof(Bucket, event) == 0);
static_assert(offsetof(Bucket, leftOut) == 4);
static_assert(sizeof(Entry) == 32);
static_assert(offsetof(Entry, hash) == 0);
static_assert(offsetof(Entry, sequence) == 8);
static_assert(offsetof(Entry, block) == 16);
static_assert(offsetof(Entry, keyBytes) == 24);
static_assert(offsetof(Entry, valueBytes) == 28);

/// Each word that changes is read and written by these two.
template <typename T>
T load(const std::atomic<T>& word) {
  return word.load(std::memory_order_acquire);
}

template <typename T, typename V>
void set(std::atomic<T>& word, V value) {
  word.store(static_cast<T>(value), std::memory_order_release);
}

constexpr uint64_t padded(uint64_t bytes) {
  return (bytes + 7) & ~uint64_t{7};
}

/// FNV-1a, its high bits folded in, since slots and buckets take the low ones. Part of the format.
inline uint64_t hashKey(const void* key, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(key);
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < bytes; i++) hash = (hash ^ at[i]) * 0x100000001b3;
  hash ^= hash >> 32;
  return hash > kRemoved ? hash : hash + 2;
}

}  // namespace regroup::shm
