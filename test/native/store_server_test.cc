#include "core/store/server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <optional>
#include <thread>

#include "test/native/shouting.h"
#include "test/native/store_harness.h"

using namespace store_harness;

TEST("T-063 port 0 gives a real port, and it listens at once") {
  World world;
  CHECK(world.address.port != 0);
  CHECK(Client(world.address.port).hello().ping());
}

TEST("T-062 a table at :: is reached by IPv4 and IPv6") {
  World world({}, {"::"});
  CHECK(Client(world.address.port, "127.0.0.1").hello().ping());
  Client six(world.address.port, "::1");
  if (six.error == EADDRNOTAVAIL) return tap::skip("no IPv6 here");
  CHECK(six.hello().ping());
}

TEST("further hosts share the port of the first; those of other machines are left out") {
  World world({}, {"127.0.0.1", "127.0.0.2", "192.0.2.1"});
  CHECK(Client(world.address.port, "127.0.0.1").hello().ping());
  CHECK(Client(world.address.port, "127.0.0.2").hello().ping());
  CHECK_EQ(Client(world.address.port, "127.0.0.3").error, ECONNREFUSED);

  World both({}, {"0.0.0.0", "::"});
  CHECK(Client(both.address.port, "127.0.0.1").hello().ping());
  World either({}, {"::", "0.0.0.0"});
  CHECK(Client(either.address.port, "127.0.0.1").hello().ping());
}

TEST("F-N08 a port that somebody has at any of the hosts is no port for a table") {
  World world({}, {"127.0.0.2"});
  const std::string hosts[] = {"127.0.0.1", "127.0.0.2"};

  const auto opened = world.server->openTable(hosts, world.address.port);

  REQUIRE(!opened);
  CHECK_EQ(opened.error().code, EADDRINUSE);
  CHECK_EQ(Client(world.address.port, "127.0.0.1").error, ECONNREFUSED);
}

TEST("MN-57 a closed table's port can be had at once, with clients of that table still there") {
  World world;
  const std::string here[] = {"127.0.0.1"};
  TableAddress had = world.address;
  for (int i = 0; i < 200; i++) {
    Client client(had.port);
    CHECK(client.hello().ping());
    world.server->closeTable(had.table);
    auto next = world.server->openTable(here, had.port);
    REQUIRE(next);
    CHECK_EQ(next->port, had.port);
    had = *std::move(next);
  }
}

TEST("what can't be bound is an error with its call and errno") {
  World world;
  const std::string here[] = {"127.0.0.1"};
  auto taken = world.server->openTable(here, world.address.port);
  REQUIRE(!taken);
  CHECK_EQ(taken.error().code, EADDRINUSE);
  CHECK_EQ(std::string(taken.error().op), "bind");

  const std::string elsewhere[] = {"192.0.2.1"};
  auto foreign = world.server->openTable(elsewhere, 0);
  REQUIRE(!foreign);
  CHECK_EQ(foreign.error().code, EADDRNOTAVAIL);

  // A name would have to be looked up, which can take minutes.
  const std::string name[] = {"localhost"};
  auto named = world.server->openTable(name, 0);
  REQUIRE(!named);
  CHECK_EQ(named.error().code, EINVAL);
  CHECK(!world.server->openTable({}, 0));
}

TEST("T-002 T-060 requests are served alike, byte by byte and all at once, in their order") {
  World world;
  std::string conversation;
  appendHello(conversation, Dialect::D);
  appendRequest(conversation, Dialect::D, {.op = Op::Set, .key = "/k", .value = "v"});
  appendRequest(conversation, Dialect::D, {.op = Op::Add, .number = 5, .key = "/n"});
  appendRequest(conversation, Dialect::D, {.op = Op::Get, .key = "/k"});
  appendRequest(conversation, Dialect::D, {.op = Op::Add, .number = -5, .key = "/n"});
  appendRequest(conversation, Dialect::D, {.op = Op::GetNumKeys});
  const std::string replies = i64(5) + vec("v") + i64(0) + i64(2);

  Client atOnce(world.address.port);
  atOnce.write(conversation);
  CHECK_EQ(atOnce.read(replies.size()), replies);

  Client slow(world.address.port);
  for (const char byte : conversation) slow.write({&byte, 1});
  CHECK_EQ(slow.read(replies.size()), replies);
}

TEST("more requests than a turn serves are served in further turns") {
  World world;
  Client client = world.connect();
  std::string requests;
  std::string replies;
  for (uint32_t i = 0; i < 20'000; i++) {
    appendRequest(requests, Dialect::D, {.op = Op::Ping, .nonce = i});
    appendU32(replies, i);
  }
  client.write(requests);
  CHECK(client.read(replies.size()) == replies);
}

TEST("T-018 T-019 every dialect is served on one port, from one table") {
  World world;
  Client d = world.connect();
  Client a(world.address.port);
  Client b(world.address.port);

  const Request add{.op = Op::Add, .number = 1, .key = "/n"};
  CHECK_EQ(d.request(add).read(8), i64(1));
  CHECK_EQ(a.request(add, Dialect::A).read(8), i64(2));
  CHECK_EQ(b.request(add, Dialect::B).read(8), i64(3));

  // 8 is APPEND for one, and DELETE_KEY for the other once nothing follows its key.
  const std::string get = listRequest(Op::MultiGet, {"/n"}, Dialect::B);
  b.request({.op = Op::Append, .key = "/n", .value = "9"}, Dialect::B).write(get);
  CHECK_EQ(b.read(10), vec("39"));
  CHECK_EQ(a.request({.op = Op::DeleteKey, .key = "/n"}, Dialect::A).read(8), i64(1));
  const TableStats stats = world.stats();
  CHECK_EQ(stats.dialects[static_cast<size_t>(Dialect::A)], 1);
  CHECK_EQ(stats.dialects[static_cast<size_t>(Dialect::B)], 1);
  CHECK_EQ(stats.dialects[static_cast<size_t>(Dialect::D)], 1);
}

TEST("T-017 a client that says hello and never PING is served") {
  World world;
  Client client(world.address.port);
  client.hello().request({.op = Op::Set, .key = "/k", .value = "v"});
  CHECK_EQ(client.write(listRequest(Op::Wait, {"/k"})).read(1), kOk);
  CHECK_EQ(client.request({.op = Op::Get, .key = "/k"}).read(9), vec("v"));
}

TEST("T-020 a connection that's silent is kept, and costs no thread") {
  World world;
  Client silent(world.address.port);
  CHECK(world.connect().ping());
  CHECK(silent.hello().ping());
}

TEST("T-033 T-043 a waiter gets its byte when another client writes") {
  World world;
  Client waiter = world.connect();
  waiter.write(listRequest(Op::Wait, {"/late", "/k"}));
  Client writer = world.connect();
  writer.request({.op = Op::Set, .key = "/k", .value = "v"});
  writer.request({.op = Op::Set, .key = "/late", .value = "v"});
  CHECK_EQ(waiter.read(1), kOk);
  CHECK(waiter.ping());
}

TEST("T-035 T-045 a wait that's cancelled or whose client is gone stays silent") {
  World world;
  Client cancelled = world.connect();
  cancelled.write(listRequest(Op::Wait, {"/k"})).request({.op = Op::CancelWait});
  CHECK_EQ(cancelled.read(1), "\1");
  {
    Client gone = world.connect();
    gone.write(listRequest(Op::Wait, {"/k"}));
  }
  Client writer = world.connect();
  writer.request({.op = Op::Set, .key = "/k", .value = "v"});
  CHECK(writer.ping());
  CHECK(cancelled.ping());
}

TEST("T-046 a 1.13 client that gave up waiting gets the answers to what it asks next") {
  World world;
  Client old(world.address.port);
  old.write(listRequest(Op::Wait, {"/k"}, Dialect::A));
  old.request({.op = Op::Add, .number = 1, .key = "/n"}, Dialect::A);
  CHECK_EQ(old.read(8), i64(1));
  Client writer = world.connect();
  writer.request({.op = Op::Set, .key = "/k", .value = "v"});
  CHECK(writer.ping());
  CHECK_EQ(old.request({.op = Op::Get, .key = "/k"}, Dialect::A).read(9), vec("v"));
}

TEST("a client that sends no more still gets its answers") {
  World world;
  Client client = world.connect();
  const std::string big(4 << 20, 'x');
  client.request({.op = Op::Set, .key = "/k", .value = big});
  client.request({.op = Op::Get, .key = "/k"});
  ::shutdown(client.fd.get(), SHUT_WR);
  CHECK(client.read(8 + big.size()) == vec(big));
  CHECK(client.closed());
}

TEST("T-061 accepted sockets have TCP_NODELAY and keep-alive") {
  World world;
  Client client = world.connect();
  REQUIRE(client.ping());
  bool found = false;
  for (int fd = 3; fd < 200; fd++) {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) < 0) continue;
    if (peer.sin_port != htons(client.port())) continue;
    found = true;
    int noDelay = 0;
    int keepAlive = 0;
    size = sizeof noDelay;
    ::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &noDelay, &size);
    ::getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepAlive, &size);
    CHECK(noDelay);
    CHECK(keepAlive);
    CHECK(::fcntl(fd, F_GETFD) & FD_CLOEXEC);
  }
  CHECK(found);
}

TEST("T-065 a burst of connects is taken in whole") {
  World world;
  std::vector<Client> clients;
  for (int i = 0; i < 300; i++) clients.emplace_back(world.address.port);
  for (Client& client : clients) REQUIRE(client.hello().ping());
  CHECK_EQ(world.stats().clients, 300);
}

TEST("T-068 a peer that stops in the middle of a request delays nobody") {
  World world;
  std::string set;
  appendRequest(set, Dialect::D, {.op = Op::Set, .key = "/k", .value = "value"});
  Client stalled = world.connect();
  stalled.write(set.substr(0, set.size() - 1));
  Client other = world.connect();
  CHECK(other.ping());
  CHECK_EQ(other.write(listRequest(Op::Check, {"/k"})).read(1), "\1");
  CHECK(stalled.write("e").ping());
  CHECK_EQ(other.write(listRequest(Op::Check, {"/k"})).read(1), kOk);
}

TEST("T-066 PING and CANCEL_WAIT are answered in the middle of another client's flood") {
  World world;
  Client flood = world.connect();
  std::string requests;
  for (int i = 0; i < 10'000; i++)
    appendRequest(requests, Dialect::D, {.op = Op::Add, .number = 1, .key = "/n"});
  std::atomic<bool> enough = false;
  std::thread writer([&] {
    while (!enough) flood.write(requests);
    ::shutdown(flood.fd.get(), SHUT_WR);
  });
  std::thread reader([&] { CHECK(flood.closed()); });
  const auto flooded = [&] { return world.stats().requests[static_cast<size_t>(Op::Add)]; };

  Client client = world.connect();
  for (int i = 0; i < 100; i++) {
    const uint64_t before = flooded();
    client.write(listRequest(Op::Wait, {"/never"})).request({.op = Op::CancelWait});
    if (!CHECK_EQ(client.read(1), std::string(1, kStatusWaitCancelled))) break;
    if (!CHECK(client.ping())) break;
    while (flooded() == before) continue;  // or it would be no flood
  }

  enough = true;
  writer.join();
  reader.join();
}

TEST("T-069 a peer that doesn't read is held within limits, delays nobody, and is closed") {
  ServerOptions options;
  options.unreadBytes = 64 << 10;
  options.stall = std::chrono::milliseconds(50);
  World world(std::move(options));
  Client writer = world.connect();
  writer.request({.op = Op::Set, .key = "/k", .value = std::string(1 << 20, 'x')});
  REQUIRE(writer.ping());

  Client slow = world.connect();
  for (int i = 0; i < 200; i++) slow.request({.op = Op::Get, .key = "/k"});
  const std::string line = world.nextLine();

  CHECK(line.find("unread for 50 ms") != std::string::npos);
  CHECK(line.find("127.0.0.1:" + std::to_string(slow.port())) != std::string::npos);
  CHECK(writer.ping());
  // It was served until the kernel's buffers were full, not 200 times.
  CHECK(world.stats().requests[static_cast<size_t>(Op::Get)] < 100);
}

TEST("T-069 a peer that reads late gets everything") {
  ServerOptions options;
  options.unreadBytes = 64 << 10;
  World world(std::move(options));
  const std::string value(1 << 20, 'x');
  Client client = world.connect();
  client.request({.op = Op::Set, .key = "/k", .value = value});
  std::string expected;
  for (int i = 0; i < 40; i++) {
    client.request({.op = Op::Get, .key = "/k"});
    expected += vec(value);
  }
  client.request({.op = Op::Ping, .nonce = 3});
  appendU32(expected, 3);
  CHECK(client.read(expected.size()) == expected);
}

TEST("T-070 closing the server closes its connections and its port") {
  World world;
  Client client = world.connect();
  client.write(listRequest(Op::Wait, {"/k"}));
  world.server->close();
  CHECK(client.closed());
  CHECK_EQ(Client(world.address.port).error, ECONNREFUSED);
  const std::string hosts[] = {"127.0.0.1"};
  auto late = world.server->openTable(hosts, 0);
  REQUIRE(!late);
  CHECK_EQ(late.error().code, EBADF);
  world.server->close();
}

TEST("T-071 a worker's death ends its connections, and the store serves the others") {
  World world;
  std::optional<Client> held = world.connect();
  REQUIRE(held->ping());
  const pid_t worker = ::fork();
  if (worker == 0) {
    for (;;) ::pause();
  }
  held.reset();  // so that the worker has it alone
  CHECK(world.connect().ping());
  CHECK(world.stats().clients > 0);

  ::kill(worker, SIGKILL);
  (void)::waitpid(worker, nullptr, 0);

  CHECK(world.connect().ping());
  while (world.stats().clients > 0) continue;
}

TEST("T-091 T-093 a reset table is empty, its old connections are gone, its port stays") {
  World world;
  Client old = world.connect();
  old.request({.op = Op::Set, .key = "/k", .value = "v"}).write(listRequest(Op::Wait, {"/x"}));
  Client other = world.connect();
  REQUIRE(other.ping());

  world.server->resetTable(world.address.table);
  CHECK(old.closed());
  CHECK(other.closed());
  Client fresh = world.connect();
  CHECK_EQ(fresh.request({.op = Op::GetNumKeys}).read(8), i64(0));
  CHECK_EQ(world.stats().clients, 1);
  CHECK_EQ(world.stats().waiters, 0);
}

TEST("T-095 tables on one server share nothing, and one goes without the other") {
  World world;
  const std::string hosts[] = {"127.0.0.1"};
  auto second = world.server->openTable(hosts, 0);
  REQUIRE(second);
  Client one = world.connect();
  Client two(second->port);
  one.request({.op = Op::Set, .key = "/k", .value = "v"});
  REQUIRE(one.ping());
  CHECK_EQ(two.hello().write(listRequest(Op::Check, {"/k"})).read(1), "\1");

  world.server->closeTable(second->table);
  world.server->closeTable(second->table);
  CHECK(two.closed());
  CHECK_EQ(Client(second->port).error, ECONNREFUSED);
  CHECK(one.ping());
  CHECK_EQ(world.server->stats(second->table).clients, 0);
}

TEST("T-072 T-106 stats tell clients, keys, waiters, requests and bytes") {
  World world;
  Client client = world.connect();
  client.request({.op = Op::Add, .number = 1, .key = "init/"});
  REQUIRE(client.read(8) == i64(1));
  Client waiter = world.connect();
  waiter.write(listRequest(Op::Wait, {"/k"}));
  while (world.stats().waiters == 0) continue;

  const TableStats stats = world.stats();
  CHECK_EQ(stats.clients, 2);
  CHECK_EQ(stats.keys, 1);
  CHECK_EQ(stats.waiters, 1);
  CHECK_EQ(stats.accepted, 2);
  CHECK_EQ(stats.requests[static_cast<size_t>(Op::Add)], 1);
  // Counted when it's sent, which the client may see first.
  while (world.stats().bytesOut < 8) continue;
  CHECK_EQ(world.stats().bytesOut, 8);
}

TEST("T-106 stats name the slowest operation, and a reset keeps it") {
  World world;
  CHECK_EQ(world.stats().slowest.took.count(), 0);
  Client client(world.address.port);  // headerless: ADD is all that it asks
  const Request add{.op = Op::Add, .number = 1, .key = "/n"};
  REQUIRE_EQ(client.request(add, Dialect::A).read(8), i64(1));

  const SlowestOp slowest = world.stats().slowest;
  CHECK_EQ(slowest.op, Op::Add);
  CHECK(slowest.took.count() > 0);

  world.server->resetTable(world.address.table);
  CHECK_EQ(world.stats().slowest.took.count(), slowest.took.count());
}

TEST("T-082 T-083 what isn't TCPStore is closed at once, with a line that names the peer") {
  World world;
  const std::string tls("\x16\x03\x01\x02\x00\x01", 6);
  for (const std::string& garbage : {std::string("GET / HTTP/1.1\r\n\r\n"), tls}) {
    Client scanner(world.address.port);
    const uint16_t port = scanner.port();
    scanner.write(garbage);
    CHECK(scanner.closed());
    CHECK_EQ(world.nextLine(),
             "closed 127.0.0.1:" + std::to_string(port) + ": not a protocol that's served here");
  }
  Client torch = world.connect();
  torch.write("\x7f");
  CHECK(torch.closed());
  CHECK(world.nextLine().find("unknown operation: 127, max: 18") != std::string::npos);
  CHECK_EQ(world.stats().keys, 0);
  CHECK_EQ(world.stats().faults, 3);
}

TEST("answers to what came before the malformed request are sent") {
  World world;
  Client client = world.connect();
  std::string bytes;
  appendRequest(bytes, Dialect::D, {.op = Op::Ping, .nonce = 5});
  client.write(bytes + "\x7f");
  CHECK_EQ(client.read(4), std::string("\5\0\0\0", 4));
  CHECK(client.closed());
}

TEST("T-026 ADD on text closes the caller, and nobody else") {
  World world;
  Client other = world.connect();
  Client client = world.connect();
  client.request({.op = Op::Set, .key = "/k", .value = "text"});
  client.request({.op = Op::Add, .number = 1, .key = "/k"});
  CHECK(client.closed());
  CHECK(world.nextLine().find("ADD stoll") != std::string::npos);
  CHECK_EQ(other.request({.op = Op::Get, .key = "/k"}).read(12), vec("text"));
}

TEST("T-085 a writer that would fill the table is closed, with both numbers in the log") {
  ServerOptions options;
  options.table.bytes = 10'000;
  World world(std::move(options));
  Client client = world.connect();
  client.request({.op = Op::Set, .key = "/k", .value = std::string(20'000, 'x')});
  CHECK(client.closed());
  CHECK(world.nextLine().find("max: 10000") != std::string::npos);
  CHECK(world.connect().ping());
}

TEST("T-081 a request above a client's limit is closed when its length is read") {
  ServerOptions options;
  options.tcpStore.limits.requestBytes = 100'000;
  World world(std::move(options));
  Client other = world.connect();
  const std::string value(60'000, 'x');
  std::string pairs;
  for (const char* key : {"/a", "/b"}) {
    appendString(pairs, key);
    appendString(pairs, value);
  }
  std::string multiSet;
  appendRequest(multiSet, Dialect::D, {.op = Op::MultiSet, .list = {pairs, 4}});

  Client greedy = world.connect();
  // Its second value is announced, and none of it sent.
  greedy.write(multiSet.substr(0, multiSet.size() - value.size()));

  CHECK(greedy.closed());
  CHECK(world.nextLine().find("request too large") != std::string::npos);
  CHECK_EQ(other.request({.op = Op::GetNumKeys}).read(8), i64(0));
}

TEST("unfinished requests are bounded over all connections") {
  ServerOptions options;
  options.heldBytes = 1 << 20;
  World world(std::move(options));
  std::string set;
  appendRequest(set, Dialect::D, {.op = Op::Set, .key = "/k", .value = std::string(4 << 20, 'x')});
  Client greedy = world.connect();
  greedy.write(set.substr(0, set.size() - 1));
  CHECK(greedy.closed());
  CHECK(world.nextLine().find("the server holds too much") != std::string::npos);
  CHECK(world.connect().ping());
}

TEST(
    "T-105 what a large value took is given back, and doesn't count for connections that are "
    "idle") {
  ServerOptions options;
  options.heldBytes = 8 << 20;
  World world(std::move(options));
  std::string set;
  appendRequest(set, Dialect::D, {.op = Op::Set, .key = "/k", .value = std::string(2 << 20, 'x')});
  std::string get;
  appendRequest(get, Dialect::D, {.op = Op::Get, .key = "/k"});
  std::vector<Client> idle;
  for (int i = 0; i < 12; i++) {
    Client client = world.connect();
    client.write(set);
    CHECK(client.ping());
    client.write(get);
    CHECK_EQ(client.read(8 + (2 << 20)).size(), size_t{8 + (2 << 20)});
    idle.push_back(std::move(client));
  }
  for (Client& client : idle) CHECK(client.ping());
}

TEST("F-N15 a listening socket that somebody shuts down is given up, and others are served") {
  World world;
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  auto adopted = world.server->adoptTable(socket.get(), 0);
  REQUIRE(adopted);
  CHECK_EQ(adopted->host, "127.0.0.1");
  REQUIRE(Client(adopted->port).hello().ping());

  ::shutdown(socket.get(), SHUT_RDWR);

  CHECK_EQ(world.nextLine(),
           "no connection will be accepted any more: the listening socket was shut down, errno 22");
  CHECK(world.connect().ping());
  world.server->closeTable(adopted->table);
  CHECK(world.connect().ping());
}

TEST("T-091 whoever connected before a reset and wasn't accepted isn't served after it") {
  // Nobody is accepted while the only thread is kept busy.
  World world;
  Client early[3] = {Client(world.address.port), Client(world.address.port),
                     Client(world.address.port)};
  for (Client& client : early) client.hello().request({.op = Op::Set, .key = "/k", .value = "v"});
  world.server->resetTable(world.address.table);
  for (Client& client : early) CHECK(client.closed());
  Client late = world.connect();
  CHECK_EQ(late.request({.op = Op::GetNumKeys}).read(8), i64(0));
}

TEST("a flood of bad peers doesn't flood the log") {
  World world;
  for (int i = 0; i < 100; i++) CHECK(Client(world.address.port).write("\xff").closed());
  const uint64_t faults = world.stats().faults;
  CHECK_EQ(faults, 100);
  for (int i = 0; i < 10; i++) CHECK_EQ(world.nextLine().substr(0, 6), "closed");
}

TEST("T-067 out of descriptors, connections are refused while others go on, and taken later") {
  World world;
  Client live = world.connect();
  REQUIRE(live.ping());
  std::vector<Fd> sockets;
  for (int i = 0; i < 4; i++)
    sockets.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = static_cast<rlim_t>(sockets.back().get()) + 1;
  std::vector<Fd> fill;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  for (;;) {
    Fd fd(::dup(0));
    if (!fd) break;
    fill.push_back(std::move(fd));
  }

  std::vector<Client> refused;
  for (Fd& socket : sockets)
    refused.emplace_back(world.address.port, "127.0.0.1", std::move(socket));
  for (Client& client : refused) CHECK(client.closed());
  const std::string line = world.nextLine();
  CHECK(line.find("no descriptor for a connection: all ") == 0);
  CHECK(line.find("of this process are taken (its hard limit is ") != std::string::npos);
  CHECK_EQ(world.stats().refused, 4);
  CHECK(live.ping());

  limit.rlim_cur = before;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  fill.clear();
  CHECK(world.connect().ping());
}

TEST("another protocol is served on the same port, told by its first bytes") {
  ServerOptions options;
  options.protocols.push_back([](Table&, Loop&) { return std::make_unique<Shouting>(); });
  World world(std::move(options));
  Client loud(world.address.port);
  loud.write("R");
  CHECK(world.connect().ping());
  loud.write("Ghello\nworld\n\n");
  CHECK_EQ(loud.read(14), "RGHELLO\nWORLD\n");
  CHECK(loud.closed());
  CHECK(Client(world.address.port).write("Rx").closed());
}

TEST("at a port of one protocol alone others are closed, and so is who says nothing") {
  World world;
  const std::string hosts[] = {"127.0.0.1"};
  auto alone = world.server->openTable(
      hosts, 0,
      {[](Table&, Loop&) { return std::make_unique<Shouting>(std::chrono::milliseconds(200)); }});
  REQUIRE(alone);
  CHECK(Client(alone->port).write("\x01").closed());
  CHECK(world.nextLine().ends_with(": not a protocol that's served here"));
  // On a busy machine its own time may be over before it has spoken.
  std::unique_ptr<Client> loud;
  do loud = std::make_unique<Client>(alone->port);
  while (loud->write("RGhello\n").read(8) != "RGHELLO\n");
  Client silent(alone->port);
  Client slow(alone->port);
  slow.write("R");

  CHECK(silent.closed());
  CHECK(slow.closed());

  CHECK_EQ(loud->write("again\n").read(6), "AGAIN\n");
  CHECK(world.nextLine().ends_with(": said nothing of use for 200 ms"));
  CHECK(world.connect().ping());
}

TEST("calls may come from any thread, while clients come and go") {
  World world;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; i++) {
    threads.emplace_back([&world] {
      for (int round = 0; round < 20; round++) {
        const std::string hosts[] = {"127.0.0.1"};
        auto table = world.server->openTable(hosts, 0);
        if (!table) return;
        Client client(table->port);
        client.hello().ping();
        (void)world.server->stats(table->table);
        world.server->resetTable(table->table);
        world.server->closeTable(table->table);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(world.connect().ping());
}

TAP_MAIN
