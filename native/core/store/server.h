#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/loop.h"
#include "core/base/result.h"
#include "core/base/thread.h"
#include "core/store/tcpstore.h"

namespace regroup::store {

/// What clients on this machine may use instead of TCP; see shm/lane_layout.h.
struct SharedMemory {
  bool offered = false;
  /// Of a table's segment, which is made when the first client asks for it.
  size_t bytes = 16 << 20;
  /// Clients of a table. Each maps 132 KiB. Who comes later is refused, and uses TCP.
  size_t lanes = 1024;
  /// False: do as on a kernel without F_SEAL_FUTURE_WRITE.
  bool sealFutureWrite = true;
};

struct ServerOptions {
  TableLimits table;
  SharedMemory sharedMemory;
  TcpStore::Options tcpStore;
  /// Asked before TCPStore, at every table, for connections that begin with another byte than 0
  /// to 11.
  std::vector<ProtocolFactory> protocols;

  // What one client can make the server hold. Its input: a request, of at most
  // `tcpStore.limits.requestBytes`, and one turn's bytes; what announces more is closed when the
  // length is read. Its output: `unreadBytes` and one reply, of at most `table.replyBytes`.

  /// A peer that leaves as much unread is neither read from nor served until it has read on.
  size_t unreadBytes = 1 << 20;
  /// A peer that leaves something unread, and reads no byte of it for this long, is closed.
  /// TCP's own timers (keep-alive, TCP_USER_TIMEOUT) are set to it too. Long, since TCPStore's
  /// clients can't reconnect: a switch that reboots mustn't cost a job that doesn't need it.
  std::chrono::milliseconds stall{300'000};
  /// Unfinished requests and unread replies of all connections. Past it, those that have moved
  /// least lately are closed.
  size_t heldBytes = 1 << 30;

  /// Descriptors of this process that no connection gets, so that workers can be restarted; half of
  /// its limit at most.
  size_t keptDescriptors = 0;

  /// See Loop::lingerFor. As long as one wake-up takes; not where this process has a single CPU.
  std::chrono::microseconds linger{20};

  /// Says, at most ten times a second, which peer was closed and why. Thread: store, until the
  /// server is destroyed; must not call it.
  std::function<void(std::string_view line)> onLog;
  /// Names a process of watchRefusals() and where it's refused. Thread: as onLog.
  std::function<void(pid_t pid, std::string_view address)> onRefused;
  /// Tells of the first request to a table that isn't a client's greeting (VALIDATE, PING), once,
  /// and once more after each reset. Thread: as onLog.
  std::function<void(uint32_t table, TimePoint at)> onFirstUse;
};

struct Bound;

struct TableAddress {
  uint32_t table;
  uint16_t port;
  /// The Unix socket that gives shared memory, `@…`; empty if none is offered.
  std::string local;
  /// The numeric address that an adopted socket is bound to; else empty.
  std::string host = {};
};

/// What a client told by its slot of shared memory. Nothing in it is checked but `pid`, which was
/// the client's when it connected.
struct SlotView {
  pid_t pid;
  uint32_t rank;
  uint64_t beats;   // how often it told
  uint64_t beatNs;  // CLOCK_MONOTONIC of the last time
  uint64_t step;
  uint32_t phase;
};

/// What the store's thread counts as it serves; a reset keeps what counts from the start.
struct TableStats {
  uint64_t clients = 0;
  uint64_t lanes = 0;  // those of `clients` at shared memory
  uint64_t keys = 0;
  uint64_t waiters = 0;
  uint64_t bytes = 0;     // what the table's limit is about
  uint64_t accepted = 0;  // connections, ever
  uint64_t refused = 0;   // those that no descriptor or lane was left for, or of another user
  uint64_t faults = 0;    // connections closed by us for what they sent or left unread
  uint64_t bytesIn = 0;
  uint64_t bytesOut = 0;
  uint64_t highestStep = 0;  // that any slot has told, also of clients that are gone
  std::array<uint64_t, kOpCount> requests{};
  SlowestOp slowest;
  std::array<uint64_t, kDialectCount> dialects{};  // of `clients`
  std::vector<HotKey> hotKeys;                     // the most asked for first
};

class Board;
class Engine;

/// Serves tables, each on a port of its own, from one thread.
///
/// Fair: no request, nor any number of them, keeps others waiting for more than some milliseconds;
/// see Engine. Nobody waits for a peer: what it leaves half-sent or unread is kept, within limits,
/// and the others go on.
///
/// Callers don't wait for the store's thread either, be it busy or short of a CPU: they read what
/// it publishes, or leave it a task. The few that wait for their task to be done give up after
/// `kPatience`; it's done later then, in the order of the calls.
///
/// Thread: any, but for ServerOptions::onLog.
class StoreServer {
 public:
  static constexpr std::chrono::milliseconds kPatience{1000};

  static Result<std::unique_ptr<StoreServer>> create(ServerOptions options = {});
  /// Waits until everything is freed.
  ~StoreServer();

  /// Binds and listens before it returns.
  ///
  /// @param hosts numeric. Each must bind, but those that this machine doesn't have; of them the
  /// first
  ///   is an error, too. `::` takes IPv4 as well, and means 0.0.0.0 where there's no IPv6. None: at
  ///   shared memory only.
  /// @param port 0: the kernel chooses, one that's free at all of them
  /// @param protocols asked before TCPStore, as those of all tables are; a reset makes them anew
  Result<TableAddress> openTable(std::span<const std::string> hosts, uint16_t port,
                                 std::vector<ProtocolFactory> protocols = {});
  /// Serves at a socket that's bound already, see adoptListener().
  Result<TableAddress> adoptTable(int fd, uint16_t port,
                                  std::vector<ProtocolFactory> protocols = {});
  /// Opens a table that borrows another one's port, until either is closed or the next one borrows
  /// it: TCPStore's clients that connect from now on are this table's. Those of the lender's own
  /// protocols stay where they are. TCPStore's clients that have connected before and are in no
  /// table yet were meant for an earlier one, and are closed, as they are once nobody borrows the
  /// port any more. Waits as openTable does.
  ///
  /// @returns EBADF: there's no such table
  Result<TableAddress> borrowPort(uint32_t lender);
  /// Empties the table and drops its connections, those not yet accepted too; the port stays.
  void resetTable(uint32_t table);
  /// Unknown tables: nothing. Doesn't wait.
  void closeTable(uint32_t table);
  /// Unknown tables: zeros. Doesn't wait.
  TableStats stats(uint32_t table);
  /// Of the clients at shared memory that have told something. Unknown tables: none. Doesn't wait.
  std::vector<SlotView> slots(uint32_t table);
  /// Sets the word that every client at shared memory sees, and waits until they do, or for
  /// `kPatience`. A reset sets it to 0.
  void setNotice(uint32_t table, uint32_t notice);
  /// Looks out for those of these processes that keep connecting to an address of this machine
  /// where nobody listens, for ten minutes; see RefusalWatch. In place of those before; none:
  /// nobody. Doesn't wait.
  void watchRefusals(std::vector<pid_t> pids);
  /// Ends the thread. Returns when the ports are free; the rest goes while nobody waits.
  /// Idempotent; later calls do nothing, and openTable fails with EBADF.
  void close();

 private:
  struct Shared;

  StoreServer(std::shared_ptr<Shared> shared, Thread thread);
  Result<TableAddress> serve(Bound bound, std::vector<ProtocolFactory> protocols,
                             uint32_t lender = 0);
  std::shared_ptr<Board> boardOf(uint32_t table);
  void post(std::function<void(Engine&)> task);
  bool call(std::function<void(Engine&)> task);

  const std::shared_ptr<Shared> shared_;
  std::mutex callMutex_;  // guards the fields below
  struct Opened {
    std::shared_ptr<Board> board;
    uint16_t port;
  };
  std::map<uint32_t, Opened> tables_;
  bool closed_ = false;
  uint32_t nextTable_ = 1;
  Thread thread_;
};

}  // namespace regroup::store
