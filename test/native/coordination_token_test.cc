#include <functional>
#include <memory>
#include <set>
#include <string>

#include "core/coordination/frames.h"
#include "core/coordination/lease_step.h"
#include "core/coordination/proof.h"
#include "core/coordination/service.h"
#include "core/store/session.h"
#include "test/native/tap.h"

// Whoever can't prove that it has the job's token gets nothing from a server that has one.

using namespace regroup;
using namespace regroup::coordination;
using namespace std::chrono_literals;

namespace {

constexpr auto kToken = "a token of the job";
constexpr LeaseId kFirstLease = 77;
constexpr auto kProofWithin = 10s;

TimePoint fakeNow{1h};

/// A connection without sockets.
struct Talk final : store::Peer {
  explicit Talk(Service& service) : session(service.open(*this)) {}

  void send(std::string_view bytes) override { got += bytes; }
  void close() override { isClosed = true; }

  void say(std::string_view bytes) {
    input += bytes;
    store::Reply reply;
    for (;;) {
      const auto progress = session->onInput(input, {100, 1 << 20, 1s}, reply);
      input.erase(0, progress.consumed);
      if (progress.fault) fault = *progress.fault;
      if (progress.fault || progress.hungry || input.empty()) break;
    }
    got += reply.flat();
  }
  /// The next answer. Its texts lie in `heard`.
  Answer hear() {
    const auto parsed = parseAnswer(got);
    if (!CHECK(parsed && parsed->answer)) return {};
    heard = got.substr(0, parsed->bytes);
    got.erase(0, parsed->bytes);
    return *parseAnswer(heard)->answer;
  }
  /// Of a server with a token.
  std::string nonce() {
    const Answer answer = hear();
    const auto* const welcome = std::get_if<Welcome>(&answer.body);
    return CHECK(welcome != nullptr) ? std::string(welcome->nonce) : "";
  }

  std::string input;
  std::string got;
  std::string heard;
  std::string fault;
  bool isClosed = false;
  std::unique_ptr<store::Session> session;  // goes first
};

/// A service on a clock that the test moves.
struct Server {
  explicit Server(std::string token = kToken) {
    fakeNow = TimePoint{1h};
    Service::Options options;
    options.incarnation = kFirstLease;
    options.token = std::move(token);
    options.proofWithin = kProofWithin;
    service = std::make_unique<Service>(*loop, options);
  }
  std::unique_ptr<Talk> connect() { return std::make_unique<Talk>(*service); }
  /// Connects, greets, and has the server's nonce.
  std::unique_ptr<Talk> greet(Nonces& nonces) {
    auto talk = connect();
    talk->say(hello());
    nonces = {talk->nonce(), std::string(kNonceBytes, 'n')};
    return talk;
  }
  std::unique_ptr<Talk> enter() {
    Nonces nonces;
    auto talk = greet(nonces);
    talk->say(proof(nonces));
    const Answer answer = talk->hear();
    CHECK(std::holds_alternative<Proved>(answer.body));
    return talk;
  }
  /// Runs the loop for so long, which can be done once. @param before what's looked at a
  /// millisecond before
  void pass(
      std::chrono::milliseconds time, std::function<void()> before = [] {}) {
    const TimePoint end = fakeNow + time;
    fakeNow = end - 1ms;
    loop->setTimer(fakeNow, [end, before] {
      before();
      fakeNow = end;
    });
    loop->setTimer(end, [this] { loop->stop(); });
    loop->run();
  }

  static std::string hello() {
    std::string out(kPreface);
    Frame(out, Type::Hello, 1).u16(kVersion);
    return out;
  }
  static std::string proof(const Nonces& nonces, std::string_view token = kToken) {
    return proof(nonces.agent, agentProof(token, nonces));
  }
  static std::string proof(std::string_view nonce, std::string_view proof) {
    std::string out;
    Frame(out, Type::Proof, 2).text(nonce).text(proof);
    return out;
  }
  static std::string grant() {
    std::string out;
    Frame(out, Type::Grant, 3).u32(60'000);
    return out;
  }

  std::unique_ptr<Loop> loop = std::move(*Loop::create([] { return fakeNow; }));
  std::unique_ptr<Service> service;
};

bool isWrongToken(const Answer& answer) {
  const auto* const refused = std::get_if<Refused>(&answer.body);
  return refused != nullptr && refused->why == Why::WrongToken;
}

}  // namespace

TEST("who proves that it has the token is told the same by the server, and served") {
  Server server;
  Nonces nonces;
  const auto talk = server.greet(nonces);
  CHECK_EQ(nonces.server.size(), kNonceBytes);

  talk->say(Server::proof(nonces) + Server::grant());

  const Answer answer = talk->hear();
  const auto* const proved = std::get_if<Proved>(&answer.body);
  REQUIRE(proved != nullptr);
  CHECK(proved->proof == serverProof(kToken, nonces));
  const Answer granted = talk->hear();
  CHECK(std::holds_alternative<Leased>(granted.body));
  CHECK_EQ(talk->fault, "");
}

TEST("another token is refused, and so is a proof of another connection, or of the server's") {
  Server server;
  Nonces before;
  const auto served = server.greet(before);
  served->say(Server::proof(before));

  Nonces nonces;
  CHECK(server.greet(nonces)->got.empty());
  for (int i = 0; i < 6; i++) {
    const auto talk = server.greet(nonces);
    CHECK(nonces.server != before.server);
    const std::string wrongs[] = {
        Server::proof(nonces, "another token of 16"),
        Server::proof(before),
        Server::proof(nonces.agent, serverProof(kToken, nonces)),
        Server::proof(nonces.agent, ""),
        Server::proof(nonces.agent, agentProof(kToken, nonces).substr(1)),
        Server::proof("", agentProof(kToken, {nonces.server, ""})),
    };
    talk->say(wrongs[i] + Server::grant());
    CHECK(isWrongToken(talk->hear()));
    CHECK_EQ(talk->fault, "another token than the job's");
    CHECK_EQ(talk->got, "");
  }
  CHECK(!server.service->state().nextEnd());
}

TEST("whoever has proved nothing gets nothing, and can send little") {
  Server server;
  Nonces nonces;
  std::string get;
  Frame(get, Type::Get, 3).text("");
  std::string revoke;
  Frame(revoke, Type::Revoke, 3).u64(kFirstLease);
  for (const std::string& asked : {get, Server::grant(), revoke}) {
    const auto talk = server.greet(nonces);
    talk->say(asked);
    CHECK_EQ(talk->fault, "a request without a proof of the job's token");
    CHECK_EQ(talk->got, "");
  }

  // Judged by its length, before it has come.
  std::string large;
  Frame(large, Type::Get, 3).text(std::string(kMaxGreeting, 'x'));
  const auto talk = server.greet(nonces);
  talk->say(large.substr(0, 4));
  CHECK_EQ(talk->fault, "a frame of 265 bytes");
  const auto early = server.connect();
  early->say(std::string(kPreface) + large.substr(0, 4));
  CHECK_EQ(early->fault, "a frame of 265 bytes");
  const auto known = server.enter();
  known->say(large);
  CHECK_EQ(known->fault, "");
}

TEST("whoever proves nothing in time is closed, and nobody else") {
  Server server;
  Nonces nonces;
  const auto silent = server.connect();
  silent->say(kPreface);
  const auto greeted = server.greet(nonces);
  const auto known = server.enter();

  server.pass(kProofWithin, [&] { CHECK(!silent->isClosed && !greeted->isClosed); });

  CHECK(silent->isClosed && greeted->isClosed);
  CHECK(!known->isClosed);

  Server open("");
  const auto any = open.connect();
  any->say(kPreface);
  open.pass(10 * kProofWithin);
  CHECK(!any->isClosed);
}

TEST("without a token there's no nonce, and no proof to give") {
  Server server("");
  const auto talk = server.connect();
  talk->say(Server::hello());
  CHECK_EQ(talk->nonce(), "");

  talk->say(Server::proof({"", std::string(kNonceBytes, 'n')}));

  CHECK_EQ(talk->fault, "a proof that nobody has asked for");
}

TEST("R-044 a killed agent's lease is ended by words that only who has the token can say") {
  Server server;
  const auto agent = server.enter();
  agent->say(Server::grant());
  CHECK(server.service->state().nextEnd());

  for (const std::string& wrong :
       {revocation(kFirstLease, ""), revocation(kFirstLease, "another token of 16")}) {
    const auto talk = server.connect();
    talk->say(wrong);
    CHECK_EQ(talk->fault, "a request without a proof of the job's token");
    CHECK(server.service->state().nextEnd());
  }
  const auto guardian = server.connect();
  guardian->say(revocation(kFirstLease, kToken));
  CHECK_EQ(guardian->fault, "");
  CHECK(!server.service->state().nextEnd());
}

TEST("at a port for agents alone everybody else is barred, and nobody may say nothing") {
  using Match = store::Protocol::Match;
  const std::string_view firsts[] = {kPreface.substr(0, 3), kPreface, "\x01", "GET / HTTP/1.1",
                                     "\xC7regrouP"};
  for (const bool exclusive : {true, false}) {
    const auto loop = std::move(*Loop::create([] { return fakeNow; }));
    Service::Options options;
    options.exclusive = exclusive;
    options.proofWithin = kProofWithin;
    const Service service(*loop, options);
    const Match others = exclusive ? Match::Barred : Match::No;
    const Match expected[] = {Match::NeedMore, Match::Yes, others, others, others};
    for (size_t i = 0; i < std::size(firsts); i++) CHECK(service.match(firsts[i]) == expected[i]);
    CHECK(service.patience().has_value() == exclusive);
    CHECK(service.patience().value_or(kProofWithin) == kProofWithin);
  }
}

TEST("nonces are never the same, and neither are two sources") {
  NonceSource one;
  NonceSource other;
  std::set<std::string> given;
  for (int i = 0; i < 1000; i++) {
    given.insert(one.next());
    given.insert(other.next());
  }

  CHECK_EQ(given.size(), 2000u);
  CHECK_EQ(given.begin()->size(), kNonceBytes);
}

TEST("proofs are what the protocol says") {
  // They are the same in test/coordination/greeting.test.ts.
  const auto hex = [](std::string_view bytes) {
    std::string shown;
    for (const char byte : bytes) {
      shown += "0123456789abcdef"[static_cast<uint8_t>(byte) >> 4];
      shown += "0123456789abcdef"[static_cast<uint8_t>(byte) & 15];
    }
    return shown;
  };
  const Nonces nonces{std::string(kNonceBytes, 's'), std::string(kNonceBytes, 'a')};
  CHECK_EQ(hex(agentProof(kToken, nonces)),
           "352eb88a4e404e0440566d17d985ae617e5873c2b38875ef4b3aef9aeaadee9f");
  CHECK_EQ(hex(serverProof(kToken, nonces)),
           "4973e7650903fdcd2b32f83a327692227ff2010253786d383c6965f0fe575cfd");
  CHECK_EQ(hex(leaseProof(kToken, 0x0102030405060708)),
           "dff13d5b7abf49635d499535a0aca473df71cdecb63ce409a9e2dc0e36ea7c37");
}

namespace {

/// A keeper that has connected to a server, and said hello.
struct Keeper {
  explicit Keeper(std::string token = kToken)
      : step({kFirstLease, 1000ms, 200ms, 5000ms, "", 0ms, std::move(token)}, TimePoint()) {
    while (next() != LeaseStep::Order::Connect) now += 1ms;
    step.onConnected(now, std::string(kNonceBytes, 'k'));
    CHECK(next() == LeaseStep::Order::Send);
    (void)step.takeOutput();
  }
  LeaseStep::Order next() { return step.next(moment(), 1).order; }
  Moment moment() const { return {now, BootTime(now.time_since_epoch())}; }
  void hear(const std::string& bytes) { CHECK(!step.onInput(bytes, moment())); }
  static std::string welcome(std::string_view nonce) {
    std::string out;
    Frame(out, Type::Welcome, 0).u16(kVersion).u64(7).text("").text(nonce);
    return out;
  }
  static std::string proved(std::string_view proof) {
    std::string out;
    Frame(out, Type::Proved, 0).text(proof);
    return out;
  }

  LeaseStep step;
  TimePoint now;
};

}  // namespace

TEST("a lease is renewed at a server only that has proved that it has the token") {
  const Nonces nonces{std::string(kNonceBytes, 's'), std::string(kNonceBytes, 'k')};
  for (const bool isTrue : {true, false}) {
    Keeper keeper;
    keeper.hear(Keeper::welcome(nonces.server));
    CHECK(keeper.next() == LeaseStep::Order::Send);
    CHECK(keeper.step.takeOutput().ends_with(agentProof(kToken, nonces)));

    keeper.hear(Keeper::proved(isTrue ? serverProof(kToken, nonces) : agentProof(kToken, nonces)));

    CHECK(keeper.next() == (isTrue ? LeaseStep::Order::Send : LeaseStep::Order::Drop));
  }
}

TEST("a keeper of a lease leaves a server that has a token, or none, where it hasn't, or has") {
  const std::string nonce(kNonceBytes, 's');
  for (const auto& [token, welcome] :
       {std::pair<std::string, std::string>{"", Keeper::welcome(nonce)},
        {kToken, Keeper::welcome("")},
        {kToken, Keeper::welcome("short")}}) {
    Keeper keeper(token);
    keeper.hear(welcome);
    CHECK(keeper.next() == LeaseStep::Order::Drop);
  }
}

TAP_MAIN
