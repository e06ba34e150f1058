#include "core/coordination/service.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/sha256.h"
#include "core/base/siphash.h"

namespace regroup::coordination {

namespace {

/// Of a frame of changes, about; what a revision holds isn't divided.
constexpr size_t kChangedBytes = 256 << 10;

}  // namespace

class Service::Client final : public store::Session {
 public:
  Client(Service& service, store::Peer& peer) : service_(service), peer_(peer) {
    service_.clients_.insert(this);
    if (isTrusted_) return;
    proofTimer_ = loop().setTimer(loop().now() + service_.options_.proofWithin, [this] {
      proofTimer_ = 0;
      peer_.close();
    });
  }

  ~Client() override {
    loop().cancelTimer(proofTimer_);
    service_.clients_.erase(this);
    const TimePoint now = service_.now();
    for (auto at = service_.holders_.begin(); at != service_.holders_.end();) {
      if (at->second != this) {
        ++at;
        continue;
      }
      if (!saidGoodbye_) service_.state_.abandon(at->first, now, service_.options_.window);
      at = service_.holders_.erase(at);
    }
    service_.armTimer();
  }

  Progress onInput(std::string_view input, const Turn& turn, store::Reply& reply) override {
    Progress progress;
    if (!hasPreface_) {
      if (input.size() < kPreface.size()) return {.hungry = true};
      progress.consumed = kPreface.size();
      hasPreface_ = true;
    }
    const size_t fullReply = reply.size() + turn.replyBytes;
    const TimePoint until = monotonicNow() + turn.time;
    service_.serving_ = this;
    service_.servingReply_ = &reply;
    for (size_t served = 0; served < turn.requests && reply.size() < fullReply; served++) {
      auto parsed = parse(input.substr(progress.consumed),
                          isGreeted_ && isTrusted_ ? kMaxRequest : kMaxGreeting);
      if (auto* const fault = std::get_if<std::string>(&parsed)) {
        progress.fault = std::move(*fault);
        break;
      }
      const auto& whole = std::get<Parsed>(parsed);
      progress.hungry = !whole.request;
      if (!whole.request) break;
      progress.fault = serve(*whole.request, reply.tail());
      if (progress.fault) break;
      progress.consumed += whole.bytes;
      if (monotonicNow() >= until) break;
    }
    service_.announce();
    service_.serving_ = nullptr;
    service_.armTimer();
    return progress;
  }

  /// Tells what has changed since it was told last.
  void tell() {
    std::string* own = nullptr;
    if (service_.serving_ == this) own = &service_.servingReply_->tail();
    for (auto& [id, watch] : watches_) {
      while (watch.next <= service_.state_.revision()) {
        std::string told;
        std::string& out = own == nullptr ? told : *own;
        tellSome(id, watch, out);
        if (!told.empty()) peer_.send(told);
      }
    }
  }

 private:
  struct Watching {
    std::string prefix;
    Revision next;  // to tell of
  };

  State& state() { return service_.state_; }
  Loop& loop() { return service_.loop_; }
  const std::string& token() { return service_.options_.token; }

  /// What breaks the protocol, in a sentence.
  std::optional<std::string> serve(const Request& request, std::string& out) {
    if (const auto* const hello = std::get_if<Hello>(&request.body))
      return greet(request.id, *hello, out);
    if (!isGreeted_) return "a request before its hello";
    if (const auto* const proof = std::get_if<Proof>(&request.body))
      return prove(request.id, *proof, out);
    if (!isTrusted_ && !isTrue(request)) return "a request without a proof of the job's token";
    // Whoever asks finds nothing that should have ended by now.
    const TimePoint now = service_.now();
    state().expire(now);
    std::visit([&](const auto& body) { answer(request.id, body, now, out); }, request.body);
    return std::nullopt;
  }

  std::optional<std::string> greet(uint32_t id, const Hello& hello, std::string& out) {
    if (isGreeted_) return "a second hello";
    Frame welcome(out, Type::Welcome, id);
    welcome.u16(kVersion).u64(service_.options_.incarnation).text(peer_.ownAddress());
    if (!isTrusted_) {
      nonce_ = service_.nonces_.next();
      welcome.text(nonce_);
    }
    // What it was told ends it, too, with a sentence of its own.
    if (hello.version != kVersion)
      return "of another version of regroup (protocol " + std::to_string(hello.version) +
             ", and ours is " + std::to_string(kVersion) + "); give all nodes the same version";
    isGreeted_ = true;
    return std::nullopt;
  }

  std::optional<std::string> prove(uint32_t id, const Proof& proof, std::string& out) {
    if (isTrusted_) return "a proof that nobody has asked for";
    const Nonces nonces{nonce_, std::string(proof.nonce)};
    if (proof.nonce.size() != kNonceBytes ||
        !isSameSecret(proof.proof, agentProof(token(), nonces))) {
      refuse(id, Why::WrongToken, out);
      return "another token than the job's";
    }
    isTrusted_ = true;
    loop().cancelTimer(std::exchange(proofTimer_, 0));
    Frame(out, Type::Proved, id).text(serverProof(token(), nonces));
    return std::nullopt;
  }

  /// Whether a request is its own proof.
  bool isTrue(const Request& request) {
    const auto* const revoke = std::get_if<Revoke>(&request.body);
    return revoke != nullptr && isSameSecret(revoke->proof, leaseProof(token(), revoke->lease));
  }

  void answer(uint32_t, const Hello&, TimePoint, std::string&) {}
  void answer(uint32_t, const Proof&, TimePoint, std::string&) {}

  void answer(uint32_t id, const Get& get, TimePoint, std::string& out) {
    Frame frame(out, Type::Entries, id);
    frame.u64(state().revision());
    const size_t place = frame.place32();
    uint32_t count = 0;
    bool fits = true;
    state().each(get.prefix, [&](const std::string& key, const Entry& entry) {
      fits = fits && frame.bytes() + key.size() + entry.value.size() < kMaxAnswer;
      if (!fits) return;
      frame.entry(key, entry);
      count++;
    });
    frame.set32(place, count);
    if (fits) return;
    frame.cancel();
    refuse(id, Why::TooLarge, out);
  }

  void answer(uint32_t id, const Txn& txn, TimePoint, std::string& out) {
    const auto outcome = state().txn(txn.compares, txn.changes);
    if (const auto* const refusal = std::get_if<Refusal>(&outcome))
      return refuse(id, whyOf(*refusal), out);
    const auto& done = std::get<State::Done>(outcome);
    Frame frame(out, Type::TxnDone, id);
    frame.u8(done.held).u64(done.revision);
    const size_t place = frame.place32();
    uint32_t count = 0;
    // What others wrote may be large, but not as large as this times the comparisons.
    if (!done.held) {
      std::set<std::string_view> shown;
      for (const Compare& compare : txn.compares) {
        const auto found = state().table().find(compare.key);
        if (found == state().table().end() || !shown.insert(found->first).second) continue;
        if (frame.bytes() + found->second.value.size() >= kMaxAnswer) break;
        frame.entry(found->first, found->second);
        count++;
      }
    }
    frame.set32(place, count);
  }

  void answer(uint32_t id, const Grant& grant, TimePoint now, std::string& out) {
    const auto granted = state().grant(grant.ttl, now);
    if (const auto* const refusal = std::get_if<Refusal>(&granted))
      return refuse(id, whyOf(*refusal), out);
    leased(id, std::get<LeaseId>(granted), out);
  }

  void answer(uint32_t id, const Renew& renew, TimePoint now, std::string& out) {
    if (!state().renew(renew.lease, now)) return refuse(id, Why::LeaseLost, out);
    leased(id, renew.lease, out);
  }

  void answer(uint32_t id, const Revoke& revoke, TimePoint, std::string& out) {
    (void)state().revoke(revoke.lease);
    service_.holders_.erase(revoke.lease);
    Frame(out, Type::Ok, id);
  }

  void answer(uint32_t id, const Watch& watch, TimePoint, std::string& out) {
    if (watches_.contains(id)) return refuse(id, Why::Taken, out);
    if (watches_.size() >= service_.options_.watchesPerClient) return refuse(id, Why::Full, out);
    if (watch.from < state().oldestKept()) return refuse(id, Why::Compacted, out);
    watches_.emplace(id, Watching{std::string(watch.prefix), watch.from});
    Frame(out, Type::Ok, id);
    // What's kept already is told now; what's new, at the end of the turn.
    Watching& watching = watches_.at(id);
    while (watching.next <= state().revision()) tellSome(id, watching, out);
  }

  void answer(uint32_t id, const Unwatch& unwatch, TimePoint, std::string& out) {
    watches_.erase(unwatch.id);
    Frame(out, Type::Ok, id);
  }

  void answer(uint32_t, const Goodbye&, TimePoint, std::string&) { saidGoodbye_ = true; }

  void leased(uint32_t id, LeaseId lease, std::string& out) {
    service_.holders_[lease] = this;
    const auto ttl = static_cast<uint32_t>(state().ttlOf(lease).count());
    Frame(out, Type::Leased, id).u64(lease).u32(ttl);
  }

  static void refuse(uint32_t id, Why why, std::string& out) {
    Frame(out, Type::Refused, id).u8(static_cast<uint8_t>(why));
  }

  /// All agents of a job watch for the same: what they're told is written once.
  void tellSome(uint32_t id, Watching& watch, std::string& out) {
    Told& told = service_.told_;
    const bool isSame =
        told.prefix == watch.prefix && told.from == watch.next && told.newest == state().revision();
    if (!isSame) {
      told = {watch.prefix, watch.next, state().revision(), 0, {}};
      write(told);
    }
    watch.next = told.next;
    if (told.frame.empty()) return;
    const size_t start = out.size();
    out += told.frame;
    setFrameId(out, start, id);
  }

  void write(Told& told) {
    constexpr uint8_t kPut = 1;
    constexpr uint8_t kDelete = 2;
    Frame frame(told.frame, Type::Changed, 0);
    const size_t place = frame.place32();
    uint32_t count = 0;
    told.next = state().replay(told.from, told.prefix, [&](const Record& record) {
      if (record.entry) {
        frame.u8(kPut).entry(record.key, *record.entry);
      } else {
        frame.u8(kDelete).text(record.key).u64(record.revision);
      }
      count++;
      return frame.bytes() < kChangedBytes;
    });
    frame.set32(place, count);
    if (count == 0) frame.cancel();
  }

  Service& service_;
  store::Peer& peer_;
  std::map<uint32_t, Watching> watches_;
  bool hasPreface_ = false;
  bool isGreeted_ = false;
  bool isTrusted_ = token().empty();
  std::string nonce_;  // ours, where it has something to prove
  Loop::TimerId proofTimer_ = 0;
  bool saidGoodbye_ = false;
};

Service::Service(Loop& loop, const Options& options)
    : loop_(loop), options_(options), state_(options.limits, options.incarnation) {}

Service::~Service() {
  if (timer_ != 0) loop_.cancelTimer(timer_);
  loop_.cancelTimer(announceTimer_);
}

store::Protocol::Match Service::match(std::string_view first) const {
  if (first.starts_with(kPreface)) return Match::Yes;
  if (kPreface.starts_with(first)) return Match::NeedMore;
  return options_.exclusive ? Match::Barred : Match::No;
}

std::optional<std::chrono::milliseconds> Service::patience() const {
  if (!options_.exclusive) return std::nullopt;
  return options_.proofWithin;
}

std::unique_ptr<store::Session> Service::open(store::Peer& peer) {
  return std::make_unique<Client>(*this, peer);
}

TimePoint Service::now() {
  return loop_.now();
}

void Service::announce() {
  if (announced_ == state_.revision()) return;
  // What isn't told yet must be kept.
  const size_t untold = state_.recordedBytes() - announcedBytes_;
  const bool isMuch = untold > options_.limits.historyBytes / 4;
  if (isMuch || clients_.size() <= options_.fewClients || now() >= announceFrom_)
    return announceNow();
  if (announceTimer_ != 0) return;
  announceTimer_ = loop_.setTimer(announceFrom_, [this] {
    announceTimer_ = 0;
    announceNow();
  });
}

void Service::announceNow() {
  loop_.cancelTimer(std::exchange(announceTimer_, 0));
  announced_ = state_.revision();
  announcedBytes_ = state_.recordedBytes();
  for (Client* const client : clients_) client->tell();
  const auto gap = options_.gapPerClient * clients_.size();
  announceFrom_ = now() + std::min<std::chrono::nanoseconds>(gap, options_.mostGap);
}

/// For the next lease's end.
void Service::armTimer() {
  const auto due = state_.nextEnd();
  if (timer_ != 0 && due == timerDue_) return;
  if (timer_ != 0) loop_.cancelTimer(timer_);
  timer_ = 0;
  if (!due) return;
  timerDue_ = *due;
  timer_ = loop_.setTimer(*due, [this] {
    timer_ = 0;
    state_.expire(now());
    announce();
    armTimer();
  });
}

store::ProtocolFactory serviceFactory(Service::Options options) {
  return [options](store::Table&, Loop& loop) mutable {
    // Not 0: that's no lease.
    options.incarnation = HashKey::random().low | 1;
    return std::make_unique<Service>(loop, options);
  };
}

}  // namespace regroup::coordination
