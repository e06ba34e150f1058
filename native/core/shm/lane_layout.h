#pragma once

#include <cstring>

#include "core/shm/layout.h"

/// A lane: the memory that one client shares with the server, and with nobody else. Two rings of
/// bytes, requests one way and replies the other, as a socket would carry them: TCPStore's dialect
/// of 2.2 and later, its hello included. Besides, the client's slot.
///
/// Each side counts its bytes in words that wrap at 2³², and keeps what it must rely on in memory
/// of its own. The other side may have scribbled on all of it.
///
/// Nobody's wake-up is lost: a side says that it sleeps, then looks once more; the other one
/// writes, then looks whether it sleeps. These four are sequentially consistent.
namespace regroup::shm {

inline constexpr uint64_t kLaneMagic = 0x31304e4c47524724;   // "$GRGLN01"
inline constexpr uint64_t kHelloMagic = 0x31304f4847524724;  // "$GRGHO01"
inline constexpr uint32_t kLaneVersion = 1;

/// Of one direction; a power of two. Longer requests and replies go through in pieces.
inline constexpr uint32_t kRingBytes = 64 << 10;

/// What a worker tells whoever watches it. Only the client writes it.
struct Slot {
  Word64 beats;   // how often it told; 0: never
  Word64 beatNs;  // CLOCK_MONOTONIC of the last time
  Word64 step;
  Word32 phase;
  Word32 rank;  // as the client says
};

struct Lane {
  // Written once, before the client sees it.
  Word64 magic;
  Word32 version;
  Word32 headerBytes;
  Word64 laneBytes;
  Word32 requestOffset;
  Word32 replyOffset;
  Word32 ringBytes;
  Word32 reserved;

  // The client's.
  alignas(64) Word32 requestHead;  // bytes that it wrote
  Word32 replyTail;                // bytes that it read
  Word32 clientSleeps;             // at `event`

  // The server's.
  alignas(64) Word32 requestTail;  // bytes that it took
  Word32 applied;                  // bytes of requests that were served whole
  Word32 replyHead;                // bytes that it wrote
  Word32 event;                    // a futex; moves with those above, if the client sleeps
  Word32 serverSleeps;             // ring the bell for requests
  Word32 serverBlocked;            // ring the bell for room
  Word32 closed;                   // not 0: the server is done with it

  alignas(64) Slot slot;
};

static_assert(sizeof(Slot) == 32);
static_assert(offsetof(Slot, beats) == 0);
static_assert(offsetof(Slot, beatNs) == 8);
static_assert(offsetof(Slot, step) == 16);
static_assert(offsetof(Slot, phase) == 24);
static_assert(offsetof(Slot, rank) == 28);
static_assert(sizeof(Lane) == 256 && alignof(Lane) == 64);
static_assert(offsetof(Lane, magic) == 0);
static_assert(offsetof(Lane, version) == 8);
static_assert(offsetof(Lane, headerBytes) == 12);
static_assert(offsetof(Lane, laneBytes) == 16);
static_assert(offsetof(Lane, requestOffset) == 24);
static_assert(offsetof(Lane, replyOffset) == 28);
static_assert(offsetof(Lane, ringBytes) == 32);
static_assert(offsetof(Lane, requestHead) == 64);
static_assert(offsetof(Lane, replyTail) == 68);
static_assert(offsetof(Lane, clientSleeps) == 72);
static_assert(offsetof(Lane, requestTail) == 128);
static_assert(offsetof(Lane, applied) == 132);
static_assert(offsetof(Lane, replyHead) == 136);
static_assert(offsetof(Lane, event) == 140);
static_assert(offsetof(Lane, serverSleeps) == 144);
static_assert(offsetof(Lane, serverBlocked) == 148);
static_assert(offsetof(Lane, closed) == 152);
static_assert(offsetof(Lane, slot) == 192);

inline constexpr uint32_t kRequestOffset = 4096;
inline constexpr uint32_t kReplyOffset = kRequestOffset + kRingBytes;
inline constexpr uint64_t kLaneBytes = kReplyOffset + kRingBytes;

/// What the server sends to who connects, with the descriptors of the segment and of the lane.
struct Hello {
  uint64_t magic;
  uint32_t version;
  uint32_t reserved;
};
static_assert(sizeof(Hello) == 16);

/// Copies to and from a ring, at a count of bytes. The other side may be writing there: then the
/// copy is as good as its content, whatever that is.
inline void copyToRing(std::byte* ring, uint32_t at, const void* from, size_t bytes) {
  const uint32_t begin = at & (kRingBytes - 1);
  const size_t first = bytes < kRingBytes - begin ? bytes : kRingBytes - begin;
  if (bytes == 0) return;
  std::memcpy(ring + begin, from, first);
  if (bytes > first) std::memcpy(ring, static_cast<const std::byte*>(from) + first, bytes - first);
}

inline void copyFromRing(const std::byte* ring, uint32_t at, void* to, size_t bytes) {
  const uint32_t begin = at & (kRingBytes - 1);
  const size_t first = bytes < kRingBytes - begin ? bytes : kRingBytes - begin;
  if (bytes == 0) return;
  std::memcpy(to, ring + begin, first);
  if (bytes > first) std::memcpy(static_cast<std::byte*>(to) + first, ring, bytes - first);
}

}  // namespace regroup::shm
