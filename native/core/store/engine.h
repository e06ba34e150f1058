#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/store/board.h"
#include "core/store/garbage.h"
#include "core/store/mirror.h"
#include "core/store/refusals.h"
#include "core/store/server.h"

namespace regroup::store {

class Connection;
class Engine;
class Listener;

/// One turn of one connection.
constexpr size_t kTurnBytes = 64 << 10;

/// A table with its ports. Owner: Engine.
///
/// Invariant: `lender` and `borrower` name each other, and both are being served.
struct Served {
  Served(Engine& engine, uint32_t id, std::shared_ptr<Board> board,
         std::vector<ProtocolFactory> own);
  ~Served();

  bool hasWork() const { return table.hasWork() || table.hasGarbage(); }

  std::shared_ptr<Board> board;
  Served* lender = nullptr;    // whose port is this one's
  Served* borrower = nullptr;  // who has this one's port
  uint32_t loans = 0;          // how often the port was lent
  Table table;
  std::unique_ptr<Mirror> mirror;  // once a lane was asked for; the table tells it
  uint32_t notice = 0;
  const std::vector<ProtocolFactory> factories;  // of those that not every table has
  TcpStore* tcpStore;                            // the last of `protocols`
  std::vector<std::unique_ptr<Protocol>> protocols;
  std::optional<std::chrono::milliseconds> patience;  // theirs
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<std::unique_ptr<Connection>> connections;  // goes first: sessions use the table
};

/// The store thread's half of the server: everything but starting and ending it.
///
/// Two kinds of work: what sockets ask for, served at once as long as it's short, and what takes
/// longer. That waits in line, and has a millisecond between two looks at the sockets, all of it
/// together. So however much of it there is, who asks for little waits for about that long.
///
/// Thread: store; the constructor and destructor run while there's none.
class Engine {
 public:
  /// What the sockets of all tables use.
  struct Shared {
    Fd spare;         // given up to refuse a connection when descriptors have run out
    size_t held = 0;  // unfinished requests and unread replies of all connections
    char input[kTurnBytes];
    Reply reply;  // of one turn
    Garbage garbage;
  };

  Engine(std::unique_ptr<Loop> loop, ServerOptions options, Fd spare);
  ~Engine();

  Loop& loop() { return *loop_; }
  const ServerOptions& options() const { return options_; }

  /// What a table is opened with.
  struct Opening {
    std::vector<Fd> listeners;
    Fd local;  // for lanes, if there are to be any
    std::shared_ptr<Board> board;
    std::vector<ProtocolFactory> protocols;
    uint32_t lender = 0;  // whose port it borrows, if any's
  };
  Result<void> open(uint32_t id, Opening opening);
  void reset(uint32_t id);
  void close(uint32_t id);
  void setNotice(uint32_t id, uint32_t notice);
  /// Instead of those that were watched before; none: nobody is.
  void watchRefusals(std::vector<pid_t> pids);
  /// Gives up all ports, and tells readers of shared memory that nothing there is true any more.
  /// The rest goes with the destructor.
  void endService();

  // For the sockets.
  Shared& shared() { return shared_; }
  /// Makes it first, if there's none.
  Result<Mirror*> mirrorOf(Served& served);
  void admit(Served& served, std::unique_ptr<Connection> connection);
  void drop(Connection& connection);
  /// Has a connection that nobody has been told of belong to another table.
  void hand(Connection& connection, Served& to);
  /// A turn of its own, in line.
  void runSoon(Connection& connection);
  void cancelTurn(Connection& connection);
  /// Something is to be done that nobody's turn will do.
  void workSoon() { postRound(); }
  /// The connection holds something, and has just moved; or it holds nothing more.
  void noteHolder(Connection& connection, bool holds);
  /// Closes those that have moved least lately, until what's held is within its limit.
  void makeRoom();
  void log(const std::string& line);

 private:
  template <typename L>
  Result<void> listen(Served& served, Fd fd);
  void lend(Served& lender, Served& borrower);
  void retire(std::unique_ptr<Served> served);
  void keep(Served& served, std::unique_ptr<Connection> connection);
  std::unique_ptr<Connection> takeOut(Connection& connection);
  bool dismantleOne();
  void postRound();
  void runRound();
  bool hasWork() const;
  void workUntil(TimePoint until);
  bool tidyOne();

  const std::unique_ptr<Loop> loop_;
  const ServerOptions options_;
  Shared shared_;
  std::list<Connection*> queue_;    // want turns of their own
  std::list<Connection*> holders_;  // who has moved least lately comes first
  bool roundPosted_ = false;
  TimePoint logWindow_{};
  int logged_ = 0;
  int unlogged_ = 0;
  std::unique_ptr<RefusalWatch> refusals_;
  // These go first.
  std::list<std::unique_ptr<Served>> retired_;  // dropped bit by bit
  std::map<uint32_t, std::unique_ptr<Served>> served_;
};

}  // namespace regroup::store
