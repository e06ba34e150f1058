#include <atomic>
#include <semaphore>
#include <thread>

#include "core/store/server.h"
#include "test/native/shouting.h"
#include "test/native/store_harness.h"

// A port that one table has, and others borrow one after the other.

using namespace store_harness;

namespace {

/// Keeps the store's thread busy with a client that says `B`.
struct Busy {
  std::binary_semaphore begun{0};
  std::binary_semaphore over{0};
};

class Blocking final : public Protocol {
 public:
  explicit Blocking(Busy& busy) : busy_(busy) {}
  Match match(std::string_view first) const override {
    return first[0] == 'B' ? Match::Yes : Match::No;
  }
  std::unique_ptr<Session> open(Peer&) override { return std::make_unique<Blocker>(busy_); }

 private:
  class Blocker final : public Session {
   public:
    explicit Blocker(Busy& busy) : busy_(busy) {}
    Progress onInput(std::string_view input, const Turn&, Reply&) override {
      busy_.begun.release();
      busy_.over.acquire();
      return {.consumed = input.size()};
    }

   private:
    Busy& busy_;
  };

  Busy& busy_;
};

ServerOptions withShouting() {
  ServerOptions options;
  options.protocols.push_back([](Table&, Loop&) { return std::make_unique<Shouting>(); });
  return options;
}

const Request kSet{.op = Op::Set, .key = "/k", .value = "v"};
const Request kNumKeys{.op = Op::GetNumKeys};

}  // namespace

TEST("T-095 a lent port's clients of TCPStore are the borrower's, and no others") {
  World world(withShouting());
  Client loud(world.address.port);
  REQUIRE_EQ(loud.write("RGa\n").read(4), "RGA\n");
  Client before = world.connect();
  REQUIRE_EQ(before.request(kSet).request(kNumKeys).read(8), i64(1));

  auto borrowed = world.server->borrowPort(world.address.table);

  REQUIRE(borrowed);
  CHECK_EQ(borrowed->port, world.address.port);
  Client worker = world.connect();
  CHECK_EQ(worker.request(kNumKeys).read(8), i64(0));
  CHECK_EQ(worker.request(kSet).request(kNumKeys).read(8), i64(1));
  CHECK_EQ(world.server->stats(borrowed->table).clients, 1);
  // Who is in a table stays there.
  CHECK_EQ(before.request(kNumKeys).read(8), i64(1));
  CHECK_EQ(loud.write("b\n").read(2), "B\n");
  Client louder(world.address.port);
  CHECK_EQ(louder.write("RGc\n").read(4), "RGC\n");
  CHECK_EQ(world.stats().clients, 3);
}

TEST("T-093 clients of the borrower before reach no later one, whenever they have connected") {
  World world(withShouting());
  auto first = world.server->borrowPort(world.address.table);
  REQUIRE(first);
  Client used = world.connect();
  REQUIRE(used.request(kSet).ping());
  Client silent(world.address.port);
  Client loud(world.address.port);
  // They have been accepted as soon as who came later is served.
  REQUIRE(world.connect().ping());

  world.server->closeTable(first->table);
  CHECK(used.closed());
  // Nobody has borrowed it.
  CHECK(world.connect().request(kSet).closed());
  auto second = world.server->borrowPort(world.address.table);
  REQUIRE(second);

  CHECK(silent.hello().request(kSet).closed());
  CHECK_EQ(loud.write("RGa\n").read(4), "RGA\n");
  CHECK_EQ(world.connect().request(kNumKeys).read(8), i64(0));
  CHECK_EQ(world.server->stats(second->table).accepted, 1);
}

TEST("T-093 who waits to be accepted when a port is lent was meant for an earlier borrower") {
  Busy busy;
  ServerOptions options = withShouting();
  options.protocols.push_back([&](Table&, Loop&) { return std::make_unique<Blocking>(busy); });
  World world(std::move(options));
  Client blocker(world.address.port);
  blocker.write("B");
  busy.begun.acquire();
  auto late = world.server->borrowPort(world.address.table);
  REQUIRE(!late);
  CHECK_EQ(late.error().code, ETIMEDOUT);
  std::vector<Client> early;
  for (int i = 0; i < 100; i++) {
    early.emplace_back(world.address.port);
    if (i % 2 == 0)
      early.back().hello().request(kSet);
    else
      early.back().write("RGa\n");
  }

  busy.over.release();
  // It's lent when the thread has accepted some of them, and the others still wait.
  auto borrowed = world.server->borrowPort(world.address.table);

  REQUIRE(borrowed);
  for (size_t i = 0; i < early.size(); i += 2) {
    CHECK(early[i].closed());
    CHECK_EQ(early[i + 1].read(4), "RGA\n");
  }
  CHECK_EQ(world.connect().request(kNumKeys).read(8), i64(0));
}

TEST(
    "a port that's borrowed again is the later borrower's, and the earlier one keeps its clients") {
  World world;
  auto first = world.server->borrowPort(world.address.table);
  REQUIRE(first);
  Client one = world.connect();
  REQUIRE(one.request(kSet).ping());
  auto second = world.server->borrowPort(world.address.table);
  REQUIRE(second);
  Client two = world.connect();
  CHECK_EQ(two.request(kNumKeys).read(8), i64(0));

  world.server->closeTable(first->table);

  CHECK(one.closed());
  CHECK(two.ping());
  CHECK(world.connect().ping());
}

TEST("a loan outlives a reset of either table, and ends with the lender") {
  World world;
  auto borrowed = world.server->borrowPort(world.address.table);
  REQUIRE(borrowed);
  Client worker = world.connect();
  REQUIRE(worker.request(kSet).ping());

  world.server->resetTable(world.address.table);
  CHECK(worker.ping());
  CHECK_EQ(world.connect().request(kNumKeys).read(8), i64(1));

  world.server->resetTable(borrowed->table);
  CHECK(worker.closed());
  Client fresh = world.connect();
  CHECK_EQ(fresh.request(kNumKeys).read(8), i64(0));

  world.server->closeTable(world.address.table);
  // It waits for its turn, which is behind the closing's.
  world.server->setNotice(borrowed->table, 0);
  CHECK_EQ(Client(world.address.port).error, ECONNREFUSED);
  CHECK(fresh.ping());
  auto late = world.server->borrowPort(world.address.table);
  REQUIRE(!late);
  CHECK_EQ(late.error().code, EBADF);
  world.server->closeTable(borrowed->table);
  CHECK(fresh.closed());
}

TEST("a port may be borrowed from any thread, while clients come and go") {
  World world(withShouting());
  std::atomic<int> answers = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; i++) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; round++) {
        auto table = world.server->borrowPort(world.address.table);
        if (!table) return;
        // Another one may have borrowed it meanwhile, and hung up.
        (void)world.connect().ping();
        answers += Client(world.address.port).write("RGa\n").read(4) == "RGA\n";
        world.server->closeTable(table->table);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(answers.load(), 60);
}

TAP_MAIN
