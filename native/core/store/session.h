#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/loop.h"
#include "core/store/reply.h"
#include "core/store/table.h"

/// What lies between the server's sockets and a protocol. A port serves several protocols; a
/// connection is handed to the one that knows its first bytes.
namespace regroup::store {

/// The connection of a session. Thread: store.
class Peer {
 public:
  /// Sends unasked: what other clients' requests set free. Answers go through onInput's `reply`,
  /// ahead of which this would get if it were called for the session whose turn it is.
  virtual void send(std::string_view bytes) = 0;
  /// Ends the connection soon, and the session with it; not within the call.
  virtual void close() = 0;
  /// Of this end, as `PeerName` has it; empty: it has none.
  virtual std::string ownAddress() const { return {}; }

 protected:
  ~Peer() = default;
};

/// One connection, as its protocol sees it. Thread: store.
class Session {
 public:
  /// How one onInput() went.
  struct Progress {
    size_t consumed = 0;  // bytes of the input that were served; what isn't comes again
    bool hungry = false;  // the rest isn't a whole request; else it may be
    /// Call onQuiet() if no byte comes within this.
    std::optional<std::chrono::milliseconds> quiet;
    /// The peer broke the protocol: send `reply`, log this, close.
    std::optional<std::string> fault;
  };
  /// One turn's limits, so that one connection can't keep the others waiting. A request that takes
  /// long is served in steps, by several turns.
  struct Turn {
    size_t requests;
    size_t replyBytes;              // begin no request, nor step, once `reply` has as many
    std::chrono::nanoseconds time;  // nor once it's over; but one is served in any case
    /// Stop before a request that may take more than some microseconds: it has a turn of its own,
    /// when all who have come meanwhile had theirs.
    bool shortOnly = false;
  };

  virtual ~Session() = default;
  /// Serves the whole requests at the start of `input`, and appends their replies.
  virtual Progress onInput(std::string_view input, const Turn& turn, Reply& reply) = 0;
  virtual void onQuiet() {}
};

/// One protocol at one table. Thread: store.
class Protocol {
 public:
  /// Barred: it's not ours, and this port serves nobody else.
  enum class Match { No, Yes, NeedMore, Barred };

  virtual ~Protocol() = default;
  /// Is this a connection of ours? `first` is all that has come, at least a byte.
  virtual Match match(std::string_view first) const = 0;
  /// `peer` outlives the session.
  virtual std::unique_ptr<Session> open(Peer& peer) = 0;
  /// For a connection at the port to say whose it is; nothing: it may take its time.
  virtual std::optional<std::chrono::milliseconds> patience() const { return std::nullopt; }
};

/// Makes a protocol for a table; both it and the loop outlive the protocol.
using ProtocolFactory = std::function<std::unique_ptr<Protocol>(Table& table, Loop& loop)>;

}  // namespace regroup::store
