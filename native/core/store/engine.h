#pragma once

#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/store/mirror.h"
#include "core/store/server.h"

namespace regroup::store {

class Connection;
class Engine;
class LaneConnection;
class Listener;

/// One turn of one connection.
constexpr size_t kTurnBytes = 64 << 10;
constexpr size_t kTurnRequests = 256;

/// A table with its ports. Owner: Engine.
struct Served {
  explicit Served(Engine& engine);
  ~Served();

  Table table;
  std::unique_ptr<Mirror> mirror;  // once a lane was asked for; the table tells it
  uint32_t notice = 0;
  TcpStore* tcpStore;  // the last of `protocols`
  std::vector<std::unique_ptr<Protocol>> protocols;
  TableStats totals;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::set<LaneConnection*> lanes;                       // those among `connections`
  std::vector<std::unique_ptr<Connection>> connections;  // goes first: sessions use the table
};

/// The store thread's half of the server: everything but starting and ending it.
///
/// Thread: store; the constructor and destructor run while there's none.
class Engine {
 public:
  /// What the sockets of all tables use.
  struct Shared {
    Fd spare;         // given up to refuse a connection when descriptors have run out
    size_t held = 0;  // unfinished requests and unread replies of all connections
    char input[kTurnBytes];
    std::string reply;  // of one turn
  };

  Engine(std::unique_ptr<Loop> loop, ServerOptions options, Fd spare);
  ~Engine();

  Loop& loop() { return *loop_; }
  const ServerOptions& options() const { return options_; }

  /// `local`: for lanes, if there are to be any.
  Result<void> open(uint32_t id, std::vector<Fd> listeners, Fd local);
  void reset(uint32_t id);
  void close(uint32_t id);
  TableStats stats(uint32_t id) const;
  std::vector<SlotView> slots(uint32_t id) const;
  void setNotice(uint32_t id, uint32_t notice);

  // For the sockets.
  Shared& shared() { return shared_; }
  void makeProtocols(Served& served);
  /// Makes it first, if there's none.
  Result<Mirror*> mirrorOf(Served& served);
  void admit(Served& served, std::unique_ptr<Connection> connection);
  void drop(Connection& connection);
  void runSoon(Connection& connection);
  void cancelTurn(Connection& connection);
  void log(const std::string& line);

 private:
  template <typename L>
  Result<void> listen(Served& served, Fd fd);
  void postQueue();
  void runQueued();

  const std::unique_ptr<Loop> loop_;
  const ServerOptions options_;
  Shared shared_;
  std::list<Connection*> queue_;  // have unserved requests in hand
  bool queuePosted_ = false;
  TimePoint logWindow_{};
  int logged_ = 0;
  int unlogged_ = 0;
  std::map<uint32_t, std::unique_ptr<Served>> served_;  // goes first
};

}  // namespace regroup::store
