#include "test/native/shm_harness.h"
#include "test/native/tap.h"

using namespace shm_harness;

static const Got kNotFound{REGROUP_SHM_NOT_FOUND, ""};
static const Got kAskTcp{REGROUP_SHM_ASK_TCP, ""};

static Got ok(std::string value) {
  return {REGROUP_SHM_OK, std::move(value)};
}

TEST("what is put can be read, overwritten and removed") {
  auto writer = makeWriter();
  REQUIRE(writer);
  Reader reader(*writer);
  REQUIRE_EQ(reader.answer(), REGROUP_SHM_OK);

  CHECK(reader.get("a") == kNotFound);
  CHECK(writer->put("a", "1"));
  CHECK(reader.get("a") == ok("1"));
  CHECK(writer->put("a", "a longer value, in a larger block than the one that it had before"));
  CHECK(reader.get("a") == ok("a longer value, in a larger block than the one that it had before"));
  CHECK(writer->put("a", ""));
  CHECK(reader.get("a") == ok(""));
  CHECK(writer->put("", "the empty key"));
  CHECK(reader.get("") == ok("the empty key"));
  CHECK_EQ(writer->keys(), 2);
  writer->remove("a");
  writer->remove("never there");
  CHECK(reader.get("a") == kNotFound);
  CHECK_EQ(writer->keys(), 1);
}

TEST("keys and values of every length around a word and a block come back whole") {
  auto writer = makeWriter(64 << 20);
  REQUIRE(writer);
  Reader reader(*writer);
  for (size_t keyBytes : {1, 7, 8, 9, 63, 64, 65, 4095, 4096}) {
    for (size_t valueBytes : {0, 1, 7, 8, 9, 55, 56, 57, 4096, 100'001, 1 << 20}) {
      const std::string key(keyBytes, 'k');
      const std::string value(valueBytes, 'v');

      CHECK(writer->put(key, value));

      CHECK(reader.get(key, kMaxValueBytes) == ok(value));
    }
  }
}

TEST("a buffer that is too small is told what it takes, and is left alone") {
  auto writer = makeWriter();
  REQUIRE(writer);
  Reader reader(*writer);
  CHECK(writer->put("key", "twelve bytes"));

  const Got small = reader.get("key", 11);

  CHECK_EQ(small.answer, REGROUP_SHM_TOO_SMALL);
  CHECK_EQ(small.bytes, 12);
  CHECK(reader.get("key", 12) == ok("twelve bytes"));
  size_t bytes = 0;
  regroup_shm_reader* raw = nullptr;
  REQUIRE_EQ(::regroup_shm_open(writer->segment().fd().get(), &raw), REGROUP_SHM_OK);
  CHECK_EQ(::regroup_shm_get(raw, "key", 3, nullptr, 0, &bytes), REGROUP_SHM_TOO_SMALL);
  CHECK_EQ(bytes, 12);
  CHECK_EQ(::regroup_shm_get(raw, nullptr, 3, nullptr, 0, &bytes), REGROUP_SHM_EARGUMENT);
  CHECK_EQ(::regroup_shm_get(raw, "key", 3, nullptr, 1, &bytes), REGROUP_SHM_EARGUMENT);
  ::regroup_shm_close(raw);
  ::regroup_shm_close(nullptr);
}

TEST("keys that find no room are left out, and their readers are told to ask the store") {
  auto writer = makeWriter(64 << 10);
  REQUIRE(writer);
  Reader reader(*writer);
  std::vector<bool> mirrored;
  for (int i = 0; i < 2000; i++)
    mirrored.push_back(writer->put("key/" + std::to_string(i), numbered(i, 256)));

  size_t found = 0;
  for (int i = 0; i < 2000; i++) {
    const Got got = reader.get("key/" + std::to_string(i));
    CHECK(got == (mirrored[i] ? ok(numbered(i, 256)) : kAskTcp));
    found += got.answer == REGROUP_SHM_OK;
  }
  CHECK(found >= 64);
  CHECK_EQ(found, writer->keys());
  CHECK_EQ(writer->leftOut(), 2000 - found);

  writer->reset();
  CHECK(reader.get("key/0") == kNotFound);
  CHECK(writer->put("key/1999", "again"));
  CHECK(reader.get("key/1999") == ok("again"));
}

TEST("a value that outgrows the room takes its key out, never leaving an old value") {
  auto writer = makeWriter(64 << 10);
  REQUIRE(writer);
  Reader reader(*writer);
  CHECK(writer->put("grows", "small"));
  CHECK(!writer->put("grows", std::string(100'000, 'x')));
  CHECK(reader.get("grows") == kAskTcp);
  CHECK(writer->put("grows", "small again"));
  CHECK(reader.get("grows") == ok("small again"));

  CHECK(!writer->put("long", std::string(kMaxValueBytes + 1, 'x')));
  CHECK(reader.get("long") == kAskTcp);
  const std::string longKey(kMaxKeyBytes + 1, 'k');
  CHECK(!writer->put(longKey, "x"));
  CHECK(reader.get(longKey) == kAskTcp);
}

TEST("a value is rewritten where it lies when there is no room for two") {
  auto writer = makeWriter(64 << 10);
  REQUIRE(writer);
  Reader reader(*writer);
  CHECK(writer->put("big", std::string(30'000, 'a')));
  while (writer->put("filler/" + std::to_string(writer->keys()), std::string(1000, 'f'))) continue;

  CHECK(writer->put("big", std::string(31'000, 'b')));

  CHECK(reader.get("big") == ok(std::string(31'000, 'b')));
}

TEST("blocks and slots of removed keys are used again") {
  auto writer = makeWriter(64 << 10);
  REQUIRE(writer);
  Reader reader(*writer);
  for (int i = 0; i < 20'000; i++) {
    const std::string key = "key/" + std::to_string(i);
    REQUIRE(writer->put(key, numbered(i)));
    REQUIRE(reader.get(key) == ok(numbered(i)));
    writer->remove(key);
  }
  CHECK_EQ(writer->keys(), 0);
}

TEST("a wait ends at once for a key that is there, and in time for one that never comes") {
  auto writer = makeWriter();
  REQUIRE(writer);
  Reader reader(*writer);
  CHECK(writer->put("there", "yes"));

  CHECK(reader.wait("there", kLongMs) == ok("yes"));
  CHECK_EQ(reader.wait("never", 0).answer, REGROUP_SHM_TIMED_OUT);
  CHECK_EQ(reader.wait("never", 20).answer, REGROUP_SHM_TIMED_OUT);
}

TEST("a reader of a closed segment is told to ask the store") {
  auto writer = makeWriter();
  REQUIRE(writer);
  Reader reader(*writer);
  CHECK(writer->put("key", "value"));

  writer.reset();

  CHECK(reader.get("key") == kAskTcp);
  CHECK(reader.wait("key", kLongMs) == kAskTcp);
}

TEST("the descriptor for readers can neither write, nor map writable, nor resize") {
  for (const bool seal : {true, false}) {
    if (seal && !probeFeatures().sealFutureWrite) continue;
    auto writer = Writer::create({64 << 10, seal});
    REQUIRE(writer);
    const Segment& segment = (*writer)->segment();
    const int fd = segment.fd().get();
    CHECK_EQ(segment.writeSealed(), seal);

    const int seals = ::fcntl(fd, F_GET_SEALS);
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | (seal ? F_SEAL_FUTURE_WRITE : 0);
    CHECK_EQ(seals & wanted, wanted);
    CHECK(::write(fd, "x", 1) < 0);
    CHECK(::ftruncate(fd, 0) < 0);
    CHECK(::ftruncate(fd, 1 << 20) < 0);
    CHECK(::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
    CHECK(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    void* memory = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(memory != MAP_FAILED);
    CHECK(::mprotect(memory, 4096, PROT_READ | PROT_WRITE) < 0);
    (void)::munmap(memory, 4096);
    if (seal) {
      const std::string path = "/proc/self/fd/" + std::to_string(fd);
      Fd again(::open(path.c_str(), O_RDWR | O_CLOEXEC));
      CHECK(!again || ::write(again.get(), "x", 1) < 0);
      CHECK(!again || ::ftruncate(again.get(), 0) < 0);
      CHECK(!again || ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0) ==
                          MAP_FAILED);
    }
    CHECK((*writer)->put("key", "our own mapping still writes"));
    CHECK(Reader(**writer).get("key") == ok("our own mapping still writes"));
  }
}

TEST("sizes out of bounds are refused") {
  for (const size_t bytes : {size_t{0}, size_t{4096}, size_t{kMaxSegmentBytes} + 1}) {
    auto writer = Writer::create({.bytes = bytes});
    REQUIRE(!writer);
    CHECK_EQ(writer.error().code, EINVAL);
  }
}

TEST("neither a segment nor a reader leaves a descriptor or a mapping behind") {
  const auto mappings = [] {
    const std::string maps = *readFile("/proc/self/maps", 16 << 20);
    size_t count = 0;
    for (size_t at = 0; (at = maps.find("regroup-store", at)) != std::string::npos; at++) count++;
    return count;
  };
  const size_t before = support::openDescriptors();
  {
    auto writer = makeWriter();
    Reader reader(*writer);
    CHECK_EQ(mappings(), 2);
  }
  CHECK_EQ(support::openDescriptors(), before);
  CHECK_EQ(mappings(), 0);
}

TAP_MAIN
