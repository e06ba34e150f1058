#pragma once

#include <array>

#include "core/store/session.h"

namespace regroup::store {

/// The operation that took longest: parsing, applying, and sending to whom it released.
struct SlowestOp {
  Op op = Op::Validate;
  std::chrono::nanoseconds took{0};  // 0: there was none yet
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

  /// `table` and `slowest` outlive it.
  TcpStore(Table& table, const Options& options, SlowestOp& slowest)
      : table_(table), options_(options), slowest_(slowest) {}

  Match match(std::string_view first) const override {
    // 0 to 11: a headerless operation, or VALIDATE. The parser looks closer.
    return static_cast<uint8_t>(first[0]) <= 11 ? Match::Yes : Match::No;
  }

  std::unique_ptr<Session> open(Peer& peer) override {
    return std::make_unique<Client>(*this, peer);
  }

  /// Live connections by dialect.
  const std::array<uint64_t, kDialectCount>& clients() const { return clients_; }

 private:
  class Client final : public Session, public Table::Client {
   public:
    Client(TcpStore& store, Peer& peer)
        : store_(store), peer_(peer), parser_(store.options_.headerless, store.options_.limits) {
      store_.clients_[static_cast<size_t>(counted_)]++;
    }
    ~Client() override {
      store_.table_.forget(*this);
      store_.clients_[static_cast<size_t>(counted_)]--;
    }

    Progress onInput(std::string_view input, const Turn& turn, std::string& reply) override {
      Progress progress;
      const size_t fullReply = reply.size() + turn.replyBytes;
      TimePoint begun = monotonicNow();
      for (size_t served = 0; served < turn.requests && reply.size() < fullReply; served++) {
        const Parsed parsed = parser_.parse(input.substr(progress.consumed));
        if (std::holds_alternative<NeedMore>(parsed)) {
          progress.hungry = true;
          if (parser_.undecided()) progress.quiet = store_.options_.quiet;
          break;
        }
        if (const auto* malformed = std::get_if<Malformed>(&parsed)) {
          progress.fault = malformed->describe();
          break;
        }

        const Whole& whole = *std::get_if<Whole>(&parsed);
        const auto refusal = store_.table_.apply(*this, whole.request, reply);
        progress.consumed += whole.bytes;
        for (Table::Client* released : store_.table_.released())
          static_cast<Client*>(released)->peer_.send({&kStatusOk, 1});
        begun = store_.note(whole.request.op, begun);
        if (refusal) {
          progress.fault = std::string(nameOf(whole.request.op)) + " " + refusal->describe();
          break;
        }
      }
      count();
      return progress;
    }

    void onQuiet() override { parser_.settle(); }

   private:
    void count() {
      if (parser_.dialect() == counted_) return;
      store_.clients_[static_cast<size_t>(counted_)]--;
      counted_ = parser_.dialect();
      store_.clients_[static_cast<size_t>(counted_)]++;
    }

    TcpStore& store_;
    Peer& peer_;
    Parser parser_;
    Dialect counted_ = Dialect::Unknown;
  };

  /// Returns when the operation ended, which is when the next one begins.
  TimePoint note(Op op, TimePoint begun) {
    const TimePoint ended = monotonicNow();
    if (ended - begun > slowest_.took) slowest_ = {op, ended - begun};
    return ended;
  }

  Table& table_;
  const Options options_;
  SlowestOp& slowest_;
  std::array<uint64_t, kDialectCount> clients_{};
};

}  // namespace regroup::store
