#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "core/store/session.h"

namespace regroup::store {

/// The operation whose longest step took longest: parsing, applying, and sending to whom it
/// released.
struct SlowestOp {
  Op op = Op::Validate;
  std::chrono::nanoseconds took{0};  // 0: there was none yet
};

/// What TCPStore's connections are counted by.
struct ClientCounts {
  std::array<Count, kDialectCount> dialects{};
  Count slowestOp;
  Count slowestNs;
};

/// TCPStore, every dialect of it: the parser's requests, applied to the table.
class TcpStore final : public Protocol {
 public:
  struct Options {
    Headerless headerless = Headerless::Guessed;
    Limits limits;
    /// How long an ambiguous opcode 8 (§2.2) may be APPEND still.
    std::chrono::milliseconds quiet{50};
  };

  /// Told once, after the first request that isn't a client's greeting (VALIDATE, PING).
  using OnFirstUse = std::function<void(TimePoint)>;

  /// `table` and `counts` outlive it.
  TcpStore(Table& table, const Options& options, ClientCounts& counts, OnFirstUse onFirstUse = {})
      : table_(table), options_(options), counts_(&counts), onFirstUse_(std::move(onFirstUse)) {}

  Match match(std::string_view first) const override {
    // 0 to 11: a headerless operation, or VALIDATE. The parser looks closer.
    return static_cast<uint8_t>(first[0]) <= 11 ? Match::Yes : Match::No;
  }

  std::unique_ptr<Session> open(Peer& peer) override {
    return std::make_unique<Client>(*this, peer);
  }

  /// As Table::advance(), and tells those who are released.
  bool advance(size_t looks) {
    const bool more = table_.advance(looks);
    for (Table::Client* released : table_.released()) {
      auto* const client = static_cast<Client*>(released);
      // Behind the replies that it's owed for earlier requests of this turn.
      if (client == serving_)
        servingReply_->tail() += kStatusOk;
      else
        client->peer().send({&kStatusOk, 1});
    }
    return more;
  }

  /// Counts nothing that anybody reads, and tells nobody, from now on.
  void retire() {
    unread_ = std::make_unique<ClientCounts>();
    counts_ = unread_.get();
    onFirstUse_ = {};
  }

 private:
  /// Whom one request releases at once. The others are told in the next turns, which are soon.
  static constexpr size_t kLooksAtOnce = 32;

  class Client final : public Session, public Table::Client {
   public:
    Client(TcpStore& store, Peer& peer)
        : store_(store), peer_(peer), parser_(store.options_.headerless, store.options_.limits) {
      store_.dialects(counted_) += 1;
    }
    ~Client() override {
      store_.table_.leave(*this);
      store_.dialects(counted_) -= 1;
    }

    Peer& peer() { return peer_; }

    Progress onInput(std::string_view input, const Turn& turn, Reply& reply) override {
      Progress progress;
      const size_t fullReply = reply.size() + turn.replyBytes;
      store_.serving_ = this;
      store_.servingReply_ = &reply;
      TimePoint begun = monotonicNow();
      const TimePoint until = begun + turn.time;
      for (size_t served = 0; served < turn.requests && reply.size() < fullReply; served++) {
        if (!parse(input.substr(progress.consumed), progress)) break;
        const Request& request = whole_->request;
        if (turn.shortOnly && !Table::isShort(request)) break;

        const auto outcome = store_.table_.apply(*this, request, reply);
        if (store_.table_.hasWork()) store_.advance(kLooksAtOnce);
        begun = store_.note(request.op, begun);
        if (const auto* refusal = std::get_if<Refusal>(&outcome)) {
          progress.fault = std::string(nameOf(request.op)) + " " + refusal->describe();
          break;
        }
        if (std::holds_alternative<Table::Done>(outcome)) {
          progress.consumed += whole_->bytes;
          whole_.reset();
        }
        if (begun >= until) break;
      }
      store_.serving_ = nullptr;
      count();
      return progress;
    }

    void onQuiet() override { parser_.settle(); }

   private:
    /// The request at the start of `input`, into `whole_`. False: there's none; `progress` says
    /// why.
    bool parse(std::string_view input, Progress& progress) {
      const auto at = reinterpret_cast<uintptr_t>(input.data());
      if (whole_) {
        if (at != parsedAt_) whole_->request = whole_->request.moved(parsedAt_, input.data());
        parsedAt_ = at;
        return true;
      }
      const Parsed parsed = parser_.parse(input);
      if (const auto* whole = std::get_if<Whole>(&parsed)) {
        whole_ = *whole;
        parsedAt_ = at;
        return true;
      }
      if (const auto* malformed = std::get_if<Malformed>(&parsed)) {
        progress.fault = malformed->describe();
        return false;
      }
      progress.hungry = true;
      if (parser_.undecided()) progress.quiet = store_.options_.quiet;
      return false;
    }

    void count() {
      if (parser_.dialect() == counted_) return;
      store_.dialects(counted_) -= 1;
      counted_ = parser_.dialect();
      store_.dialects(counted_) += 1;
    }

    TcpStore& store_;
    Peer& peer_;
    Parser parser_;
    std::optional<Whole> whole_;  // not served yet, or not to its end
    uintptr_t parsedAt_ = 0;      // where its bytes lay
    Dialect counted_ = Dialect::Unknown;
  };

  Count& dialects(Dialect dialect) { return counts_->dialects[static_cast<size_t>(dialect)]; }

  /// Returns when the operation's step ended, which is when the next one begins.
  TimePoint note(Op op, TimePoint begun) {
    const TimePoint ended = monotonicNow();
    const auto took = static_cast<uint64_t>((ended - begun).count());
    if (took > counts_->slowestNs) {
      counts_->slowestOp = static_cast<uint64_t>(op);
      counts_->slowestNs = took;
    }
    if (onFirstUse_ && op != Op::Validate && op != Op::Ping) std::exchange(onFirstUse_, {})(ended);
    return ended;
  }

  Table& table_;
  const Options options_;
  Client* serving_ = nullptr;  // whose turn it is
  Reply* servingReply_ = nullptr;
  ClientCounts* counts_;
  OnFirstUse onFirstUse_;                 // empty once it was told
  std::unique_ptr<ClientCounts> unread_;  // of a retired one
};

}  // namespace regroup::store
