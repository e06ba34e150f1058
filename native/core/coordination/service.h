#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "core/base/loop.h"
#include "core/coordination/frames.h"
#include "core/coordination/proof.h"
#include "core/coordination/state.h"
#include "core/store/session.h"

namespace regroup::coordination {

/// Serves coordination beside TCPStore, at the same port: each frame is answered at once, and each
/// change is told to whoever watches for it at the end of the turn that made it, or a few
/// milliseconds later where many watch.
///
/// Its clients can make it hold what State's limits say, and the watches below.
///
/// Thread: store.
class Service final : public store::Protocol {
 public:
  struct Options {
    Limits limits;
    std::chrono::milliseconds window = kResumeWindow;
    size_t watchesPerClient = 64;
    /// Tells this server from the one before at the same port, and where ids of leases begin.
    /// By chance.
    uint64_t incarnation = 0;
    /// Only who proves that it has this gets more than a welcome; empty: everybody does.
    std::string token = {};
    /// From the connection's beginning on. Then it's closed.
    std::chrono::milliseconds proofWithin{10'000};
    /// Nobody else is served at the port, and who says nothing there is closed after as long.
    bool exclusive = false;
    /// More clients than these aren't told of each change by itself, but of several at once: so
    /// long for each client lies between two tellings, about what telling it takes. Of N agents
    /// that come, each is told of all: that's N * N messages otherwise.
    size_t fewClients = 64;
    std::chrono::microseconds gapPerClient{5};
    std::chrono::milliseconds mostGap{50};
  };

  /// `loop` outlives it.
  Service(Loop& loop, const Options& options);
  ~Service() override;

  Match match(std::string_view first) const override;
  std::unique_ptr<store::Session> open(store::Peer& peer) override;
  std::optional<std::chrono::milliseconds> patience() const override;

  const State& state() const { return state_; }

 private:
  class Client;

  /// A frame of changes, for all who watch for the same from the same revision on.
  struct Told {
    std::string prefix;
    Revision from = 0;
    Revision newest = 0;  // of the table, when it was made
    Revision next = 0;
    std::string frame;  // empty: nothing of it is below the prefix
  };

  TimePoint now();
  void announce();
  void announceNow();
  void armTimer();

  Loop& loop_;
  const Options options_;
  NonceSource nonces_;
  State state_;
  std::set<Client*> clients_;
  /// Who has granted or renewed each lease last, while it's connected.
  std::map<LeaseId, Client*> holders_;
  Revision announced_ = 0;
  size_t announcedBytes_ = 0;
  TimePoint announceFrom_{};  // no sooner
  Loop::TimerId announceTimer_ = 0;
  Told told_;
  /// The client whose turn it is. It gets what's told in its reply.
  Client* serving_ = nullptr;
  store::Reply* servingReply_ = nullptr;
  Loop::TimerId timer_ = 0;
  TimePoint timerDue_{};
};

/// Makes a service for a table, with an incarnation of its own in place of the options'.
store::ProtocolFactory serviceFactory(Service::Options options = {});

}  // namespace regroup::coordination
