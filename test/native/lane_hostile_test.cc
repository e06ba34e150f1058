#include <dirent.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <random>

#include "core/base/syscall.h"
#include "core/shm/shm_handover.h"
#include "test/native/lane_harness.h"
#include "test/native/tap.h"

using namespace lane_harness;
using shm_harness::isNumbered;
using shm_harness::numbered;

namespace {

/// A client that plays by no rules.
struct Hostile {
  explicit Hostile(const World& world) {
    answer = shm::takeHandover(world.address.local.c_str(), kLongMs, handed);
    if (answer == REGROUP_SHM_OK) answer = shm::mapLane(handed.lane, &memory);
    lane = reinterpret_cast<shm::Lane*>(memory);
  }
  ~Hostile() {
    if (memory) ::munmap(memory, shm::kLaneBytes);
  }
  void ring() { (void)::send(handed.socket, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT); }
  /// Whether the server has hung up. Waits for it.
  bool isDropped() {
    char byte;
    const timeval patience{kLongMs / 1000, 0};
    (void)::setsockopt(handed.socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const ssize_t size = ::recv(handed.socket, &byte, 1, 0);
    return size == 0 || (size < 0 && errno == ECONNRESET);
  }

  shm::Handed handed;
  std::byte* memory = nullptr;
  shm::Lane* lane = nullptr;
  int answer;
};

int openFds() {
  int count = 0;
  DIR* const folder = ::opendir("/proc/self/fd");
  while (::readdir(folder)) count++;
  ::closedir(folder);
  return count;
}

int mappedLanes() {
  auto maps = readFile("/proc/self/maps", 8 << 20);
  int count = 0;
  for (size_t at = maps ? maps->find("regroup-lane") : std::string::npos; at != std::string::npos;
       at = maps->find("regroup-lane", at + 1))
    count++;
  return count;
}

/// The server counts a lane as gone a moment before its memory is.
void awaitClosed(int fds, int mapped) {
  while (openFds() > fds || mappedLanes() != mapped) ::sched_yield();
}

void awaitLanes(World& world, uint64_t lanes) {
  // Counted when all of it is gone.
  while (world.stats().clients != lanes) ::sched_yield();
}

std::string keyOf(uint64_t i) {
  return "key/" + std::to_string(i);
}

}  // namespace

TEST("counts that can't be cost their client its lane, with one line that names it") {
  World world;
  REQUIRE(world.ok());
  LaneClient other(world);
  Hostile requests(world);
  REQUIRE_EQ(requests.answer, REGROUP_SHM_OK);
  requests.lane->requestHead = shm::kRingBytes + 1;
  requests.ring();
  CHECK(requests.isDropped());
  CHECK_EQ(requests.lane->closed.load(), 1u);

  Hostile replies(world);
  REQUIRE_EQ(replies.answer, REGROUP_SHM_OK);
  std::string out;
  appendHello(out, Dialect::D);
  appendRequest(out, Dialect::D, {.op = Op::Add, .number = 1, .key = "n"});
  shm::copyToRing(replies.memory + shm::kRequestOffset, 0, out.data(), out.size());
  replies.lane->replyTail = 1u << 31;
  replies.lane->requestHead = static_cast<uint32_t>(out.size());
  replies.ring();
  CHECK(replies.isDropped());

  CHECK_EQ(other.add("n", 1), 2);
  CHECK_EQ(world.stats().faults, 2u);
  const std::string who = "process " + std::to_string(::getpid()) + " at shared memory";
  CHECK(world.logged().find("closed " + who + ": its count of requests can't be") !=
        std::string::npos);
  CHECK(world.logged().find("closed " + who + ": its count of replies can't be") !=
        std::string::npos);
}

TEST("a count that can't be is noticed when a waiting client is released, too") {
  World world;
  REQUIRE(world.ok());
  Hostile waiter(world);
  REQUIRE_EQ(waiter.answer, REGROUP_SHM_OK);
  std::string key;
  appendString(key, "key");
  std::string out;
  appendHello(out, Dialect::D);
  appendRequest(out, Dialect::D, {.op = Op::Wait, .list = Strings(key, 1)});
  shm::copyToRing(waiter.memory + shm::kRequestOffset, 0, out.data(), out.size());
  waiter.lane->requestHead = static_cast<uint32_t>(out.size());
  waiter.ring();
  while (world.stats().waiters == 0) ::sched_yield();

  waiter.lane->replyTail = 1u << 31;
  LaneClient other(world);
  CHECK_EQ(other.set("key", "value"), REGROUP_SHM_OK);

  CHECK(waiter.isDropped());
  awaitLanes(world, 1);
  CHECK_EQ(world.stats().faults, 1u);
}

TEST("bytes that are no request cost their client its lane") {
  World world;
  REQUIRE(world.ok());
  LaneClient client(world);
  CHECK_EQ(client.write("\xff garbage"), REGROUP_SHM_OK);
  client.read(1);
  CHECK_EQ(client.answer, REGROUP_SHM_ECLOSED);
  LaneClient http(world);
  std::string announced;
  announced += '\x01';
  appendI64(announced, INT64_MIN);
  CHECK_EQ(http.write(announced), REGROUP_SHM_OK);
  http.read(1);
  CHECK_EQ(http.answer, REGROUP_SHM_ECLOSED);
  CHECK_EQ(world.stats().faults, 2u);
}

TEST("a client that scribbles over its lane costs only itself") {
  constexpr int kRounds = kSanitized ? 60 : 600;
  World world;
  REQUIRE(world.ok());
  LaneClient other(world);
  REQUIRE_EQ(other.set("truth", "whole"), REGROUP_SHM_OK);
  std::mt19937 random(1);

  for (int round = 0; round < kRounds; round++) {
    Hostile hostile(world);
    REQUIRE_EQ(hostile.answer, REGROUP_SHM_OK);
    std::string out;
    appendHello(out, Dialect::D);
    appendRequest(out, Dialect::D, {.op = Op::Set, .key = "mine", .value = "x"});
    shm::copyToRing(hostile.memory + shm::kRequestOffset, 0, out.data(), out.size());
    if (round % 2 == 0) hostile.lane->requestHead = static_cast<uint32_t>(out.size());
    for (int i = 0; i < 20; i++) {
      auto* const words = reinterpret_cast<shm::Word32*>(hostile.memory);
      for (int k = 0; k < 8; k++) words[random() % 64] = random() >> (random() % 32);
      for (int k = 0; k < 64; k++)
        words[(shm::kRequestOffset + random() % (2 * shm::kRingBytes)) / 4] = random();
      hostile.ring();
      if (i % 5 == 0) REQUIRE(other.get("truth") == (Got{REGROUP_SHM_OK, "whole"}));
    }
    REQUIRE(other.add("n", 1) == round + 1);
  }
  awaitLanes(world, 1);
  awaitClosed(openFds(), 2);  // other's, by both sides
}

TEST("clients that are killed at any instruction disturb nobody, and leave nothing") {
  constexpr uint64_t kKeys = 4;
  constexpr int kKilled = kSanitized ? 200 : 2000;
  constexpr int kAtOnce = 8;
  World world;
  REQUIRE(world.ok());
  LaneClient witness(world);
  for (uint64_t i = 0; i < kKeys; i++)
    REQUIRE_EQ(witness.set(keyOf(i), numbered(i)), REGROUP_SHM_OK);
  REQUIRE(isNumbered(witness.get(keyOf(0)).value));
  const int fds = openFds();
  std::minstd_rand random(1);

  for (int killed = 0; killed < kKilled; killed += kAtOnce) {
    auto pipe = makePipe();
    REQUIRE(pipe);
    std::vector<Child> victims;
    for (int n = 0; n < kAtOnce; n++) {
      const int seed = killed + n;
      victims.emplace_back([&, seed] {
        (void)!::nice(15);  // else whoever kills them waits for them
        LaneClient client(world);
        (void)!::write(pipe->write.get(), "x", 1);
        for (uint64_t k = static_cast<uint64_t>(seed);; k++) {
          switch (k % 5) {
            case 0:
              (void)client.set(keyOf(k % kKeys), numbered(k));
              break;
            case 1:
              (void)client.get(keyOf(k % kKeys));
              break;
            case 2:
              (void)client.add("count", 1);
              break;
            case 3:
              (void)client.request({.op = Op::Get, .key = keyOf(k % kKeys)});
              (void)client.readString();
              break;
            default:
              if (seed % 8 == 0 && k % 20 == 19) (void)client.get("never", 5);
          }
        }
        return 0;
      });
    }
    char byte;
    for (int n = 0; n < kAtOnce; n++) {
      REQUIRE(waitReadable(pipe->read, support::kLong));
      REQUIRE_EQ(::read(pipe->read.get(), &byte, 1), 1);
    }
    for (Child& victim : victims) {
      for (uint64_t k = random() % 40; k > 0; k--) {
        const Got got = witness.get(keyOf(k % kKeys));
        REQUIRE(got.answer == REGROUP_SHM_ASK_TCP || isNumbered(got.value));
      }
      REQUIRE_EQ(victim.kill(), -SIGKILL);
    }
  }

  awaitLanes(world, 1);
  CHECK_EQ(world.stats().faults, 0u);
  CHECK_EQ(world.stats().waiters, 0u);
  awaitClosed(fds, 2);
  CHECK(witness.add("count", 1) > 0);
}

TEST("T-105 lanes that come and go leave no descriptor, mapping or memory") {
  World world;
  REQUIRE(world.ok());
  { LaneClient first(world); }
  awaitLanes(world, 0);
  const int fds = openFds();
  for (int i = 0; i < 1000; i++) {
    LaneClient client(world);
    REQUIRE_EQ(client.set("key", "value"), REGROUP_SHM_OK);
  }
  awaitLanes(world, 0);
  awaitClosed(fds, 0);
}

TEST("who forked from a client that's gone can't go on with its lane") {
  World world;
  REQUIRE(world.ok());
  Hostile hostile(world);
  REQUIRE_EQ(hostile.answer, REGROUP_SHM_OK);
  std::string out;
  appendHello(out, Dialect::D);
  appendRequest(out, Dialect::D, {.op = Op::Set, .key = "before", .value = "x"});
  shm::copyToRing(hostile.memory + shm::kRequestOffset, 0, out.data(), out.size());
  hostile.lane->requestHead = static_cast<uint32_t>(out.size());
  auto more = Thread::start([&] {
    // As long as the server looks, there's something new in the ring.
    std::string again;
    appendRequest(again, Dialect::D, {.op = Op::Add, .number = 1, .key = "after"});
    uint32_t head = static_cast<uint32_t>(out.size());
    while (hostile.lane->closed.load() == 0) {
      if (head - hostile.lane->requestTail.load() > shm::kRingBytes - again.size()) continue;
      shm::copyToRing(hostile.memory + shm::kRequestOffset, head, again.data(), again.size());
      head += static_cast<uint32_t>(again.size());
      hostile.lane->requestHead.store(head);
    }
  });
  REQUIRE(more);
  ::close(hostile.handed.socket);
  hostile.handed.socket = -1;

  awaitLanes(world, 0);
  more->join();
  LaneClient next(world);
  CHECK(next.get("before") == (Got{REGROUP_SHM_OK, "x"}));
}

TAP_MAIN
