#include "core/shm/shm_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/shm/futex.h"
#include "core/shm/layout.h"

using namespace regroup::shm;

/// Invariant: `header` was checked when it was opened, and its geometry copied; what the segment
/// says later about its own sizes isn't asked.
struct regroup_shm_reader {
  const std::byte* memory;
  size_t bytes;
  bool mapped;
  const Header* header;
  const Bucket* buckets;
  const Entry* entries;
  uint64_t arenaBegin;
  uint64_t arenaEnd;
  uint32_t bucketMask;
  uint32_t slotMask;
};

namespace {

/// Beyond it we ask TCP: the writer may have died in the middle of a write. A lost try costs one
/// and one more per 4 KiB that it had copied, so 1,000 are about 50 µs of spinning.
constexpr int64_t kPatience = 1000;
constexpr int64_t kBytesPerTry = 4096;

/// How long a reader sleeps at a time. Any other reader can move sleepers to a word of its own
/// (FUTEX_REQUEUE asks for no more than a mapping), and the wake-up doesn't reach them there.
constexpr uint32_t kSleepMs = 1000;

/// Not an answer to callers: somebody wrote meanwhile.
constexpr int kTorn = 100;

struct Query {
  const std::byte* key;
  uint32_t keyBytes;
  uint64_t hash;
  std::byte* value;
  size_t capacity;
  size_t* valueBytes;
};

bool isPowerOfTwo(uint64_t n) {
  return n != 0 && (n & (n - 1)) == 0;
}

/// Whether [offset, offset + bytes) is aligned and lies in [begin, end). Nothing here overflows.
bool inside(uint64_t offset, uint64_t bytes, uint64_t begin, uint64_t end) {
  return offset % 8 == 0 && offset >= begin && offset <= end && bytes <= end - offset;
}

/// When to look again.
timespec noLaterThan(const timespec& deadline) {
  const timespec look = monotonicIn(kSleepMs);
  const bool isFirst = look.tv_sec != deadline.tv_sec ? look.tv_sec < deadline.tv_sec
                                                      : look.tv_nsec < deadline.tv_nsec;
  return isFirst ? look : deadline;
}

const Word64* wordsAt(const regroup_shm_reader& reader, uint64_t offset) {
  return reinterpret_cast<const Word64*>(reader.memory + offset);
}

bool sameBytes(const Word64* words, const std::byte* bytes, uint32_t size) {
  for (uint32_t at = 0; at < size; at += 8, words++) {
    uint64_t theirs = load(*words);
    if (::memcmp(&theirs, bytes + at, size - at < 8 ? size - at : 8) != 0) return false;
  }
  return true;
}

void copyOut(const Word64* words, std::byte* to, uint32_t size) {
  uint32_t at = 0;
  for (; at + 8 <= size; at += 8, words++) {
    const uint64_t word = load(*words);
    ::memcpy(to + at, &word, 8);
  }
  if (at == size) return;
  const uint64_t word = load(*words);
  ::memcpy(to + at, &word, size - at);
}

/// OK, TOO_SMALL, NOT_FOUND (another key), EFORMAT or kTorn. `copied`: the bytes of a lost try.
int readEntry(const regroup_shm_reader& reader, const Entry& entry, const Query& query,
              uint32_t& copied) {
  const uint64_t sequence = load(entry.sequence);
  if (sequence % 2 != 0) return kTorn;

  const uint64_t block = load(entry.block);
  const uint32_t keyBytes = load(entry.keyBytes);
  const uint32_t valueBytes = load(entry.valueBytes);
  int answer = REGROUP_SHM_OK;
  if (load(entry.hash) != query.hash || keyBytes != query.keyBytes) {
    answer = REGROUP_SHM_NOT_FOUND;
  } else if (!inside(block, padded(keyBytes) + padded(valueBytes), reader.arenaBegin,
                     reader.arenaEnd)) {
    answer = REGROUP_SHM_EFORMAT;
  } else if (!sameBytes(wordsAt(reader, block), query.key, keyBytes)) {
    answer = REGROUP_SHM_NOT_FOUND;
  } else if (valueBytes > query.capacity) {
    answer = REGROUP_SHM_TOO_SMALL;
  } else {
    copyOut(wordsAt(reader, block + padded(keyBytes)), query.value, valueBytes);
    copied = valueBytes;
  }
  if (load(entry.sequence) != sequence) return kTorn;

  if (answer == REGROUP_SHM_OK || answer == REGROUP_SHM_TOO_SMALL) *query.valueBytes = valueBytes;
  return answer;
}

int lookUp(const regroup_shm_reader& reader, const Query& query, uint32_t& copied) {
  for (uint32_t i = 0; i < kProbeLimit; i++) {
    const Entry& entry = reader.entries[(query.hash + i) & reader.slotMask];
    const uint64_t hash = load(entry.hash);
    if (hash == kNeverUsed) break;
    if (hash != query.hash) continue;
    const int answer = readEntry(reader, entry, query, copied);
    if (answer != REGROUP_SHM_NOT_FOUND) return answer;
  }
  // After the look-up, since the writer marks the bucket before it gives up an entry.
  const Bucket& bucket = reader.buckets[query.hash & reader.bucketMask];
  return load(bucket.leftOut) ? REGROUP_SHM_ASK_TCP : REGROUP_SHM_NOT_FOUND;
}

/// `generation`: of the table that answered.
int get(const regroup_shm_reader& reader, const Query& query, uint64_t* generation = nullptr) {
  if (query.keyBytes > kMaxKeyBytes) return REGROUP_SHM_ASK_TCP;
  for (int64_t patience = kPatience; patience > 0; relax()) {
    uint32_t copied = 0;
    const uint64_t before = load(reader.header->generation);
    if (load(reader.header->state) != static_cast<uint32_t>(State::Open))
      return REGROUP_SHM_ASK_TCP;
    const int answer = before % 2 == 0 ? lookUp(reader, query, copied) : kTorn;
    if (answer != kTorn && load(reader.header->generation) == before) {
      if (generation) *generation = before;
      return answer;
    }
    patience -= 1 + copied / kBytesPerTry;
  }
  return REGROUP_SHM_ASK_TCP;
}

bool makeQuery(const regroup_shm_reader* reader, const void* key, size_t keyBytes, void* value,
               size_t capacity, size_t* valueBytes, Query& query) {
  if (!reader || (!key && keyBytes) || (!value && capacity) || !valueBytes) return false;
  // Too long a key is never mirrored; one byte above the limit is enough to tell.
  const size_t bounded = keyBytes > kMaxKeyBytes ? kMaxKeyBytes + 1 : keyBytes;
  query = {static_cast<const std::byte*>(key),
           static_cast<uint32_t>(bounded),
           hashKey(key, bounded),
           static_cast<std::byte*>(value),
           capacity,
           valueBytes};
  return true;
}

int checkHeader(regroup_shm_reader& reader) {
  if (reader.bytes < sizeof(Header) || reader.bytes > kMaxSegmentBytes) return REGROUP_SHM_EFORMAT;
  const Header& header = *reader.header;
  if (load(header.magic) != kMagic) return REGROUP_SHM_EFORMAT;
  if (load(header.version) != kVersion) return REGROUP_SHM_EVERSION;

  const uint64_t bytes = load(header.segmentBytes);
  const uint64_t bucketOffset = load(header.bucketOffset);
  const uint64_t indexOffset = load(header.indexOffset);
  const uint64_t arenaOffset = load(header.arenaOffset);
  const uint64_t arenaBytes = load(header.arenaBytes);
  const uint32_t buckets = load(header.buckets);
  const uint32_t slots = load(header.slots);
  if (load(header.headerBytes) != sizeof(Header) || bytes > reader.bytes ||
      !isPowerOfTwo(buckets) || !isPowerOfTwo(slots) ||
      !inside(bucketOffset, uint64_t{buckets} * sizeof(Bucket), sizeof(Header), bytes) ||
      !inside(indexOffset, uint64_t{slots} * sizeof(Entry), sizeof(Header), bytes) ||
      !inside(arenaOffset, arenaBytes, sizeof(Header), bytes))
    return REGROUP_SHM_EFORMAT;

  reader.buckets = reinterpret_cast<const Bucket*>(reader.memory + bucketOffset);
  reader.entries = reinterpret_cast<const Entry*>(reader.memory + indexOffset);
  reader.arenaBegin = arenaOffset;
  reader.arenaEnd = arenaOffset + arenaBytes;
  reader.bucketMask = buckets - 1;
  reader.slotMask = slots - 1;
  return REGROUP_SHM_OK;
}

int makeReader(const void* memory, size_t bytes, bool mapped, regroup_shm_reader** result) {
  regroup_shm_reader reader{};
  reader.memory = static_cast<const std::byte*>(memory);
  reader.bytes = bytes;
  reader.mapped = mapped;
  reader.header = static_cast<const Header*>(memory);
  if (const int answer = checkHeader(reader); answer != REGROUP_SHM_OK) return answer;
  void* kept = ::malloc(sizeof reader);
  if (!kept) return REGROUP_SHM_ESYSTEM;
  ::memcpy(kept, &reader, sizeof reader);
  *result = static_cast<regroup_shm_reader*>(kept);
  return REGROUP_SHM_OK;
}

}  // namespace

int regroup_shm_open(int fd, regroup_shm_reader** reader) {
  if (!reader) return REGROUP_SHM_EARGUMENT;
  *reader = nullptr;
  // A file that shrinks under a mapping kills its reader with SIGBUS.
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 && errno != EINVAL) return REGROUP_SHM_ESYSTEM;
  if (seals < 0 || !(seals & F_SEAL_SHRINK)) return REGROUP_SHM_EFORMAT;
  // fstat() would ask for glibc 2.33.
  const off_t size = ::lseek(fd, 0, SEEK_END);
  if (size < 0) return REGROUP_SHM_ESYSTEM;
  if (size < static_cast<off_t>(sizeof(Header)) || static_cast<uint64_t>(size) > kMaxSegmentBytes)
    return REGROUP_SHM_EFORMAT;

  const size_t bytes = static_cast<size_t>(size);
  void* memory = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return REGROUP_SHM_ESYSTEM;
  const int answer = makeReader(memory, bytes, true, reader);
  if (answer != REGROUP_SHM_OK) ::munmap(memory, bytes);
  return answer;
}

int regroup_shm_attach(const void* memory, size_t bytes, regroup_shm_reader** reader) {
  if (!reader || !memory) return REGROUP_SHM_EARGUMENT;
  *reader = nullptr;
  if (reinterpret_cast<uintptr_t>(memory) % alignof(Header) != 0) return REGROUP_SHM_EARGUMENT;
  return makeReader(memory, bytes, false, reader);
}

int regroup_shm_get(const regroup_shm_reader* reader, const void* key, size_t key_bytes,
                    void* value, size_t capacity, size_t* value_bytes) {
  Query query;
  if (!makeQuery(reader, key, key_bytes, value, capacity, value_bytes, query))
    return REGROUP_SHM_EARGUMENT;
  return get(*reader, query);
}

int regroup_shm_wait(const regroup_shm_reader* reader, const void* key, size_t key_bytes,
                     void* value, size_t capacity, size_t* value_bytes, uint32_t timeout_ms) {
  Query query;
  if (!makeQuery(reader, key, key_bytes, value, capacity, value_bytes, query))
    return REGROUP_SHM_EARGUMENT;

  const timespec deadline = monotonicIn(timeout_ms);
  const Bucket& bucket = reader->buckets[query.hash & reader->bucketMask];
  uint64_t first = 0;
  for (bool again = false;; again = true) {
    // Before the look-up: a key that appears behind it moves the word, and the kernel won't sleep.
    const uint32_t event = load(bucket.event);
    uint64_t generation = 0;
    const int answer = get(*reader, query, &generation);
    // Emptied meanwhile: whoever waits may belong to the round before.
    if (again && generation != first) return REGROUP_SHM_ASK_TCP;
    if (answer != REGROUP_SHM_NOT_FOUND) return answer;
    first = generation;

    // Here, not by the kernel's word alone: a segment whose word moves all the time never sleeps.
    if (isPast(deadline)) return REGROUP_SHM_TIMED_OUT;
    const int error = futexWait(bucket.event, event, noLaterThan(deadline));
    if (error == EINTR) return REGROUP_SHM_INTERRUPTED;
    if (error != 0 && error != EAGAIN && error != ETIMEDOUT) return REGROUP_SHM_ESYSTEM;
  }
}

uint32_t regroup_shm_notice(const regroup_shm_reader* reader) {
  return reader ? load(reader->header->notice) : 0;
}

int regroup_shm_wait_notice(const regroup_shm_reader* reader, uint32_t known, uint32_t* notice,
                            uint32_t timeout_ms) {
  if (!reader || !notice) return REGROUP_SHM_EARGUMENT;
  const timespec deadline = monotonicIn(timeout_ms);
  for (;;) {
    *notice = load(reader->header->notice);
    if (*notice != known) return REGROUP_SHM_OK;
    if (load(reader->header->state) != static_cast<uint32_t>(State::Open))
      return REGROUP_SHM_ASK_TCP;
    if (isPast(deadline)) return REGROUP_SHM_TIMED_OUT;
    const int error = futexWait(reader->header->notice, known, noLaterThan(deadline));
    if (error == EINTR) return REGROUP_SHM_INTERRUPTED;
    if (error != 0 && error != EAGAIN && error != ETIMEDOUT) return REGROUP_SHM_ESYSTEM;
  }
}

void regroup_shm_close(regroup_shm_reader* reader) {
  if (!reader) return;
  if (reader->mapped) ::munmap(const_cast<std::byte*>(reader->memory), reader->bytes);
  ::free(reader);
}
