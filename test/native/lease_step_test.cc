#include "core/coordination/lease_step.h"

#include <functional>

#include "test/native/tap.h"

using namespace regroup;
using namespace regroup::coordination;
using namespace std::chrono_literals;

using Order = LeaseStep::Order;

// a lease is kept by renewals, and the fence stays ahead of its end.

namespace {

constexpr LeaseId kLease = 0x1234;
constexpr auto kTtl = 1000ms;
constexpr auto kMargin = 200ms;
constexpr auto kStall = 5000ms;
constexpr auto kServer = "10.0.0.1:29400";

/// A keeper's decisions, at a time that the test moves. The machine's clock is an hour ahead.
struct World {
  explicit World(std::chrono::milliseconds ttl = kTtl, std::chrono::milliseconds refusals = 0ms)
      : step({kLease, ttl, kMargin, kStall, kServer, refusals}, TimePoint()) {}

  LeaseStep step;
  TimePoint now;
  uint32_t id = 0;  // of the last renewal

  static BootTime boot(TimePoint at) { return BootTime(at.time_since_epoch() + 1h); }
  LeaseStep::Next next() { return step.next({now, boot(now)}, 1); }
  /// The wait that's left, in milliseconds; -1: it's no wait.
  long long wait() {
    const auto next = this->next();
    if (next.order != Order::Wait || !next.until) return -1;
    return std::chrono::ceil<std::chrono::milliseconds>(*next.until - now).count();
  }
  std::optional<BootTime> hear(const std::string& bytes) {
    return step.onInput(bytes, {now, boot(now)});
  }

  void greet() { greet(welcome()); }
  void greet(const std::string& answer) {
    connect();
    step.onConnected(now);
    CHECK_EQ(next().order, Order::Send);
    CHECK(step.takeOutput().starts_with(kPreface));
    CHECK(!hear(answer));
  }
  /// Greets, and has its first renewal confirmed.
  void hold(std::string_view address = kServer) {
    greet(welcome(kVersion, 7, address));
    renew();
    CHECK(hear(leased(10'000)));
  }
  void breaks() { step.onBroken({now, boot(now)}); }
  void connect() {
    step.beat(now);
    for (auto next = this->next(); next.order != Order::Connect; next = this->next()) {
      REQUIRE(next.order == Order::Wait && next.until);
      now = *next.until;
    }
  }
  /// The next attempt to connect is, after the pause before it.
  void isRefused() {
    connect();
    step.onRefused({now, boot(now)}, boot(now));
  }
  void renew() {
    CHECK_EQ(next().order, Order::Send);
    auto sent = parse(step.takeOutput());
    const auto* const parsed = std::get_if<Parsed>(&sent);
    REQUIRE(parsed != nullptr && parsed->request);
    const auto* const renew = std::get_if<Renew>(&parsed->request->body);
    REQUIRE(renew != nullptr);
    CHECK_EQ(renew->lease, kLease);
    id = parsed->request->id;
  }

  static std::string welcome(uint16_t version = kVersion, uint64_t incarnation = 7,
                             std::string_view address = {}) {
    std::string out;
    Frame(out, Type::Welcome, 0).u16(version).u64(incarnation).text(address);
    return out;
  }
  std::string leased(uint32_t ttl = 1000, LeaseId lease = kLease) const {
    std::string out;
    Frame(out, Type::Leased, id).u64(lease).u32(ttl);
    return out;
  }
  std::string refused(Why why) const {
    std::string out;
    Frame(out, Type::Refused, id).u8(static_cast<uint8_t>(why));
    return out;
  }
};

}  // namespace

TEST("each renewal moves the fence, by when it was sent and not by when it was answered") {
  World world;
  world.greet();
  for (int i = 0; i < 3; i++) {
    const TimePoint sent = world.now;
    world.renew();
    world.now += 50ms;
    const auto fence = world.hear(world.leased());
    REQUIRE(fence);
    CHECK(*fence == World::boot(sent) + kTtl - kMargin);
    CHECK_EQ(world.wait(), 150);
    world.now += 150ms;
  }
}

TEST(
    "an answer that comes in pieces is heard once it's whole, and a shorter lease has its own "
    "fence") {
  World world;
  world.greet();
  world.renew();
  const std::string whole = world.leased(500);
  for (size_t i = 0; i + 1 < whole.size(); i++) CHECK(!world.hear(whole.substr(i, 1)));
  const auto fence = world.hear(whole.substr(whole.size() - 1));
  CHECK(fence == World::boot(world.now) + 500ms - kMargin);
}

TEST("a lease that's lost is told once, and renewed no more") {
  World world;
  world.greet();
  world.renew();
  CHECK(!world.hear(world.refused(Why::LeaseLost)));
  CHECK_EQ(world.next().order, Order::Lost);
  world.now += 1h;
  const auto next = world.next();
  CHECK_EQ(next.order, Order::Wait);
  CHECK(!next.until);
}

TEST("without a beat in time nothing is renewed, and the connection stays") {
  World world;
  world.greet();
  while (world.now < TimePoint() + kStall) {
    world.renew();
    CHECK(world.hear(world.leased()));
    world.now += 200ms;
  }
  CHECK_EQ(world.next().order, Order::Stalled);
  world.step.beat(world.now);
  CHECK_EQ(world.next().order, Order::Wait);
  CHECK(!world.hear(world.leased()));
}

TEST("a beat puts the stall off") {
  World world;
  world.greet();
  world.renew();
  CHECK(world.hear(world.leased()));
  world.now += kStall - 1ms;
  world.step.beat(world.now);
  world.now += kStall - 1ms;
  CHECK_EQ(world.next().order, Order::Send);
  world.now += 1ms;
  CHECK_EQ(world.next().order, Order::Stalled);
}

TEST(
    "a connection that breaks is made anew, after pauses that grow, until a renewal is confirmed") {
  World world;
  for (const int pause : {0, 20, 50, 100, 200, 500, 1000, 1000}) {
    if (pause > 0) CHECK_EQ(world.wait(), pause);
    world.now += std::chrono::milliseconds(pause);
    world.step.beat(world.now);
    CHECK_EQ(world.next().order, Order::Connect);
    world.step.onBroken({world.now, World::boot(world.now)});
  }
  CHECK_EQ(world.wait(), 1000);
  world.now += 1000ms;
  world.greet();
  world.renew();
  CHECK(world.hear(world.leased()));
  world.step.onBroken({world.now, World::boot(world.now)});
  world.greet();
  world.renew();
}

TEST("a connection that breaks moves the fence back, since the server ends the lease soon") {
  World world(10s);
  world.greet();
  world.renew();
  CHECK(!world.step.fence());
  CHECK(world.hear(world.leased(10'000)));
  CHECK(world.step.fence() == World::boot(world.now) + 10s - kMargin);

  world.now += 1s;
  world.step.onBroken({world.now, World::boot(world.now)});
  const BootTime soon = World::boot(world.now) + kResumeWindow - 200ms;
  CHECK(world.step.fence() == soon);
  // Nothing that isn't confirmed moves it, another break included.
  world.now += 100ms;
  world.greet();
  world.step.onBroken({world.now, World::boot(world.now)});
  CHECK(world.step.fence() == soon);
  CHECK_EQ(world.wait(), 20);
  world.now += 20ms;
  world.greet();
  world.renew();
  CHECK(world.hear(world.leased(10'000)));
  CHECK(world.step.fence() == World::boot(world.now) + 10s - kMargin);
}

TEST("a connection that isn't had, greeted or answered in the lease's time is dropped") {
  for (const int reached : {0, 1, 2}) {
    World world;
    if (reached == 2) {
      world.greet();
      world.renew();
    } else {
      CHECK_EQ(world.next().order, Order::Connect);
      if (reached == 1) {
        world.step.onConnected(world.now);
        CHECK_EQ(world.next().order, Order::Send);
        (void)world.step.takeOutput();
      }
    }
    CHECK_EQ(world.wait(), 1000);
    world.now += kTtl;
    CHECK_EQ(world.next().order, Order::Drop);
    CHECK_EQ(world.wait(), 20);
  }
}

TEST("what no server of ours would answer ends the connection, and moves no fence") {
  const auto ends = [](std::function<std::string(World&)> answer, bool isRenewing = true) {
    World world;
    world.greet();
    if (isRenewing) world.renew();
    CHECK(!world.hear(answer(world)));
    CHECK_EQ(world.next().order, Order::Drop);
  };
  ends([](World& world) { return world.leased(1000, kLease + 1); });
  ends([](World& world) { return world.refused(Why::Full); });
  ends([](World& world) { return world.refused(static_cast<Why>(99)); });
  ends([](World&) { return World::welcome(); });
  ends([](World& world) { return world.id++, world.leased(); });
  ends([](World& world) { return world.leased(); }, false);
  ends([](World& world) { return world.leased().replace(0, 1, "\x10"); });
  ends([](World&) { return std::string("HTTP/1.1 400 Bad Request\r\n"); });
  ends([](World&) { return std::string(64, '\0'); });
  ends([](World&) { return std::string(64, '\xff'); });
  World world;
  CHECK_EQ(world.next().order, Order::Connect);
  world.step.onConnected(world.now);
  CHECK(!world.hear(World::welcome(kVersion + 1)));
  CHECK_EQ(world.next().order, Order::Drop);
}

TEST("refusals of the server's own address move the fence on, each by a lease from its attempt") {
  World world(10s, 1h);
  world.hold();
  world.breaks();
  for (int i = 0; i < 300; i++) {
    world.isRefused();
    CHECK(world.step.fence() == World::boot(world.now) + 10s - kMargin);
    CHECK(world.wait() <= 100);
  }
  CHECK(world.now > TimePoint() + 20s);
  // Silence doesn't.
  const auto fence = world.step.fence();
  world.connect();
  world.breaks();
  CHECK(world.step.fence() == fence);
}

TEST("a refusal of an attempt that began past the fence moves nothing") {
  World world(10s, 1h);
  world.hold();
  world.breaks();
  const auto fence = world.step.fence();
  world.now += kResumeWindow;
  world.connect();
  world.step.onRefused({world.now, World::boot(world.now)}, World::boot(world.now));
  CHECK(world.step.fence() == fence);
}

TEST("where refusals don't count for long, they undo what the break did") {
  World world(10s);
  world.hold();
  const auto fence = world.step.fence();
  world.now += 1s;
  world.breaks();
  CHECK(world.step.fence() < fence);
  world.isRefused();
  world.isRefused();
  CHECK(world.step.fence() == fence);
}

TEST("an address that isn't the server's own may refuse while the server lives") {
  for (const auto* const address : {"", "10.0.0.2:29400", "10.0.0.1:29401"}) {
    World world(10s, 1h);
    world.hold(address);
    world.breaks();
    const auto fence = world.step.fence();
    world.isRefused();
    CHECK(world.step.fence() == fence);
    // And another server at the same address may be one of several.
    world.now += 100ms;
    world.greet(World::welcome(kVersion, 8, kServer));
    world.renew();
    (void)world.hear(world.refused(Why::LeaseLost));
    CHECK_EQ(world.next().order, Order::Lost);
  }
}

TEST("refusals count for as long as they're said to, and then it's told once") {
  World world(10s, 5s);
  world.hold();
  world.breaks();
  world.isRefused();
  const TimePoint first = world.now;
  while (world.now < first + 5s) {
    CHECK(world.step.fence() == World::boot(world.now) + 10s - kMargin);
    world.isRefused();
  }
  CHECK(world.step.fence() < World::boot(world.now) + 10s - kMargin);
  CHECK_EQ(world.next().order, Order::Gone);
  CHECK(!world.next().until);
}

TEST("another server in its place is told once, and the fence stays where it was") {
  for (const bool isRefusedBefore : {false, true}) {
    World world(10s, 1h);
    world.hold();
    const auto confirmed = world.step.fence();
    world.now += 100ms;
    world.breaks();
    if (isRefusedBefore) world.isRefused();
    const auto before = world.step.fence();
    world.now += 100ms;
    world.greet(World::welcome(kVersion, 8, kServer));
    CHECK_EQ(world.next().order, Order::Moved);
    CHECK(world.step.fence() == (isRefusedBefore ? before : confirmed));
    CHECK(!world.next().until);
  }
}

TEST("another server past the fence is asked for the lease, which it doesn't know") {
  World world(10s, 1h);
  world.hold();
  world.breaks();
  const auto fence = world.step.fence();
  world.now += kResumeWindow;
  world.greet(World::welcome(kVersion, 8, kServer));
  CHECK(world.step.fence() == fence);
  world.renew();
  (void)world.hear(world.refused(Why::LeaseLost));
  CHECK_EQ(world.next().order, Order::Lost);
}

TAP_MAIN
