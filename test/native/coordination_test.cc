#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/coordination/frames.h"
#include "core/coordination/service.h"
#include "test/native/store_harness.h"
#include "test/native/tap.h"

namespace co = regroup::coordination;

using namespace std::chrono_literals;
using co::Frame;
using co::Type;
using regroup::Loop;
using regroup::TimePoint;
using store_harness::Client;
using store_harness::World;

namespace {

constexpr uint64_t kIncarnation = 77;

/// Reads an answer's body.
class Body {
 public:
  explicit Body(std::string bytes) : bytes_(std::move(bytes)) {}

  uint64_t number(size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && at_ < bytes_.size(); i++)
      value |= uint64_t{static_cast<uint8_t>(bytes_[at_++])} << (8 * i);
    return value;
  }
  std::string text() {
    const size_t size = number(4);
    const std::string text = bytes_.substr(std::min(at_, bytes_.size()), size);
    at_ += size;
    return text;
  }
  /// `key=value@created.modified`, with `~lease` if it's bound.
  std::string entry() {
    std::string shown = text();
    shown += "=" + text();
    const uint64_t created = number(8);
    shown += "@" + std::to_string(created) + "." + std::to_string(number(8));
    return number(8) == 0 ? shown : shown + "~";
  }
  bool isAtEnd() const { return at_ == bytes_.size(); }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

/// A frame's content, as a line for people.
std::string show(Type type, uint32_t id, Body body) {
  std::string line = std::to_string(id) + " ";
  switch (type) {
    case Type::Welcome:
      line += "welcome " + std::to_string(body.number(2));
      line += " " + std::to_string(body.number(8));
      if (const std::string address = body.text(); !address.empty()) line += " of " + address;
      break;
    case Type::Entries:
      line += "at " + std::to_string(body.number(8)) + ":";
      for (size_t n = body.number(4); n > 0; n--) line += " " + body.entry();
      break;
    case Type::TxnDone:
      line += body.number(1) != 0 ? "done " : "not done ";
      line += std::to_string(body.number(8));
      for (size_t n = body.number(4); n > 0; n--) line += " " + body.entry();
      break;
    case Type::Leased:
      line += body.number(8) != 0 ? "leased " : "leased nothing ";
      line += std::to_string(body.number(4));
      break;
    case Type::Ok:
      line += "ok";
      break;
    case Type::Changed:
      line += "changed:";
      for (size_t n = body.number(4); n > 0; n--) {
        if (body.number(1) == 1) {
          line += " " + body.entry();
        } else {
          const std::string key = body.text();
          line += " " + key + "-" + std::to_string(body.number(8));
        }
      }
      break;
    case Type::Refused:
      line += "refused " + std::to_string(body.number(1));
      break;
    default:
      line += "?";
  }
  return body.isAtEnd() ? line : line + " and more";
}

/// The first frame of what has come, taken from it; empty if there isn't a whole one.
std::string takeFrame(std::string& bytes) {
  if (bytes.size() < co::kFrameHead) return "";
  const size_t size = 4 + Body(bytes.substr(0, 4)).number(4);
  if (bytes.size() < size) return "";
  const auto type = static_cast<Type>(bytes[4]);
  const auto id = static_cast<uint32_t>(Body(bytes.substr(5, 4)).number(4));
  const std::string line =
      show(type, id, Body(bytes.substr(co::kFrameHead, size - co::kFrameHead)));
  bytes.erase(0, size);
  return line;
}

// Requests, as bytes.

std::string hello(uint16_t version = co::kVersion) {
  std::string out(co::kPreface);
  Frame(out, Type::Hello, 1).u16(version);
  return out;
}
std::string get(uint32_t id, std::string_view prefix) {
  std::string out;
  Frame(out, Type::Get, id).text(prefix);
  return out;
}
std::string put(uint32_t id, std::string_view key, std::string_view value, uint64_t lease = 0) {
  std::string out;
  Frame(out, Type::Txn, id).u16(0).u16(1).u8(1).text(key).text(value).u64(lease);
  return out;
}
/// Makes a key if there's none.
std::string create(uint32_t id, std::string_view key, std::string_view value) {
  std::string out;
  Frame frame(out, Type::Txn, id);
  frame.u16(1).u8(0).text(key).u16(1).u8(1).text(key).text(value).u64(0);
  return out;
}
std::string drop(uint32_t id, std::string_view key) {
  std::string out;
  Frame(out, Type::Txn, id).u16(0).u16(1).u8(2).text(key);
  return out;
}
std::string grant(uint32_t id, uint32_t ms) {
  std::string out;
  Frame(out, Type::Grant, id).u32(ms);
  return out;
}
std::string about(Type type, uint32_t id, uint64_t lease) {
  std::string out;
  Frame(out, type, id).u64(lease);
  return out;
}
std::string watch(uint32_t id, std::string_view prefix, uint64_t from) {
  std::string out;
  Frame(out, Type::Watch, id).text(prefix).u64(from);
  return out;
}
std::string unwatch(uint32_t id, uint32_t watched) {
  std::string out;
  Frame(out, Type::Unwatch, id).u32(watched);
  return out;
}
std::string goodbye() {
  std::string out;
  Frame(out, Type::Goodbye, 99);
  return out;
}

regroup::store::ServerOptions serving(co::Service::Options options = {}) {
  options.incarnation = kIncarnation;
  regroup::store::ServerOptions server;
  server.protocols.push_back([options](regroup::store::Table&, Loop& loop) {
    return std::make_unique<co::Service>(loop, options);
  });
  return server;
}

/// Its own address is the one that its clients connect to.
std::string welcomeOf(const World& world) {
  return "1 welcome 2 77 of 127.0.0.1:" + std::to_string(world.address.port);
}

/// A client of a real server.
class Caller {
 public:
  explicit Caller(World& world, bool greets = true) : socket_(world.address.port) {
    if (!greets) return;
    socket_.write(hello());
    CHECK_EQ(next(), welcomeOf(world));
  }

  Caller& say(std::string_view bytes) {
    socket_.write(bytes);
    return *this;
  }
  /// The next frame; waits for it.
  std::string next() {
    const std::string head = socket_.read(4);
    if (head.size() < 4) return "closed";
    std::string frame = head + socket_.read(Body(head).number(4));
    return takeFrame(frame);
  }
  std::string ask(std::string_view bytes) { return say(bytes).next(); }
  bool closed() { return socket_.closed(); }
  void close() { socket_.fd.reset(); }

 private:
  Client socket_;
};

TimePoint fakeNow{1h};

/// A service without a server, and with a clock that the test moves.
struct Alone {
  /// A connection.
  struct Talk final : regroup::store::Peer {
    explicit Talk(co::Service& service) : session(service.open(*this)) {}

    void send(std::string_view bytes) override { got += bytes; }
    void close() override {}

    /// @returns the frames that came, a line each, with those before it
    std::string say(std::string_view bytes) {
      input += bytes;
      regroup::store::Reply reply;
      for (;;) {
        const auto progress = session->onInput(input, {turnRequests, 1 << 20, 1s}, reply);
        input.erase(0, progress.consumed);
        if (progress.fault) fault = *progress.fault;
        if (progress.fault || progress.hungry || input.empty()) break;
      }
      got += reply.flat();
      return heard();
    }
    std::string heard() {
      std::string lines;
      for (std::string line; !(line = takeFrame(got)).empty();)
        lines += (lines.empty() ? "" : "\n") + line;
      return lines;
    }

    std::string input;
    std::string got;
    std::string fault;
    size_t turnRequests = 100;
    std::unique_ptr<regroup::store::Session> session;  // goes first
  };

  explicit Alone(co::Service::Options options = {}) {
    fakeNow = TimePoint{1h};
    options.incarnation = kIncarnation;
    service = std::make_unique<co::Service>(*loop, options);
  }

  std::unique_ptr<Talk> connect() {
    auto talk = std::make_unique<Talk>(*service);
    (void)talk->say(hello());
    return talk;
  }
  /// Of the first lease's end, from the start on.
  std::chrono::milliseconds end() const {
    const auto end = service->state().nextEnd();
    return end ? std::chrono::duration_cast<std::chrono::milliseconds>(*end - TimePoint{1h}) : -1ms;
  }

  std::unique_ptr<Loop> loop = std::move(*Loop::create([] { return fakeNow; }));
  std::unique_ptr<co::Service> service;
};

}  // namespace

TEST("coordination and TCPStore share a port, told apart by the first bytes") {
  World world(serving());
  Caller caller(world);

  CHECK(world.connect().ping());
  CHECK_EQ(caller.ask(put(2, "a", "1")), "2 done 1");
  CHECK_EQ(caller.ask(get(3, "")), "3 at 1: a=1@1.1");
}

TEST("a key that one has made is the others' to see, and only one makes it") {
  World world(serving());
  Caller one(world);
  Caller two(world);

  CHECK_EQ(one.ask(create(2, "leader", "one")), "2 done 1");
  CHECK_EQ(two.ask(create(2, "leader", "two")), "2 not done 1 leader=one@1.1");
}

TEST("watchers are told of each change, the one that makes it behind its answer") {
  World world(serving());
  Caller one(world);
  Caller two(world);
  CHECK_EQ(one.ask(watch(5, "a/", 1)), "5 ok");
  CHECK_EQ(two.ask(watch(6, "a/", 1)), "6 ok");

  one.say(put(7, "a/1", "x") + put(8, "b", "") + drop(9, "a/1"));

  // A turn may end behind each of the three, and then tells what has changed.
  const auto changesOf = [&two](Caller& caller, std::string_view prefix, std::string& answers) {
    std::string changes;
    while (!changes.ends_with("a/1-3")) {
      const std::string line = caller.next();
      if (line == "closed") break;
      if (!line.starts_with(prefix)) {
        answers += line + "\n";
        continue;
      }
      changes += (changes.empty() ? "" : " ") + line.substr(prefix.size());
      // Its own answer came before.
      CHECK(&caller == &two || answers.starts_with("7 done 1\n"));
      CHECK(&caller == &two || !changes.ends_with("a/1-3") || answers.ends_with("9 done 3\n"));
    }
    return changes;
  };
  std::string answers;
  CHECK_EQ(changesOf(one, "5 changed: ", answers), "a/1=x@1.1 a/1-3");
  CHECK_EQ(answers, "7 done 1\n8 done 2\n9 done 3\n");
  std::string none;
  CHECK_EQ(changesOf(two, "6 changed: ", none), "a/1=x@1.1 a/1-3");
  CHECK_EQ(none, "");
}

TEST("a watch begins with what has changed since, and ends when it's told to") {
  Alone alone;
  const auto talk = alone.connect();
  (void)talk->say(put(2, "a", "1") + put(3, "b", "1") + put(4, "a", "2"));

  CHECK_EQ(talk->say(watch(5, "a", 2)), "5 ok\n5 changed: a=2@1.3");
  CHECK_EQ(talk->say(watch(6, "", 5)), "6 ok");
  CHECK_EQ(talk->say(put(7, "c", "")), "7 done 4");
  CHECK_EQ(talk->say(put(8, "a", "")), "8 done 5\n5 changed: a=@1.5\n6 changed: a=@1.5");
  CHECK_EQ(talk->say(unwatch(9, 5) + put(10, "a", "")), "9 ok\n10 done 6\n6 changed: a=@1.6");
}

TEST("a watch is refused whose changes aren't kept, or of which there are too many") {
  co::Service::Options options;
  options.limits.historyBytes = 1000;
  options.watchesPerClient = 2;
  Alone alone(options);
  const auto talk = alone.connect();
  for (uint32_t id = 2; id < 30; id++) (void)talk->say(put(id, "a", "1"));

  CHECK_EQ(talk->say(watch(40, "a", 1)), "40 refused 5");
  CHECK_EQ(talk->say(watch(41, "a", 29)), "41 ok");
  CHECK_EQ(talk->say(watch(41, "a", 29)), "41 refused 6");
  CHECK_EQ(talk->say(watch(42, "a", 29) + watch(43, "a", 29)), "42 ok\n43 refused 2");
}

TEST("many changes are told in several frames, and none twice") {
  Alone alone;
  const auto talk = alone.connect();
  const std::string value(100'000, 'x');
  for (uint32_t id = 2; id < 12; id++) (void)talk->say(put(id, "k" + std::to_string(id), value));

  const std::string told = talk->say(watch(20, "", 1));

  CHECK_EQ(std::count(told.begin(), told.end(), '\n'), 4);
  size_t at = 0;
  for (int i = 2; i < 12 && at != std::string::npos; i++)
    at = told.find(" k" + std::to_string(i) + "=", at);
  CHECK(at != std::string::npos);
}

TEST("R-052 where many watch, they're told of several changes at once, and of all") {
  co::Service::Options options;
  options.fewClients = 1;
  options.gapPerClient = 1ms;
  Alone alone(options);
  const auto one = alone.connect();
  const auto two = alone.connect();
  const auto three = alone.connect();
  CHECK_EQ(two->say(watch(3, "", 1)), "3 ok");
  CHECK_EQ(three->say(watch(4, "", 1)), "4 ok");

  (void)one->say(put(2, "a", "1"));
  CHECK_EQ(two->heard(), "3 changed: a=1@1.1");
  CHECK_EQ(three->heard(), "4 changed: a=1@1.1");
  (void)one->say(put(3, "b", "1"));
  (void)one->say(put(4, "a", "2"));
  CHECK_EQ(two->heard(), "");
  fakeNow += 10ms;
  alone.loop->setTimer(fakeNow, [&alone] { alone.loop->stop(); });
  alone.loop->run();

  CHECK_EQ(two->heard(), "3 changed: b=1@2.2 a=2@1.3");
  CHECK_EQ(three->heard(), "4 changed: b=1@2.2 a=2@1.3");
}

TEST("where many watch, what would soon be forgotten is told at once") {
  co::Service::Options options;
  options.fewClients = 1;
  options.limits.historyBytes = 4'000;
  Alone alone(options);
  const auto one = alone.connect();
  const auto two = alone.connect();
  CHECK_EQ(two->say(watch(3, "", 1)), "3 ok");

  (void)one->say(put(2, "a", ""));
  CHECK_EQ(two->heard(), "3 changed: a=@1.1");
  (void)one->say(put(3, "b", ""));
  CHECK_EQ(two->heard(), "");
  (void)one->say(put(4, "c", std::string(2'000, 'x')));

  CHECK(two->heard().starts_with("3 changed: b=@2.2 c=xxx"));
}

TEST("a lease that nobody renews ends by itself, and its watchers are told") {
  World world(serving());
  Caller one(world);
  Caller two(world);
  CHECK_EQ(one.ask(grant(2, 100)), "2 leased 100");
  CHECK_EQ(two.ask(watch(3, "", 1)), "3 ok");

  one.say(put(3, "a", "1", kIncarnation));

  CHECK_EQ(two.next(), "3 changed: a=1@1.1~");
  CHECK_EQ(two.next(), "3 changed: a-2");
  CHECK_EQ(one.next(), "3 done 1");
  CHECK_EQ(one.ask(about(Type::Renew, 4, kIncarnation)), "4 refused 1");
  CHECK_EQ(one.ask(put(5, "a", "2", kIncarnation)), "5 refused 1");
}

TEST("a client whose connection breaks loses its leases soon, long before their time") {
  co::Service::Options options;
  options.window = 1ms;
  World world(serving(options));
  Caller one(world);
  Caller two(world);
  CHECK_EQ(one.ask(grant(2, 3'600'000)), "2 leased 3600000");
  CHECK_EQ(one.ask(put(3, "a", "1", kIncarnation)), "3 done 1");
  CHECK_EQ(two.ask(watch(3, "", 2)), "3 ok");

  one.close();

  CHECK_EQ(two.next(), "3 changed: a-2");
}

TEST("who comes back within the window keeps its leases, and who says goodbye as well") {
  Alone alone;
  auto one = alone.connect();
  (void)one->say(grant(2, 10'000));

  one.reset();
  CHECK(alone.end() == 1s);
  fakeNow += 500ms;
  one = alone.connect();
  CHECK_EQ(one->say(about(Type::Renew, 2, kIncarnation)), "2 leased 10000");
  CHECK(alone.end() == 10s + 500ms);
  (void)one->say(goodbye());
  one.reset();
  CHECK(alone.end() == 10s + 500ms);
}

TEST("a connection that breaks late doesn't end what a newer one of its client holds") {
  Alone alone;
  auto old = alone.connect();
  (void)old->say(grant(2, 10'000));
  const auto fresh = alone.connect();
  (void)fresh->say(about(Type::Renew, 2, kIncarnation));

  old.reset();

  CHECK(alone.end() == 10s);
}

TEST("whoever asks finds nothing of a lease whose time is over, even before its timer") {
  Alone alone;
  const auto talk = alone.connect();
  (void)talk->say(grant(2, 1000) + put(3, "a", "", kIncarnation));
  fakeNow += 1s;

  CHECK_EQ(talk->say(get(4, "")), "4 at 2:");
}

TEST("a revoked lease ends at once, and again") {
  Alone alone;
  const auto talk = alone.connect();
  (void)talk->say(grant(2, 1000) + put(3, "a", "", kIncarnation) + watch(4, "", 2));

  const std::string revoke = about(Type::Revoke, 5, kIncarnation);
  CHECK_EQ(talk->say(revoke), "5 ok\n4 changed: a-2");
  CHECK_EQ(talk->say(revoke), "5 ok");
}

TEST("R-044 what is said for an agent that was killed ends its lease before any time is over") {
  Alone alone;
  auto agent = alone.connect();
  (void)agent->say(grant(2, 60'000) + put(3, "a", "1", kIncarnation));
  const auto other = alone.connect();
  CHECK_EQ(other->say(watch(4, "", 2)), "4 ok");
  agent.reset();
  CHECK_EQ(other->heard(), "");

  const auto guardian = std::make_unique<Alone::Talk>(*alone.service);
  CHECK_EQ(guardian->say(co::revocation(kIncarnation, "")), "0 welcome 2 77\n1 ok");

  CHECK_EQ(other->heard(), "4 changed: a-2");
}

TEST("a snapshot that's too large for an answer is refused, and the connection goes on") {
  Alone alone;
  const auto talk = alone.connect();
  const std::string value(1 << 20, 'x');
  for (uint32_t id = 2; id < 36; id++)
    CHECK_EQ(talk->say(put(id, "k" + std::to_string(id), value)),
             std::to_string(id) + " done " + std::to_string(id - 1));

  CHECK_EQ(talk->say(get(50, "k")), "50 refused 3");
  CHECK_EQ(talk->say(get(51, "none")), "51 at 34:");
}

TEST("what isn't the protocol is told in a few words, and costs that connection") {
  std::string unknown;
  Frame(unknown, static_cast<Type>(77), 2);
  std::string tooMuch;
  Frame(tooMuch, Type::Get, 2).text("a").u8(1);
  std::string tooLittle;
  Frame(tooLittle, Type::Get, 2).u32(5);
  std::string kind;
  Frame(kind, Type::Txn, 2).u16(1).u8(9).text("a").u16(0);
  std::string count;
  Frame(count, Type::Txn, 2).u16(65535).u16(65535);
  const std::string preface(co::kPreface);
  for (const auto& [bytes, why] : std::vector<std::pair<std::string, std::string>>{
           {preface + get(2, ""), "a request before its hello"},
           {hello() + hello().substr(8), "a second hello"},
           {hello(9),
            "of another version of regroup (protocol 9, and ours is 2); give all nodes the same "
            "version"},
           {hello() + unknown, "a frame of type 77"},
           {hello() + tooMuch, "a malformed frame of type 2"},
           {hello() + tooLittle, "a malformed frame of type 2"},
           {hello() + kind, "a malformed frame of type 3"},
           {hello() + count, "a malformed frame of type 3"},
           {hello() + std::string(4, '\xff'), "a frame of 4294967295 bytes"},
           {hello() + std::string(4, '\0'), "a frame of 0 bytes"}}) {
    Alone alone;
    Alone::Talk talk(*alone.service);
    (void)talk.say(bytes);
    CHECK_EQ(talk.fault, why);
  }
}

TEST("malformed bytes cost nobody else anything") {
  World world(serving());
  Caller good(world);
  for (const std::string& bytes : {hello() + std::string(4, '\0'), std::string("\xC7regroux"),
                                   std::string("GET / HTTP/1.1\r\n\r\n")}) {
    Caller bad(world, false);
    bad.say(bytes);
    CHECK(bad.closed());
    CHECK(world.nextLine() != "no line came");
  }
  CHECK_EQ(good.ask(get(3, "")), "3 at 0:");
}

TEST("one of another version is told ours before it's closed") {
  World world(serving());
  Caller newer(world, false);

  CHECK_EQ(newer.ask(hello(9)), welcomeOf(world));
  CHECK(newer.closed());
}

TEST("a server that has just started is told from the one before by its incarnation") {
  co::Service::Options options;
  options.incarnation = 78;
  Alone alone;
  co::Service other(*alone.loop, options);
  Alone::Talk talk(other);

  CHECK_EQ(talk.say(hello()), "1 welcome 2 78");
}

TEST("requests mean the same however their bytes come, and however many a turn serves") {
  const std::string all = hello() + put(2, "a", "1") + watch(3, "", 1) + create(4, "b", "") +
                          grant(5, 1000) + put(6, "c", "", kIncarnation) + get(7, "") +
                          unwatch(8, 3) + drop(9, "a") + get(10, "a");
  std::vector<std::string> seen;
  for (uint32_t seed = 0; seed < 50; seed++) {
    std::mt19937 random(seed);
    Alone alone;
    Alone::Talk talk(*alone.service);
    talk.turnRequests = 1 + random() % 3;
    std::string answers;
    for (size_t at = 0; at < all.size();) {
      const size_t size = seed == 0 ? all.size() : 1 + random() % 9;
      const std::string some = talk.say(all.substr(at, size));
      if (!some.empty()) answers += some + "\n";
      at += size;
    }
    // Where a turn ends, its changes are told: their place differs, but not what's answered.
    std::string own;
    for (size_t from = 0, to; (to = answers.find('\n', from)) != std::string::npos; from = to + 1) {
      const std::string line = answers.substr(from, to - from);
      if (line.find("changed") == std::string::npos) own += line + "\n";
    }
    seen.push_back(own);
    CHECK_EQ(own, seen.front());
  }
}

TEST("what a frame announces and doesn't send is no reason to wait for others") {
  World world(serving());
  Caller half(world);
  half.say(put(2, "a", std::string(1 << 20, 'x')).substr(0, 1 << 19));
  Caller other(world);

  CHECK_EQ(other.ask(put(2, "b", "")), "2 done 1");
}

TAP_MAIN
