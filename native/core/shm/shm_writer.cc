#include "core/shm/shm_writer.h"

#include <errno.h>
#include <string.h>

#include <bit>

#include "core/shm/futex.h"

namespace regroup::shm {

namespace {

constexpr size_t kMinSegmentBytes = 64 << 10;
/// With 16 MiB: 32,768 slots, a sixteenth of the memory, and 1,024 buckets.
constexpr size_t kBytesPerSlot = 512;
constexpr uint32_t kSlotsPerBucket = 32;

Word64* wordsAt(const Segment& segment, uint64_t offset) {
  return reinterpret_cast<Word64*>(segment.memory() + offset);
}

}  // namespace

Result<std::unique_ptr<Writer>> Writer::create(const WriterOptions& options) {
  if (options.bytes < kMinSegmentBytes || options.bytes > kMaxSegmentBytes)
    return Error{"shared memory size", EINVAL};
  auto segment = Segment::create(options.bytes, options.sealFutureWrite);
  if (!segment) return segment.error();
  const uint32_t slots = static_cast<uint32_t>(std::bit_floor(segment->bytes() / kBytesPerSlot));
  return std::unique_ptr<Writer>(new Writer(std::move(*segment), slots / kSlotsPerBucket, slots));
}

Writer::Writer(Segment segment, uint32_t buckets, uint32_t slots)
    : segment_(std::move(segment)), bucketCount_(buckets), slots_(slots) {
  const uint64_t bucketOffset = sizeof(Header);
  const uint64_t indexOffset = (bucketOffset + uint64_t{buckets} * sizeof(Bucket) + 63) / 64 * 64;
  arenaBegin_ = fresh_ = indexOffset + uint64_t{slots} * sizeof(Entry);
  header_ = reinterpret_cast<Header*>(segment_.memory());
  buckets_ = reinterpret_cast<Bucket*>(segment_.memory() + bucketOffset);
  entries_ = reinterpret_cast<Entry*>(segment_.memory() + indexOffset);

  set(header_->version, kVersion);
  set(header_->headerBytes, sizeof(Header));
  set(header_->segmentBytes, segment_.bytes());
  set(header_->bucketOffset, bucketOffset);
  set(header_->indexOffset, indexOffset);
  set(header_->arenaOffset, arenaBegin_);
  set(header_->arenaBytes, segment_.bytes() - arenaBegin_);
  set(header_->buckets, buckets);
  set(header_->slots, slots);
  set(header_->state, State::Open);
  set(header_->magic, kMagic);
}

Writer::~Writer() {
  set(header_->state, State::Closed);
  wakeAll();
  futexWakeAll(header_->notice);
}

bool Writer::put(std::string_view key, std::string_view value) {
  const uint64_t hash = hashKey(key.data(), key.size());
  Slot* slot = find(hash, key);
  const bool appears = slot == nullptr;
  if (store(slot, hash, key, value)) {
    // Nobody waits for a key that's there.
    if (appears) wake(bucketOf(hash));
    return true;
  }
  leaveOut(slot, hash);
  return false;
}

void Writer::remove(std::string_view key) {
  const uint64_t hash = hashKey(key.data(), key.size());
  if (Slot* slot = find(hash, key)) clear(*slot, kRemoved);
}

void Writer::hide(std::string_view key) {
  const uint64_t hash = hashKey(key.data(), key.size());
  leaveOut(find(hash, key), hash);
}

void Writer::hideUnknown() {
  for (uint32_t i = 0; i < bucketCount_; i++) set(buckets_[i].leftOut, 1);
  wakeAll();
}

void Writer::setNotice(uint32_t notice) {
  if (header_->notice.load(std::memory_order_relaxed) == notice) return;
  set(header_->notice, notice);
  futexWakeAll(header_->notice);
}

void Writer::reset() {
  set(header_->generation, ++generation_);
  for (Slot& slot : slots_) {
    if (slot.hash != kNeverUsed) clear(slot, kNeverUsed);
  }
  for (uint32_t i = 0; i < bucketCount_; i++) set(buckets_[i].leftOut, 0);
  // All blocks are free, so the arena is whole again, whatever sizes it was cut into.
  for (auto& blocks : free_) blocks.clear();
  fresh_ = arenaBegin_;
  leftOut_ = 0;
  set(header_->generation, ++generation_);
  wakeAll();
}

Writer::Slot* Writer::find(uint64_t hash, std::string_view key) {
  for (uint32_t i = 0; i < kProbeLimit; i++) {
    Slot& slot = slots_[(hash + i) & (slots_.size() - 1)];
    if (slot.hash == kNeverUsed) return nullptr;
    if (slot.hash == hash && slot.keyBytes == key.size() &&
        (key.empty() || ::memcmp(segment_.memory() + slot.block, key.data(), key.size()) == 0))
      return &slot;
  }
  return nullptr;
}

Writer::Slot* Writer::vacant(uint64_t hash) {
  for (uint32_t i = 0; i < kProbeLimit; i++) {
    Slot& slot = slots_[(hash + i) & (slots_.size() - 1)];
    if (slot.hash <= kRemoved) return &slot;
  }
  return nullptr;
}

/// `slot`: the key's, if it has one.
bool Writer::store(Slot* slot, uint64_t hash, std::string_view key, std::string_view value) {
  if (key.size() > kMaxKeyBytes || value.size() > kMaxValueBytes) return false;
  const uint64_t valueAt = padded(key.size());
  const uint64_t units = (valueAt + padded(value.size()) + kSmallestBlock - 1) / kSmallestBlock;
  const uint32_t order = units > 1 ? static_cast<uint32_t>(std::bit_width(units - 1)) : 0;

  const bool isNew = slot == nullptr;
  if (isNew && !(slot = vacant(hash))) return false;
  // A fresh block, also for a key that has one: the entry is odd for a few words only then, however
  // long the value is.
  const uint64_t block = allocate(order);
  if (!block && (isNew || order > slot->order)) return false;

  if (block) {
    copyIn(block, key);
    copyIn(block + valueAt, value);
  }
  Entry& entry = beginWrite(*slot);
  if (block) {
    if (!isNew) release(*slot);
    slot->block = block;
    slot->order = order;
  } else {
    copyIn(slot->block + valueAt, value);  // no room for two
  }
  slot->hash = hash;
  slot->keyBytes = static_cast<uint32_t>(key.size());
  set(entry.block, slot->block);
  set(entry.keyBytes, key.size());
  set(entry.valueBytes, value.size());
  set(entry.hash, hash);
  endWrite(*slot);
  keys_ += isNew;
  return true;
}

void Writer::leaveOut(Slot* slot, uint64_t hash) {
  leftOut_++;
  Bucket& bucket = bucketOf(hash);
  // Before the entry goes: who misses it must see that this means nothing.
  set(bucket.leftOut, 1);
  if (slot) clear(*slot, kRemoved);
  wake(bucket);
}

void Writer::clear(Slot& slot, uint64_t mark) {
  Entry& entry = beginWrite(slot);
  set(entry.hash, mark);
  endWrite(slot);
  if (slot.hash > kRemoved) {
    release(slot);
    keys_--;
  }
  slot.hash = mark;
}

Entry& Writer::beginWrite(Slot& slot) {
  Entry& entry = entries_[&slot - slots_.data()];
  set(entry.sequence, ++slot.sequence);
  return entry;
}

void Writer::endWrite(Slot& slot) {
  set(entries_[&slot - slots_.data()].sequence, ++slot.sequence);
}

/// Blocks never merge nor split: what was cut for long values serves long values, until reset.
uint64_t Writer::allocate(uint32_t order) {
  if (!free_[order].empty()) {
    const uint64_t block = free_[order].back();
    free_[order].pop_back();
    return block;
  }
  const uint64_t bytes = uint64_t{kSmallestBlock} << order;
  if (bytes > segment_.bytes() - fresh_) return 0;
  const uint64_t block = fresh_;
  fresh_ += bytes;
  return block;
}

void Writer::copyIn(uint64_t offset, std::string_view bytes) {
  Word64* words = wordsAt(segment_, offset);
  for (size_t at = 0; at < bytes.size(); at += 8) {
    uint64_t word = 0;
    ::memcpy(&word, bytes.data() + at, bytes.size() - at < 8 ? bytes.size() - at : 8);
    set(*words++, word);
  }
}

/// Readers can't say that they wait, since they can't write; so each wake-up is a system call.
void Writer::wake(Bucket& bucket) {
  set(bucket.event, bucket.event.load(std::memory_order_relaxed) + 1);
  futexWakeAll(bucket.event);
}

void Writer::wakeAll() {
  for (uint32_t i = 0; i < bucketCount_; i++) wake(buckets_[i]);
}

}  // namespace regroup::shm
