#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <thread>

#include "test/native/store_harness.h"

using namespace store_harness;

namespace {

/// Keys k0, k1, …, with lengths; `value`: behind each, if given.
std::string manyKeys(uint64_t count, const char* value = nullptr) {
  std::string list;
  for (uint64_t i = 0; i < count; i++) {
    appendString(list, "/k" + std::to_string(i));
    if (value) appendString(list, value);
  }
  return list;
}

}  // namespace

namespace {

/// A connection that keeps the store's thread until it's let go: `B` blocks.
class Blocking final : public Protocol {
 public:
  Blocking(Fd& entered, Fd& go) : entered_(entered), go_(go) {}
  Match match(std::string_view first) const override {
    return first[0] == 'B' ? Match::Yes : Match::No;
  }
  std::unique_ptr<Session> open(Peer&) override { return std::make_unique<Blocker>(*this); }

 private:
  class Blocker final : public Session {
   public:
    explicit Blocker(Blocking& protocol) : protocol_(protocol) {}
    Progress onInput(std::string_view input, const Turn&, Reply&) override {
      uint64_t count = 1;
      (void)!::write(protocol_.entered_.get(), &count, sizeof count);
      (void)!::read(protocol_.go_.get(), &count, sizeof count);
      return {.consumed = input.size()};
    }

   private:
    Blocking& protocol_;
  };

  Fd& entered_;
  Fd& go_;
};

/// A world whose store's thread can be kept.
class KeptWorld {
 public:
  KeptWorld() : world(options()) {}

  /// Returns when the thread is kept.
  void keep() {
    blocker = std::make_unique<Client>(world.address.port);
    blocker->write("B");
    uint64_t count;
    (void)!::read(entered.get(), &count, sizeof count);
  }
  void letGo() {
    const uint64_t one = 1;
    (void)!::write(go.get(), &one, sizeof one);
  }

  Fd entered{::eventfd(0, EFD_CLOEXEC)};
  Fd go{::eventfd(0, EFD_CLOEXEC)};
  World world;
  std::unique_ptr<Client> blocker;

 private:
  ServerOptions options() {
    ServerOptions options;
    options.protocols.push_back(
        [this](Table&, Loop&) { return std::make_unique<Blocking>(entered, go); });
    return options;
  }
};

}  // namespace

TEST("F-N05 whatever one client asks, others are served before it's done") {
  constexpr uint64_t kKeys = 100'000;
  const std::string names = manyKeys(kKeys);
  const std::string pairs = manyKeys(kKeys, "v");
  const std::string multiSet = bytesOf({.op = Op::MultiSet, .list = {pairs, 2 * kKeys}});
  std::string listKeys;
  for (int i = 0; i < 16; i++) listKeys += bytesOf({.op = Op::ListKeys});
  struct {
    const char* name;
    bool filled;  // the keys are there
    std::string request;
  } const cases[] = {
      {"LIST_KEYS", true, listKeys},
      {"CHECK", true, bytesOf({.op = Op::Check, .list = {names, kKeys}})},
      {"MULTI_GET", true, bytesOf({.op = Op::MultiGet, .list = {names, kKeys}})},
      {"MULTI_SET", false, multiSet},
      {"MULTI_SET over what's there", true, multiSet},
  };
  for (const auto& [name, filled, request] : cases) {
    KeptWorld kept;
    World& world = kept.world;
    Client heavy = world.connect();
    Client light = world.connect();
    REQUIRE(heavy.write(filled ? multiSet : "").ping());
    REQUIRE(light.ping());
    // All but its end is in; what follows comes to a server that's kept, so that it has both at
    // once.
    const uint64_t in = world.stats().bytesIn;
    heavy.write(std::string_view(request).substr(0, request.size() - 1));
    while (world.stats().bytesIn < in + request.size() - 1) continue;
    kept.keep();
    heavy.write(request.substr(request.size() - 1));
    heavy.request({.op = Op::Set, .key = "/done", .value = "yes"});
    std::string pings;
    for (int i = 0; i < 2000; i++) pings += bytesOf({.op = Op::Ping, .nonce = 1});
    light.write(pings).request({.op = Op::Get, .key = "/done"});
    kept.letGo();

    const std::string replies = light.read(2000 * 4 + 8);

    if (!CHECK_EQ(replies.substr(8000), vec(""))) ::fprintf(stderr, "it was %s\n", name);
    // Nor does it stay undone.
    std::thread reader([&] { (void)heavy.closed(); });
    if (!CHECK_EQ(light.write(listRequest(Op::Wait, {"/done"})).read(1), kOk))
      ::fprintf(stderr, "it was %s\n", name);
    ::shutdown(heavy.fd.get(), SHUT_RDWR);
    reader.join();
  }
}

TEST("F-N05 a client that goes in the middle of a long MULTI_SET has set all of it") {
  constexpr uint64_t kKeys = 100'000;
  const std::string pairs = manyKeys(kKeys, "v");
  World world;
  {
    Client client = world.connect();
    client.write(bytesOf({.op = Op::MultiSet, .list = {pairs, 2 * kKeys}}));
    const linger reset{1, 0};
    while (world.stats().keys == 0) continue;
    ::setsockopt(client.fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  while (world.stats().clients > 0) continue;
  CHECK_EQ(world.connect().request({.op = Op::GetNumKeys}).read(8), i64(kKeys));
}

TEST("F-N05 replies keep their order when a long wait ends in the turn that asked for it") {
  constexpr uint64_t kKeys = 5000;
  const std::string pairs = manyKeys(kKeys, "v");
  const std::string names = manyKeys(kKeys);
  World world;
  Client client = world.connect();
  std::string requests = bytesOf({.op = Op::MultiSet, .list = {pairs, 2 * kKeys}});
  requests += bytesOf({.op = Op::Get, .key = "/k1"});
  requests += bytesOf({.op = Op::Wait, .list = {names, kKeys}});
  client.write(requests);
  CHECK_EQ(client.read(10), vec("v") + kOk);
}

TEST("F-N06 descriptors are kept for whoever runs the server, and clients beyond are refused") {
  // Descriptors of the test are taken from the same limit, so its clients are in another process.
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = 200;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ServerOptions options;
  options.keptDescriptors = 60;
  World world(std::move(options));
  Client live = world.connect();
  REQUIRE(live.ping());
  const pid_t crowd = ::fork();
  if (crowd == 0) {
    rlimit more{before, before};
    ::setrlimit(RLIMIT_NOFILE, &more);
    std::vector<Client> clients;
    for (int i = 0; i < 200; i++) clients.emplace_back(world.address.port);
    for (;;) ::pause();
  }

  const std::string line = world.nextLine();
  while (world.stats().accepted + world.stats().refused < 201) continue;
  std::vector<Fd> mine;
  for (;;) {
    Fd fd(::dup(0));
    if (!fd) break;
    mine.push_back(std::move(fd));
  }

  CHECK(line.find("no descriptor for a connection: 60 of 200 are kept for workers") == 0);
  CHECK(world.stats().accepted > 50);
  CHECK_EQ(mine.size(), 60u);
  mine.clear();
  CHECK(live.ping());
  ::kill(crowd, SIGKILL);
  (void)::waitpid(crowd, nullptr, 0);
  limit.rlim_cur = before;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

TEST("F-N07 T-069 a large value is sent to many without being copied for each") {
  ServerOptions options;
  options.heldBytes = size_t{4} << 30;
  World world(std::move(options));
  const std::string value(60 << 20, 'x');
  Client writer = world.connect();
  REQUIRE(writer.request({.op = Op::Set, .key = "/k", .value = value}).ping());
  const auto residentPages = [] {
    unsigned long size = 0;
    unsigned long resident = 0;
    FILE* const file = ::fopen("/proc/self/statm", "re");
    const int found = ::fscanf(file, "%lu %lu", &size, &resident);
    ::fclose(file);
    return found == 2 ? static_cast<long>(resident) : 0;
  };
  const long before = residentPages();

  std::vector<Client> readers;
  for (int i = 0; i < 8; i++) {
    readers.push_back(world.connect());
    readers.back().request({.op = Op::Get, .key = "/k"});
    CHECK_EQ(readers.back().read(8), i64(static_cast<int64_t>(value.size())));
  }

  CHECK((residentPages() - before) * 4096 < 2 * static_cast<long>(value.size()));
  CHECK(readers[3].read(value.size()) == value);
}

TEST("F-N14 past the bound of what all hold, those that have moved least lately are closed") {
  ServerOptions options;
  options.heldBytes = 1 << 20;
  World world(std::move(options));
  const std::string half = bytesOf({.op = Op::Set, .key = "/k", .value = std::string(90'000, 'x')});
  std::vector<Client> silent;
  for (int i = 0; i < 40; i++) {
    silent.push_back(world.connect());
    silent.back().write(std::string_view(half).substr(0, 60'000));
    // It's in when the server has read it.
    while (world.stats().bytesIn < static_cast<uint64_t>(i + 1) * 60'000) continue;
  }

  CHECK(world.nextLine().find("the server holds too much") != std::string::npos);
  CHECK(silent[0].closed());
  CHECK(silent[10].closed());
  CHECK(silent[39].write(std::string_view(half).substr(60'000)).ping());
  CHECK(world.connect().ping());
}

TEST("F-N05 who calls doesn't wait for the store's thread, whatever keeps it") {
  KeptWorld kept;
  World& world = kept.world;
  const std::string hosts[] = {"127.0.0.1"};
  auto other = world.server->openTable(hosts, 0);
  REQUIRE(other);
  Client client = world.connect();
  REQUIRE(client.request({.op = Op::Set, .key = "/k", .value = "v"}).ping());
  kept.keep();

  // Each of these would wait for ever.
  CHECK_EQ(world.stats().keys, 1);
  CHECK_EQ(world.server->slots(world.address.table).size(), 0u);
  world.server->setNotice(world.address.table, 1);
  world.server->closeTable(other->table);
  CHECK_EQ(world.server->stats(other->table).accepted, 0);
  // And these for longer than they do.
  auto late = world.server->openTable(hosts, 0);
  CHECK(late);
  world.server->resetTable(world.address.table);
  CHECK_EQ(world.stats().keys, 1);

  kept.letGo();
  CHECK(client.closed());
  CHECK_EQ(world.connect().request({.op = Op::GetNumKeys}).read(8), i64(0));
  CHECK(Client(late->port).hello().ping());
  while (Client(other->port).error == 0) continue;
}

TEST("F-N05 a server that's kept is closed without waiting for it to let go") {
  KeptWorld kept;
  kept.keep();

  kept.world.server->close();
  CHECK_EQ(kept.world.stats().accepted, 0);
  kept.world.server->close();

  kept.letGo();
  CHECK(kept.blocker->closed());
}

TAP_MAIN
