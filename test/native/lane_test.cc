#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/base/syscall.h"
#include "test/native/lane_harness.h"
#include "test/native/tap.h"

using namespace lane_harness;

namespace {

/// Sets a key over TCP. The server applies it some time later.
bool setOverTcp(uint16_t port, std::string_view key, std::string_view value) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return false;
  std::string out;
  appendHello(out, Dialect::D);
  appendRequest(out, Dialect::D, {.op = Op::Set, .key = key, .value = value});
  return ::send(fd.get(), out.data(), out.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(out.size());
}

std::string i64(int64_t value) {
  std::string out;
  appendI64(out, value);
  return out;
}

}  // namespace

TEST("a client at shared memory reads what it wrote, and what others wrote") {
  World world;
  REQUIRE(world.ok());
  LaneClient one(world);
  LaneClient two(world);
  REQUIRE(one.answer == REGROUP_SHM_OK);
  REQUIRE(two.answer == REGROUP_SHM_OK);

  CHECK_EQ(one.set("key", "value"), REGROUP_SHM_OK);
  CHECK(one.get("key") == (Got{REGROUP_SHM_OK, "value"}));
  CHECK(two.get("key") == (Got{REGROUP_SHM_OK, "value"}));
  CHECK_EQ(two.add("count", 2), 2);
  CHECK_EQ(one.add("count", 3), 5);
  CHECK(two.get("count") == (Got{REGROUP_SHM_OK, "5"}));
  CHECK(setOverTcp(world.address.port, "late", "by TCP"));
  CHECK(two.get("late") == (Got{REGROUP_SHM_OK, "by TCP"}));
  CHECK_EQ(world.stats().lanes, 2u);
}

TEST("what was there before the first client came can be read, queues over the lane only") {
  World world;
  REQUIRE(world.ok());
  CHECK(setOverTcp(world.address.port, "early", "bird"));
  while (world.stats().keys == 0) ::sched_yield();
  LaneClient client(world);
  CHECK(client.get("early") == (Got{REGROUP_SHM_OK, "bird"}));

  CHECK_EQ(client.request({.op = Op::QueuePush, .key = "queue", .value = "x"}), REGROUP_SHM_OK);
  // It exists, as WAIT sees it; so this mustn't sleep.
  CHECK_EQ(client.get("queue").answer, REGROUP_SHM_ASK_TCP);
  CHECK_EQ(client.set("queue", "value too"), REGROUP_SHM_OK);
  CHECK(client.get("queue") == (Got{REGROUP_SHM_OK, "value too"}));
  CHECK_EQ(client.request({.op = Op::DeleteKey, .key = "queue"}), REGROUP_SHM_OK);
  CHECK_EQ(client.read(8), i64(1));
  CHECK_EQ(client.get("queue").answer, REGROUP_SHM_ASK_TCP);
}

TEST("all that changes a key is seen by readers") {
  World world;
  REQUIRE(world.ok());
  LaneClient client(world);
  REQUIRE(client.answer == REGROUP_SHM_OK);
  const auto ask = [&](const Request& request) {
    CHECK_EQ(client.request(request), REGROUP_SHM_OK);
  };
  std::string pairs;
  appendString(pairs, "m1");
  appendString(pairs, "one");
  appendString(pairs, "m2");
  appendString(pairs, "two");

  ask({.op = Op::CompareSet, .key = "compared", .value = "new", .expected = ""});
  CHECK_EQ(client.readString(), "new");
  CHECK(client.get("compared") == (Got{REGROUP_SHM_OK, "new"}));
  ask({.op = Op::Append, .key = "text", .value = "ab"});
  ask({.op = Op::Append, .key = "text", .value = "cd"});
  CHECK(client.get("text") == (Got{REGROUP_SHM_OK, "abcd"}));
  ask({.op = Op::Append, .key = "text", .value = std::string(64 << 10, 'x')});
  CHECK_EQ(client.get("text").answer, REGROUP_SHM_ASK_TCP);
  ask({.op = Op::MultiSet, .list = Strings(pairs, 4)});
  CHECK(client.get("m2") == (Got{REGROUP_SHM_OK, "two"}));
  ask({.op = Op::Barrier, .number = 2, .key = "barrier"});
  CHECK(client.get("barrier") == (Got{REGROUP_SHM_OK, "1"}));
  ask({.op = Op::Barrier, .number = 2, .key = "barrier"});
  CHECK_EQ(client.read(1), std::string(1, kStatusOk));
  CHECK(client.get("barrier") == (Got{REGROUP_SHM_OK, "2"}));
  ask({.op = Op::DeleteKey, .key = "m1"});
  CHECK_EQ(client.read(8), i64(1));
  CHECK_EQ(client.get("m1", 0).answer, REGROUP_SHM_TIMED_OUT);
}

TEST("a value above what is mirrored goes through the lane in pieces") {
  World world;
  REQUIRE(world.ok());
  LaneClient client(world);
  REQUIRE(client.answer == REGROUP_SHM_OK);
  std::string large;
  for (uint64_t i = 0; large.size() < (3 << 20); i++) large += shm_harness::numbered(i);

  CHECK_EQ(client.set("large", large), REGROUP_SHM_OK);
  CHECK_EQ(client.get("large").answer, REGROUP_SHM_ASK_TCP);
  CHECK_EQ(client.request({.op = Op::Get, .key = "large"}), REGROUP_SHM_OK);
  CHECK(client.readString() == large);
}

TEST(
    "a client that reads no replies is served no further, keeps nobody waiting, and goes on "
    "later") {
  World world({.unreadBytes = 256 << 10});
  REQUIRE(world.ok());
  LaneClient slow(world);
  LaneClient other(world);
  const std::string value(100'000, 'v');
  CHECK_EQ(slow.set("key", value), REGROUP_SHM_OK);
  constexpr int kGets = 200;
  for (int i = 0; i < kGets; i++)
    CHECK_EQ(slow.request({.op = Op::Get, .key = "key"}), REGROUP_SHM_OK);
  CHECK_EQ(slow.set("behind", "them"), REGROUP_SHM_OK);

  for (int i = 1; i <= 100; i++) CHECK_EQ(other.add("n", 1), i);
  CHECK_EQ(other.get("behind", 0).answer, REGROUP_SHM_TIMED_OUT);

  for (int i = 0; i < kGets; i++) CHECK(slow.readString() == value);
  CHECK(other.get("behind") == (Got{REGROUP_SHM_OK, "them"}));
}

TEST("ten thousand requests written at once are answered in order") {
  World world;
  REQUIRE(world.ok());
  LaneClient client(world);
  constexpr int kAdds = 10'000;
  std::string out;
  for (int i = 0; i < kAdds; i++)
    appendRequest(out, Dialect::D, {.op = Op::Add, .number = 1, .key = "n"});
  // Neither they nor their replies fit into a ring.
  CHECK_EQ(client.write(out), REGROUP_SHM_OK);
  bool inOrder = true;
  for (int i = 1; i <= kAdds; i++) inOrder = inOrder && client.read(8) == i64(i);
  CHECK(inOrder);
}

TEST("a get sleeps until another process sets the key, each time") {
  constexpr int kRounds = kSanitized ? 500 : 3000;
  World world;
  REQUIRE(world.ok());
  const auto key = [](const char* who, int i) { return std::string(who) + std::to_string(i); };
  Child child([&] {
    LaneClient client(world);
    for (int i = 0; i < kRounds; i++) {
      if (client.get(key("ping", i)).value != std::to_string(i)) return 1;
      if (client.set(key("pong", i), std::to_string(i)) != REGROUP_SHM_OK) return 2;
    }
    return 0;
  });

  LaneClient client(world);
  for (int i = 0; i < kRounds; i++) {
    REQUIRE_EQ(client.set(key("ping", i), std::to_string(i)), REGROUP_SHM_OK);
    REQUIRE(client.get(key("pong", i)).value == std::to_string(i));
  }
  CHECK_EQ(child.wait(), 0);
}

TEST("a WAIT over the lane is released by another client, and can be cancelled") {
  World world;
  REQUIRE(world.ok());
  LaneClient waiter(world);
  LaneClient other(world);
  std::string keys;
  appendString(keys, "a");
  appendString(keys, "b");
  const Request wait{.op = Op::Wait, .list = Strings(keys, 2)};

  CHECK_EQ(waiter.request(wait), REGROUP_SHM_OK);
  CHECK_EQ(other.set("a", ""), REGROUP_SHM_OK);
  CHECK_EQ(waiter.read(1, 0), "");
  CHECK_EQ(waiter.answer, REGROUP_SHM_TIMED_OUT);
  CHECK_EQ(waiter.request({.op = Op::CancelWait}), REGROUP_SHM_OK);
  CHECK_EQ(waiter.read(1), std::string(1, kStatusWaitCancelled));
  CHECK_EQ(waiter.request(wait), REGROUP_SHM_OK);
  CHECK_EQ(other.set("b", ""), REGROUP_SHM_OK);
  CHECK_EQ(waiter.read(1), std::string(1, kStatusOk));
}

TEST("T-091 a reset closes the lanes, wakes who sleeps, and its keys are nobody's") {
  World world;
  REQUIRE(world.ok());
  auto pipe = makePipe();
  REQUIRE(pipe);
  Child child([&] {
    LaneClient client(world);
    (void)client.set("old", "value");
    if (client.get("old").value != "value") return 1;
    (void)!::write(pipe->write.get(), "x", 1);
    const int waited = client.get("never").answer;
    if (waited != REGROUP_SHM_ASK_TCP && waited != REGROUP_SHM_ECLOSED) return 2;
    if (client.get("new").answer != REGROUP_SHM_ASK_TCP) return 3;
    client.read(1);
    if (client.answer != REGROUP_SHM_ECLOSED) return 4;
    LaneClient again(world);
    return again.get("new").value == "round" && again.get("old", 0).value.empty() ? 0 : 5;
  });
  REQUIRE(waitReadable(pipe->read, support::kLong));

  world.server->setNotice(world.address.table, 7);
  world.server->resetTable(world.address.table);
  LaneClient next(world);
  CHECK_EQ(next.set("new", "round"), REGROUP_SHM_OK);

  CHECK_EQ(child.wait(), 0);
  CHECK_EQ(::regroup_shm_notice(next.reader()), 0u);
}

TEST("what's written after a reset isn't taken for stored") {
  World world;
  REQUIRE(world.ok());
  LaneClient client(world);
  REQUIRE_EQ(client.set("key", "value"), REGROUP_SHM_OK);
  REQUIRE_EQ(::regroup_shm_settle(client.client, kLongMs), REGROUP_SHM_OK);
  world.server->resetTable(world.address.table);
  CHECK_EQ(client.set("key", "value"), REGROUP_SHM_ECLOSED);
  CHECK_EQ(client.write("x"), REGROUP_SHM_ECLOSED);
}

TEST("a worker's slot is seen by the server, and the server's notice by every worker") {
  World world;
  REQUIRE(world.ok());
  const uint32_t table = world.address.table;
  LaneClient quiet(world);
  LaneClient worker(world);
  CHECK(world.server->slots(table).empty());
  ::regroup_shm_beat(worker.client, 3, 1200, 2);
  ::regroup_shm_beat(worker.client, 3, 1201, 2);

  const auto slots = world.server->slots(table);

  REQUIRE_EQ(slots.size(), 1u);
  CHECK_EQ(slots[0].pid, ::getpid());
  CHECK_EQ(slots[0].rank, 3u);
  CHECK_EQ(slots[0].beats, 2u);
  CHECK_EQ(slots[0].step, 1201u);
  CHECK_EQ(slots[0].phase, 2u);
  CHECK(slots[0].beatNs > 0);
  CHECK_EQ(world.server->stats(table).highestStep, 1201u);

  Child child([&] {
    LaneClient client(world);
    uint32_t notice = 0;
    const int answer = ::regroup_shm_wait_notice(client.reader(), 0, &notice, kLongMs);
    return answer == REGROUP_SHM_OK && notice == 5 ? 0 : 1;
  });
  world.server->setNotice(table, 5);
  CHECK_EQ(child.wait(), 0);
  CHECK_EQ(::regroup_shm_notice(quiet.reader()), 5u);
}

TEST("how far a worker got is known when it's gone, and after a reset") {
  World world;
  REQUIRE(world.ok());
  const uint32_t table = world.address.table;
  {
    LaneClient worker(world);
    ::regroup_shm_beat(worker.client, 0, 7, 0);
  }
  // Whether the server has noticed yet makes no difference.
  CHECK_EQ(world.server->stats(table).highestStep, 7u);

  world.server->resetTable(table);
  LaneClient next(world);
  ::regroup_shm_beat(next.client, 0, 5, 0);

  CHECK_EQ(world.server->stats(table).highestStep, 7u);
}

TEST("in a forked child only the reader works") {
  World world;
  REQUIRE(world.ok());
  LaneClient client(world);
  CHECK_EQ(client.add("n", 1), 1);
  Child child([&] {
    if (client.set("key", "") != REGROUP_SHM_EFORKED) return 1;
    if (client.get("missing").answer != REGROUP_SHM_EFORKED) return 1;
    if (client.get("n").answer != REGROUP_SHM_OK) return 1;
    char value[8];
    size_t bytes = 0;
    return ::regroup_shm_get(client.reader(), "n", 1, value, sizeof value, &bytes);
  });
  CHECK_EQ(child.wait(), REGROUP_SHM_OK);
  CHECK_EQ(client.add("n", 1), 2);
}

TEST("past the lanes that there are, clients are refused, and TCP goes on") {
  World world({.sharedMemory = {.lanes = 2}});
  REQUIRE(world.ok());
  {
    LaneClient one(world);
    LaneClient two(world);
    CHECK_EQ(two.answer, REGROUP_SHM_OK);
    CHECK_EQ(LaneClient(world).answer, REGROUP_SHM_ECLOSED);
    CHECK(setOverTcp(world.address.port, "key", "value"));
    CHECK(one.get("key") == (Got{REGROUP_SHM_OK, "value"}));
    CHECK_EQ(world.stats().refused, 1u);
  }
  while (world.stats().lanes > 0) ::sched_yield();
  CHECK_EQ(LaneClient(world).answer, REGROUP_SHM_OK);
  CHECK(world.logged().find("all lanes are taken: 2") != std::string::npos);
}

TEST("another user gets neither the segment nor a lane") {
  if (::geteuid() != 0) return tap::skip("needs root, to become somebody else");
  World world;
  REQUIRE(world.ok());
  Child child([&] {
    if (::setresuid(65534, 65534, 65534) != 0) return 99;
    const LaneClient client(world);
    // Who refuses first: we, since the server isn't ours, or the server.
    return client.answer == REGROUP_SHM_EUSER ? 0 : 1;
  });
  CHECK_EQ(child.wait(), 0);
  Child bold([&] {
    if (::setresuid(65534, 65534, 65534) != 0) return 99;
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string& name = world.address.local;
    ::memcpy(address.sun_path + 1, name.data() + 1, name.size() - 1);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) < 0) return 1;
    char byte;
    return ::recv(fd.get(), &byte, 1, 0) == 0 ? 0 : 2;
  });
  CHECK_EQ(bold.wait(), 0);
  CHECK(world.logged().find("its user is 65534") != std::string::npos);
  CHECK_EQ(world.stats().lanes, 0u);
}

TEST("names that are nobody's, and what isn't a name, are told apart") {
  CHECK_EQ(LaneClient("@regroup-store-nobody").answer, REGROUP_SHM_ESYSTEM);
  CHECK_EQ(LaneClient("@regroup-store-nobody").error, ECONNREFUSED);
  CHECK_EQ(LaneClient("/nowhere/socket").error, ENOENT);
  CHECK_EQ(LaneClient("").answer, REGROUP_SHM_EARGUMENT);
  CHECK_EQ(LaneClient(std::string(200, 'x')).answer, REGROUP_SHM_EARGUMENT);
}

TEST("a server that is killed is noticed by who waits") {
  auto pipe = makePipe();
  REQUIRE(pipe);
  Child host([&] {
    World world;
    (void)!::write(pipe->write.get(), world.address.local.data(), world.address.local.size());
    for (;;) ::pause();
    return 0;
  });
  char name[128];
  REQUIRE(waitReadable(pipe->read, support::kLong));
  const ssize_t size = ::read(pipe->read.get(), name, sizeof name);
  REQUIRE(size > 1);
  LaneClient client(std::string(name, static_cast<size_t>(size)));
  REQUIRE_EQ(client.answer, REGROUP_SHM_OK);
  CHECK_EQ(client.add("n", 1), 1);

  host.kill();

  // A signal now and then, as a profiler sends them, must not put the look at the server off.
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  (void)::sigaction(SIGALRM, &action, &before);
  const itimerval often{{0, 100'000}, {0, 100'000}};
  const itimerval never{};
  (void)::setitimer(ITIMER_REAL, &often, nullptr);
  int answer = REGROUP_SHM_INTERRUPTED;
  for (int i = 0; i < 100 && answer == REGROUP_SHM_INTERRUPTED; i++)
    answer = client.get("never").answer;
  (void)::setitimer(ITIMER_REAL, &never, nullptr);
  (void)::sigaction(SIGALRM, &before, nullptr);
  CHECK_EQ(answer, REGROUP_SHM_ECLOSED);
  client.add("n", 1);
  CHECK_EQ(client.answer, REGROUP_SHM_ECLOSED);
}

TAP_MAIN
