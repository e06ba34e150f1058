#include <random>

#include "core/base/thread.h"
#include "test/native/shm_harness.h"
#include "test/native/tap.h"

using namespace shm_harness;

static std::string keyOf(uint64_t i) {
  return "key/" + std::to_string(i);
}

/// Reads `keys` until "done" is there. 0: each value was one that was written.
static int readUntilDone(Reader& reader, uint64_t keys, size_t longest) {
  size_t whole = 0;
  for (uint64_t i = 0;; i++) {
    const Got got = reader.get(keyOf(i % keys));
    if (got.answer == REGROUP_SHM_OK && !isNumbered(got.value, longest)) return 2;
    // Give up now and then one may, under a storm; nothing else can happen to a key that's there.
    if (got.answer != REGROUP_SHM_OK && got.answer != REGROUP_SHM_ASK_TCP) return 3;
    whole += got.answer == REGROUP_SHM_OK;
    if (i % 16 == 0 && reader.get("done").answer == REGROUP_SHM_OK) return whole > 0 ? 0 : 4;
  }
}

TEST("readers in other processes see whole values only, while 100,000 are overwritten") {
  constexpr uint64_t kKeys = 4;
  auto writer = makeWriter(1 << 20);
  REQUIRE(writer);
  for (uint64_t i = 0; i < kKeys; i++) CHECK(writer->put(keyOf(i), numbered(i)));
  std::vector<Child> readers;
  for (int i = 0; i < 3; i++) {
    readers.emplace_back([&] {
      Reader reader(*writer);
      if (reader.answer() != REGROUP_SHM_OK) return 1;
      return readUntilDone(reader, kKeys, 2000);
    });
  }

  for (uint64_t i = 0; i < 100'000; i++) REQUIRE(writer->put(keyOf(i % kKeys), numbered(i)));
  CHECK(writer->put("done", ""));

  for (Child& reader : readers) CHECK_EQ(reader.wait(), 0);
}

TEST("threads on the writer's own mapping see whole values only, while keys come, go and move") {
  constexpr uint64_t kKeys = 4;
  // So small that values are often rewritten in place, or left out.
  auto writer = makeWriter(64 << 10);
  REQUIRE(writer);
  const Segment& segment = writer->segment();
  std::atomic<bool> done{false};
  std::atomic<int> torn{0};
  std::vector<Thread> threads;
  for (int i = 0; i < 2; i++) {
    auto thread = Thread::start([&] {
      Reader reader(segment.memory(), segment.bytes());
      for (uint64_t k = 0; !done; k++) {
        const Got got = reader.get(keyOf(k % kKeys));
        if (got.answer < 0 || (got.answer == REGROUP_SHM_OK && !isNumbered(got.value, 12'000)))
          torn++;
      }
    });
    if (CHECK(thread)) threads.push_back(std::move(*thread));
  }

  for (uint64_t i = 0; i < (kSanitized ? 20'000 : 100'000); i++) {
    (void)writer->put(keyOf(i % kKeys), numbered(i, 12'000));
    if (i % 7 == 0) writer->remove(keyOf(i / 7 % kKeys));
    if (i % 1000 == 0) writer->reset();
  }
  done = true;

  for (Thread& thread : threads) thread.join();
  CHECK_EQ(torn.load(), 0);
}

TEST("a wait is woken by a put in another process, each time") {
  constexpr int kRounds = 2000;
  auto writer = makeWriter();
  REQUIRE(writer);
  auto pipe = makePipe();
  REQUIRE(pipe);
  Child child([&] {
    Reader reader(*writer);
    for (int i = 0; i < kRounds; i++) {
      // Longer than we wait for its byte: at its deadline it would find the key, woken or not.
      if (reader.wait(keyOf(i), 2 * kLongMs).value != std::to_string(i)) return 1;
      (void)!::write(pipe->write.get(), "x", 1);
    }
    return 0;
  });

  for (int i = 0; i < kRounds; i++) {
    CHECK(writer->put(keyOf(i), std::to_string(i)));
    char byte;
    REQUIRE(waitReadable(pipe->read, support::kLong));
    REQUIRE_EQ(::read(pipe->read.get(), &byte, 1), 1);
  }

  CHECK_EQ(child.wait(), 0);
}

TEST("those that wait are told to ask the store when it is emptied, closed or has no room") {
  enum class End { Reset, Close, LeaveOut };
  for (const End end : {End::Reset, End::Close, End::LeaveOut}) {
    auto writer = makeWriter(64 << 10);
    REQUIRE(writer);
    auto pipe = makePipe();
    REQUIRE(pipe);
    Child child([&] {
      Reader reader(*writer);
      (void)!::write(pipe->write.get(), "x", 1);
      // Before the wait or in it: either way the answer comes at once.
      const int answer = reader.wait("long", kLongMs).answer;
      return answer == REGROUP_SHM_ASK_TCP ? 0 : 1 + answer;
    });
    REQUIRE(waitReadable(pipe->read, support::kLong));

    if (end == End::Close) writer.reset();
    if (end == End::LeaveOut) CHECK(!writer->put("long", std::string(2 << 20, 'x')));
    // Again and again, since it may come before the wait, which then is one for the new table.
    while (end == End::Reset && !child.ended()) writer->reset();

    CHECK_EQ(child.wait(), 0);
  }
}

TEST("a signal ends a wait, so that its handler can run") {
  auto writer = makeWriter();
  REQUIRE(writer);
  auto pipe = makePipe();
  REQUIRE(pipe);
  Child child([&] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    (void)::sigaction(SIGALRM, &action, nullptr);
    itimerval often{{0, 1000}, {0, 1000}};  // again and again, or it may come before the wait
    (void)::setitimer(ITIMER_REAL, &often, nullptr);
    const int answer = Reader(*writer).wait("never", kLongMs).answer;
    return answer == REGROUP_SHM_INTERRUPTED ? 0 : 1;
  });

  CHECK_EQ(child.wait(), 0);
}

TEST("readers that are killed at any moment disturb neither the writer nor other readers") {
  constexpr uint64_t kKeys = 4;
  // Of each process, since a fork is what costs here: 2,000 readers, each killed where it is.
  constexpr int kReaders = 4;
  constexpr int kRounds = kSanitized ? 50 : 500;
  auto writer = makeWriter();
  REQUIRE(writer);
  for (uint64_t i = 0; i < kKeys; i++) CHECK(writer->put(keyOf(i), numbered(i)));
  const auto roundOf = [](int i) { return "round/" + std::to_string(i); };
  Child witness([&] {
    Reader reader(*writer);
    for (int i = 0; i < kRounds; i++) {
      if (reader.wait(roundOf(i), kLongMs).answer != REGROUP_SHM_OK) return 1;
      const Got got = reader.get(keyOf(i % kKeys));
      if (got.answer != REGROUP_SHM_ASK_TCP && !isNumbered(got.value)) return 2;
    }
    return 0;
  });
  auto pipe = makePipe();
  REQUIRE(pipe);
  std::minstd_rand random(1);

  for (int i = 0; i < kRounds; i++) {
    Child victim([&] {
      const auto read = [&](int nth) {
        Reader reader(*writer);
        (void)!::write(pipe->write.get(), "x", 1);
        if (nth == 0) (void)reader.wait("never", kLongMs);
        for (uint64_t k = 0;; k++) {
          (void)reader.get(keyOf(k % kKeys));
          if (k % 64 == 0) (void)::sched_yield();  // to who kills us, where cores are few
        }
      };
      std::vector<Thread> threads;
      for (int nth = 1; nth < kReaders; nth++) {
        auto thread = Thread::start([&read, nth] { read(nth); });
        if (!thread) return 1;
        threads.push_back(std::move(*thread));
      }
      read(0);
      return 0;
    });
    for (int reading = 0; reading < kReaders; reading++) {
      char byte;
      REQUIRE(waitReadable(pipe->read, support::kLong));
      REQUIRE_EQ(::read(pipe->read.get(), &byte, 1), 1);
    }
    for (uint64_t k = random() % 50; k > 0; k--) CHECK(writer->put(keyOf(k % kKeys), numbered(k)));
    CHECK(writer->put(roundOf(i), ""));
    REQUIRE_EQ(victim.kill(), -SIGKILL);
  }

  CHECK_EQ(witness.wait(), 0);
}

TAP_MAIN
