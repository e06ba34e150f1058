#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include <random>

#include "core/base/thread.h"
#include "test/native/shm_harness.h"
#include "test/native/tap.h"

using namespace shm_harness;

namespace {

constexpr size_t kBytes = 64 << 10;
constexpr int kKeys = 40;

std::string keyOf(int i) {
  return "key/" + std::to_string(i);
}

/// A copy of a good segment that we may damage. On the heap, so that AddressSanitizer sees a read
/// beyond its last byte.
class Copy {
 public:
  explicit Copy(const Segment& segment) : Copy(segment.memory(), segment.bytes()) {}
  Copy(const std::byte* from, size_t bytes) : bytes_(bytes) {
    memory_ = static_cast<std::byte*>(::aligned_alloc(64, bytes));
    ::memcpy(memory_, from, bytes);
  }
  Copy(const Copy&) = delete;
  ~Copy() { ::free(memory_); }

  std::byte* memory() { return memory_; }
  size_t bytes() const { return bytes_; }
  Header& header() { return *reinterpret_cast<Header*>(memory_); }
  Entry* entries() { return reinterpret_cast<Entry*>(memory_ + header().indexOffset); }
  Word64& word(size_t i) { return reinterpret_cast<Word64*>(memory_)[i]; }

 private:
  std::byte* memory_;
  size_t bytes_;
};

std::unique_ptr<Writer> filledWriter() {
  auto writer = makeWriter(kBytes);
  for (int i = 0; writer && i < kKeys; i++) (void)writer->put(keyOf(i), numbered(i, 500));
  return writer;
}

/// A sealed memfd with these bytes.
Fd memfdOf(const void* bytes, size_t size, int seals = F_SEAL_SHRINK) {
  auto fd = makeMemfd("regroup-test");
  if (!fd) return Fd();
  (void)!::write(fd->get(), bytes, size);
  if (seals) (void)addSeals(*fd, seals);
  return std::move(*fd);
}

int openAnswer(const Fd& fd) {
  return Reader(fd.get()).answer();
}

}  // namespace

TEST("a header that isn't ours, or points outside, gives an error") {
  auto writer = filledWriter();
  REQUIRE(writer);
  const struct {
    size_t offset;
    size_t size;
    uint64_t value;
    int answer;
  } cases[] = {
      {offsetof(Header, magic), 8, 0, REGROUP_SHM_EFORMAT},
      {offsetof(Header, version), 4, kVersion + 1, REGROUP_SHM_EVERSION},
      {offsetof(Header, headerBytes), 4, 64, REGROUP_SHM_EFORMAT},
      {offsetof(Header, segmentBytes), 8, kBytes + 1, REGROUP_SHM_EFORMAT},
      {offsetof(Header, segmentBytes), 8, ~uint64_t{0}, REGROUP_SHM_EFORMAT},
      {offsetof(Header, segmentBytes), 8, 0, REGROUP_SHM_EFORMAT},
      {offsetof(Header, bucketOffset), 8, 0, REGROUP_SHM_EFORMAT},
      {offsetof(Header, bucketOffset), 8, sizeof(Header) + 4, REGROUP_SHM_EFORMAT},
      {offsetof(Header, bucketOffset), 8, kBytes - 8, REGROUP_SHM_EFORMAT},
      {offsetof(Header, indexOffset), 8, kBytes - 32, REGROUP_SHM_EFORMAT},
      {offsetof(Header, indexOffset), 8, ~uint64_t{7}, REGROUP_SHM_EFORMAT},
      {offsetof(Header, arenaOffset), 8, ~uint64_t{7}, REGROUP_SHM_EFORMAT},
      {offsetof(Header, arenaBytes), 8, ~uint64_t{0}, REGROUP_SHM_EFORMAT},
      {offsetof(Header, arenaBytes), 8, kBytes, REGROUP_SHM_EFORMAT},
      {offsetof(Header, buckets), 4, 0, REGROUP_SHM_EFORMAT},
      {offsetof(Header, buckets), 4, 3, REGROUP_SHM_EFORMAT},
      {offsetof(Header, buckets), 4, 1u << 31, REGROUP_SHM_EFORMAT},
      {offsetof(Header, slots), 4, 0, REGROUP_SHM_EFORMAT},
      {offsetof(Header, slots), 4, 1u << 31, REGROUP_SHM_EFORMAT},
  };
  for (const auto& damage : cases) {
    Copy copy(writer->segment());
    ::memcpy(copy.memory() + damage.offset, &damage.value, damage.size);

    CHECK_EQ(Reader(copy.memory(), copy.bytes()).answer(), damage.answer);
    CHECK_EQ(openAnswer(memfdOf(copy.memory(), copy.bytes())), damage.answer);
  }
}

TEST("a file that could shrink, is too short, or is none of ours isn't mapped") {
  auto writer = filledWriter();
  REQUIRE(writer);
  Copy copy(writer->segment());

  CHECK_EQ(openAnswer(memfdOf(copy.memory(), copy.bytes())), REGROUP_SHM_OK);
  CHECK_EQ(openAnswer(memfdOf(copy.memory(), copy.bytes(), 0)), REGROUP_SHM_EFORMAT);
  CHECK_EQ(openAnswer(memfdOf(copy.memory(), copy.bytes(), F_SEAL_GROW)), REGROUP_SHM_EFORMAT);
  CHECK_EQ(openAnswer(memfdOf(copy.memory(), kBytes / 2)), REGROUP_SHM_EFORMAT);
  CHECK_EQ(openAnswer(memfdOf(copy.memory(), 100)), REGROUP_SHM_EFORMAT);
  CHECK_EQ(openAnswer(memfdOf("", 0)), REGROUP_SHM_EFORMAT);
  CHECK_EQ(openAnswer(Fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC))), REGROUP_SHM_EFORMAT);
  CHECK_EQ(openAnswer(Fd()), REGROUP_SHM_ESYSTEM);
  CHECK_EQ(Reader(nullptr, kBytes).answer(), REGROUP_SHM_EARGUMENT);
  CHECK_EQ(Reader(copy.memory() + 8, kBytes - 8).answer(), REGROUP_SHM_EARGUMENT);
}

TEST("an entry that points outside the arena gives an error, an odd one an answer") {
  auto writer = filledWriter();
  REQUIRE(writer);
  const uint64_t begin = Copy(writer->segment()).header().arenaOffset;
  const auto readAll = [&](auto damage) {
    Copy copy(writer->segment());
    for (uint32_t i = 0; i < copy.header().slots; i++) damage(copy.entries()[i]);
    Reader reader(copy.memory(), copy.bytes());
    int answer = reader.get(keyOf(0)).answer;
    for (int i = 1; i < kKeys; i++) {
      if (reader.get(keyOf(i)).answer != answer) answer = 99;
    }
    return answer;
  };

  for (const uint64_t block : {uint64_t{0}, begin - 8, begin + 4, uint64_t{kBytes} - 8,
                               uint64_t{kBytes}, ~uint64_t{7}, uint64_t{1} << 63})
    CHECK_EQ(readAll([&](Entry& entry) { entry.block = block; }), REGROUP_SHM_EFORMAT);
  CHECK_EQ(readAll([](Entry& entry) { entry.valueBytes = ~0u; }), REGROUP_SHM_EFORMAT);
  CHECK_EQ(readAll([](Entry& entry) { entry.keyBytes = ~0u; }), REGROUP_SHM_NOT_FOUND);
  // As a writer leaves it that was killed between two words.
  CHECK_EQ(readAll([](Entry& entry) { entry.sequence = entry.sequence | 1; }), REGROUP_SHM_ASK_TCP);
}

TEST("a table that stays odd, as its writer was killed while it emptied it, gives an answer") {
  auto writer = filledWriter();
  REQUIRE(writer);
  Copy copy(writer->segment());
  copy.header().generation = 1;
  Reader reader(copy.memory(), copy.bytes());

  CHECK_EQ(reader.get(keyOf(0)).answer, REGROUP_SHM_ASK_TCP);
  CHECK_EQ(reader.wait("never", kLongMs).answer, REGROUP_SHM_ASK_TCP);
}

TEST("an index without a free slot, of one hash, doesn't catch a reader") {
  auto writer = filledWriter();
  REQUIRE(writer);
  Copy copy(writer->segment());
  const std::string key = "never";
  for (uint32_t i = 0; i < copy.header().slots; i++)
    copy.entries()[i].hash = hashKey(key.data(), key.size());
  Reader reader(copy.memory(), copy.bytes());

  CHECK_EQ(reader.get(key).answer, REGROUP_SHM_NOT_FOUND);
  CHECK_EQ(reader.wait(key, 1).answer, REGROUP_SHM_TIMED_OUT);
}

TEST("a segment with any words damaged is read to an answer, and never beyond its end") {
  auto writer = filledWriter();
  REQUIRE(writer);
  std::minstd_rand random(7);
  const size_t interesting = Copy(writer->segment()).header().arenaOffset / 8;
  size_t opened = 0;
  for (int round = 0; round < (kSanitized ? 2000 : 20'000); round++) {
    Copy copy(writer->segment());
    for (int n = 1 + random() % 200; n > 0; n--) {
      // A bit flipped, or a number of the size that offsets and lengths have.
      Word64& word = copy.word(round % 8 == 0 ? random() % 16 : 16 + random() % (interesting - 16));
      word = random() % 2 ? word ^ (uint64_t{1} << random() % 64)
                          : random() % (2 * kBytes) << (random() % 2 * 32);
    }
    Reader reader(copy.memory(), copy.bytes());
    if (reader.answer() != REGROUP_SHM_OK) continue;
    opened++;
    for (int i = 0; i < kKeys; i += 3) {
      const int answer = reader.get(keyOf(i), kBytes).answer;
      CHECK(answer == REGROUP_SHM_EFORMAT || (answer >= 0 && answer <= REGROUP_SHM_TOO_SMALL));
    }
  }
  CHECK(opened > 1000);
}

TEST("a segment that is scribbled on while it is read never catches a reader") {
  auto writer = filledWriter();
  REQUIRE(writer);
  Copy copy(writer->segment());
  std::atomic<bool> done{false};
  Reader reader(copy.memory(), copy.bytes());
  REQUIRE_EQ(reader.answer(), REGROUP_SHM_OK);
  auto scribbler = Thread::start([&] {
    std::minstd_rand random(3);
    while (!done) copy.word(random() % (copy.bytes() / 8)) = random() % (2 * kBytes);
  });
  REQUIRE(scribbler);

  for (int i = 0; i < (kSanitized ? 20'000 : 200'000); i++) {
    const int answer = i % 1000 == 0 ? reader.wait(keyOf(i % kKeys), 1).answer
                                     : reader.get(keyOf(i % kKeys), kBytes).answer;
    CHECK(answer == REGROUP_SHM_EFORMAT || (answer >= 0 && answer <= REGROUP_SHM_TIMED_OUT));
  }

  done = true;
  scribbler->join();
}

namespace {

/// Moves whoever sleeps at one of the segment's words to a word of its own, as any process can that
/// has mapped it, for reading too. Waits until there's somebody. @returns whom it got
long steal(const uint32_t* from, size_t count) {
  static uint32_t mine;
  long moved = 0;
  while (moved <= 0) {
    for (size_t i = 0; i < count && moved <= 0; i++)
      moved = ::syscall(SYS_futex, from + 2 * i, FUTEX_REQUEUE, 0, INT_MAX, &mine, 0);
  }
  return moved;
}

}  // namespace

TEST("F-N16 a reader whose sleep is moved elsewhere by another still sees what comes") {
  auto writer = makeWriter();
  REQUIRE(writer);
  Child victim([&] {
    Reader reader(*writer);
    return reader.wait("key", kLongMs) == (Got{REGROUP_SHM_OK, "value"}) ? 0 : 1;
  });
  Child other([&] {
    regroup_shm_reader* reader = nullptr;
    if (::regroup_shm_open(writer->segment().fd().get(), &reader) != REGROUP_SHM_OK) return 2;
    uint32_t notice = 0;
    const int answer = ::regroup_shm_wait_notice(reader, 0, &notice, kLongMs);
    return answer == REGROUP_SHM_OK && notice == 7 ? 0 : 1;
  });
  const auto& header = *reinterpret_cast<const Header*>(writer->segment().memory());
  const auto* const buckets =
      reinterpret_cast<const uint32_t*>(writer->segment().memory() + load(header.bucketOffset));

  CHECK_EQ(steal(buckets, load(header.buckets)), 1);
  CHECK_EQ(steal(reinterpret_cast<const uint32_t*>(&header.notice), 1), 1);
  CHECK(writer->put("key", "value"));
  writer->setNotice(7);

  CHECK_EQ(victim.wait(), 0);
  CHECK_EQ(other.wait(), 0);
}

TAP_MAIN
