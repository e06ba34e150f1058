#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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
  /// Asked before TCPStore, for connections that begin with another byte than 0 to 11.
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
  /// Unfinished requests and unread replies of all connections. Past it, those that add are closed.
  size_t heldBytes = 1 << 30;

  /// See Loop::lingerFor. As long as one wake-up takes; not where this process has a single CPU.
  std::chrono::microseconds linger{20};

  /// Says, at most ten times a second, which peer was closed and why. Thread: store; must not
  /// call the server.
  std::function<void(std::string_view line)> onLog;
};

struct Bound;

struct TableAddress {
  uint32_t table;
  uint16_t port;
  /// The Unix socket that gives shared memory, `@…`; empty if none is offered.
  std::string local;
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

/// The store thread counts as it serves; a reset keeps what counts from the start.
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

class Engine;

/// Serves tables, each on a port of its own, from one thread.
///
/// Fair: a connection has at most 64 KiB and 256 requests served in a turn. Nobody waits for a
/// peer: what it leaves half-sent or unread is kept, within limits, and the others go on.
///
/// Thread: any, but for ServerOptions::onLog. Calls wait for the store thread, which never waits.
class StoreServer {
 public:
  static Result<std::unique_ptr<StoreServer>> create(ServerOptions options = {});
  ~StoreServer();

  /// Binds and listens before it returns.
  ///
  /// @param hosts numeric; the first must bind, the others are tried on the same port. `::`
  ///   takes IPv4 as well, and means 0.0.0.0 where there's no IPv6.
  /// @param port 0: the kernel chooses
  Result<TableAddress> openTable(std::span<const std::string> hosts, uint16_t port);
  /// Serves at a socket that's bound already, see adoptListener().
  Result<TableAddress> adoptTable(int fd, uint16_t port);
  /// Empties the table and drops its connections, those not yet accepted too; the port stays.
  void resetTable(uint32_t table);
  /// Unknown tables: nothing.
  void closeTable(uint32_t table);
  /// Unknown tables: zeros.
  TableStats stats(uint32_t table);
  /// Of the clients at shared memory that have told something. Unknown tables: none.
  std::vector<SlotView> slots(uint32_t table);
  /// Sets the word that every client at shared memory sees. A reset sets it to 0.
  void setNotice(uint32_t table, uint32_t notice);
  /// Ends the thread. Idempotent; later calls do nothing, and openTable fails with EBADF.
  void close();

 private:
  StoreServer(std::unique_ptr<Engine> engine, Thread thread);
  Result<TableAddress> serve(Bound bound);
  bool call(const std::function<void()>& task);

  std::mutex callMutex_;            // one caller at a time; guards the fields below
  std::unique_ptr<Engine> engine_;  // empty once closed
  uint32_t nextTable_ = 1;
  Thread thread_;
};

}  // namespace regroup::store
