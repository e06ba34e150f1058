#include "core/store/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <map>
#include <utility>

#include "core/base/fd.h"
#include "core/base/loop.h"

namespace regroup::store {

namespace {

/// One turn of one connection.
constexpr size_t kTurnBytes = 64 << 10;
constexpr size_t kTurnRequests = 256;
/// Connections accepted per wake-up: a start-up's storm is let in quickly, yet those that are in
/// already get their answers meanwhile.
constexpr int kAcceptBatch = 64;
/// What an idle connection may keep of its buffers.
constexpr size_t kKeptBytes = 1 << 10;
/// A connection that holds less is never closed for what all of them hold.
constexpr size_t kModestBytes = 64 << 10;
/// Log lines a second; a port scanner could fill a disk otherwise.
constexpr int kLogBurst = 10;
/// Ports tried until one is free at every host.
constexpr int kPortAttempts = 8;
/// How long a listener rests that can neither accept nor refuse.
constexpr std::chrono::milliseconds kAcceptPause{100};

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

socklen_t sizeOf(const SocketAddress& address) {
  return address.any.sa_family == AF_INET ? sizeof address.v4 : sizeof address.v6;
}

void setPort(SocketAddress& address, uint16_t port) {
  (address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port) = htons(port);
}

/// `fe80::1%eth0` too. Never a name: looking it up could take minutes.
Result<SocketAddress> parseHost(const std::string& host) {
  SocketAddress address{};
  if (::inet_pton(AF_INET, host.c_str(), &address.v4.sin_addr) == 1) {
    address.v4.sin_family = AF_INET;
    return address;
  }
  const size_t percent = host.find('%');
  if (::inet_pton(AF_INET6, host.substr(0, percent).c_str(), &address.v6.sin6_addr) != 1)
    return Error{"inet_pton", EINVAL};
  address.v6.sin6_family = AF_INET6;
  if (percent != std::string::npos) {
    address.v6.sin6_scope_id = ::if_nametoindex(host.c_str() + percent + 1);
    if (address.v6.sin6_scope_id == 0) return Error{"if_nametoindex", errno};
  }
  return address;
}

/// Options that Linux copies to every accepted socket, which saves five calls each.
void setPeerOptions(int fd, std::chrono::milliseconds stall) {
  const auto set = [fd](int level, int option, int value) {
    // Without one of them the store works, only slower, or with dead peers kept longer.
    (void)::setsockopt(fd, level, option, &value, sizeof value);
  };
  const int ms = static_cast<int>(std::min<int64_t>(stall.count(), INT_MAX));
  const int probes = 5;
  const int seconds = std::max(1, ms / 1000 / (probes + 1));
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, seconds);
  set(IPPROTO_TCP, TCP_KEEPINTVL, seconds);
  set(IPPROTO_TCP, TCP_KEEPCNT, probes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, ms);
}

Result<Fd> listenAt(SocketAddress address, uint16_t port, bool v6Only,
                    std::chrono::milliseconds stall) {
  setPort(address, port);
  Fd fd(::socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Error{"socket", errno};
  const int one = 1;
  // Over the TIME_WAIT of a server before us. Not SO_REUSEPORT: a stranger could share the port.
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
    return Error{"setsockopt", errno};
  if (address.any.sa_family == AF_INET6) {
    const int only = v6Only;
    if (::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0)
      return Error{"setsockopt", errno};
  }
  setPeerOptions(fd.get(), stall);
  if (::bind(fd.get(), &address.any, sizeOf(address)) < 0) return Error{"bind", errno};
  // The kernel cuts the backlog to net.core.somaxconn.
  if (::listen(fd.get(), INT_MAX) < 0) return Error{"listen", errno};
  return fd;
}

Result<uint16_t> portOf(const Fd& fd) {
  SocketAddress address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd.get(), &address.any, &size) < 0) return Error{"getsockname", errno};
  return ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
}

struct Bound {
  std::vector<Fd> fds;
  uint16_t port;
};

bool hasNoV6(const Error& error) {
  return error.code == EAFNOSUPPORT || error.code == EADDRNOTAVAIL;
}

Result<Bound> listenAtAll(std::span<const std::string> hosts, uint16_t port,
                          std::chrono::milliseconds stall) {
  if (hosts.empty()) return Error{"bind", EINVAL};
  for (int attempt = 1;; attempt++) {
    Bound bound{{}, port};
    bool allV4 = false;  // 0.0.0.0 or :: is bound
    bool allV6 = false;
    bool portTaken = false;
    for (const std::string& host : hosts) {
      const bool required = bound.fds.empty();
      auto address = parseHost(host);
      if (!address && required) return address.error();
      if (!address) continue;
      const bool v4 = address->any.sa_family == AF_INET;
      const bool all = v4 ? address->v4.sin_addr.s_addr == htonl(INADDR_ANY)
                          : IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
      if (v4 ? allV4 : allV6) continue;

      auto fd = listenAt(*address, bound.port, allV4, stall);
      if (!fd && all && !v4 && !allV4 && hasNoV6(fd.error())) {
        // Fallback: a kernel without IPv6.
        fd = listenAt(SocketAddress{.v4 = {.sin_family = AF_INET}}, bound.port, false, stall);
      }
      if (!fd && required) return fd.error();
      portTaken = portTaken || (!fd && fd.error().code == EADDRINUSE);
      if (!fd) continue;

      if (required) {
        auto real = portOf(*fd);
        if (!real) return real.error();
        bound.port = *real;
      }
      allV4 = allV4 || all;
      allV6 = allV6 || (all && !v4);
      bound.fds.push_back(std::move(*fd));
    }
    // A worker that comes by another host would reach whoever has our port there.
    if (port == 0 && portTaken && attempt < kPortAttempts) continue;
    return bound;
  }
}

/// For the log; small, as every connection has one.
struct PeerName {
  in6_addr host;
  uint16_t port;

  explicit PeerName(const SocketAddress& address) : host{}, port(0) {
    if (address.any.sa_family == AF_INET) {
      host.s6_addr[10] = host.s6_addr[11] = 0xff;
      std::memcpy(&host.s6_addr[12], &address.v4.sin_addr, 4);
      port = ntohs(address.v4.sin_port);
    } else if (address.any.sa_family == AF_INET6) {
      host = address.v6.sin6_addr;
      port = ntohs(address.v6.sin6_port);
    }
  }

  std::string text() const {
    char buffer[INET6_ADDRSTRLEN] = "";
    if (IN6_IS_ADDR_V4MAPPED(&host)) {
      ::inet_ntop(AF_INET, &host.s6_addr[12], buffer, sizeof buffer);
      return std::string(buffer) + ":" + std::to_string(port);
    }
    ::inet_ntop(AF_INET6, &host, buffer, sizeof buffer);
    return "[" + std::string(buffer) + "]:" + std::to_string(port);
  }
};

}  // namespace

/// The store thread's half: everything but starting and ending it.
///
/// Thread: store; the constructor and destructor run while there's none.
class StoreServer::Engine {
 public:
  Engine(std::unique_ptr<Loop> loop, ServerOptions options, Fd spare)
      : loop_(std::move(loop)), options_(std::move(options)), spare_(std::move(spare)) {}

  Loop& loop() { return *loop_; }
  const ServerOptions& options() const { return options_; }

  Result<void> open(uint32_t id, std::vector<Fd> listeners);
  void reset(uint32_t id);
  void close(uint32_t id) { served_.erase(id); }
  TableStats stats(uint32_t id) const;

 private:
  class Listener;
  class Connection;

  /// A table with its ports. Owner: Engine.
  struct Served {
    Served(Engine& engine);

    Table table;
    TcpStore* tcpStore;  // the last of `protocols`
    std::vector<std::unique_ptr<Protocol>> protocols;
    TableStats totals;
    std::vector<std::unique_ptr<Listener>> listeners;
    std::vector<std::unique_ptr<Connection>> connections;  // goes first: sessions use the table
  };

  void makeProtocols(Served& served);
  void admit(Served& served, Fd fd, const SocketAddress& address);
  void drop(Connection& connection);
  void runSoon(Connection& connection);
  void postQueue();
  void runQueued();
  void log(const std::string& line);

  const std::unique_ptr<Loop> loop_;
  const ServerOptions options_;
  Fd spare_;  // given up to refuse a connection when descriptors have run out
  size_t held_ = 0;
  char input_[kTurnBytes];
  std::string reply_;
  std::list<Connection*> queue_;  // have unserved requests in hand
  bool queuePosted_ = false;
  TimePoint logWindow_{};
  int logged_ = 0;
  int unlogged_ = 0;
  std::map<uint32_t, std::unique_ptr<Served>> served_;  // goes first
};

/// A listening socket.
class StoreServer::Engine::Listener final : public Loop::Watcher {
 public:
  Listener(Engine& engine, Served& served, Fd fd)
      : engine_(engine), served_(served), fd_(std::move(fd)) {}
  ~Listener() override {
    engine_.loop_->remove(fd_.get(), this);
    engine_.loop_->cancelTimer(pause_);
  }

  Result<void> watch() { return engine_.loop_->add(fd_.get(), EPOLLIN, this); }

  void onReady(uint32_t) override {
    for (int i = 0; i < kAcceptBatch; i++) {
      SocketAddress address{};
      socklen_t size = sizeof address;
      Fd fd(::accept4(fd_.get(), &address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd) {
        inherit(fd);
        engine_.admit(served_, std::move(fd), address);
        continue;
      }
      switch (errno) {
        case EAGAIN:
          return;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
          if (!refuse(errno)) return;
          break;
        default:
          break;  // that connection's trouble: it was reset before we took it
      }
    }
  }

  /// Closes whoever has connected and wasn't accepted.
  void purge() {
    while (Fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC))) {
    }
  }

 private:
  /// Takes a connection and closes it, so that its client knows, and we don't spin. False: there's
  /// none left, or nothing can be done now.
  bool refuse(int error) {
    engine_.spare_.reset();
    Fd refused(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const bool done = static_cast<bool>(refused);
    // Out of descriptors, accept4 says so even if nobody has connected; only now do we know.
    const bool nobody = !done && errno == EAGAIN;
    refused.reset();
    restoreSpare();
    if (nobody) return false;
    engine_.log("no descriptor for a connection, errno " + std::to_string(error));
    if (!done) rest();
    return done;
  }

  void restoreSpare() { engine_.spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

  /// Somebody in this process was faster to take the spare's number. Looks again later; else epoll
  /// would wake us forever.
  void rest() {
    engine_.loop_->remove(fd_.get(), this);
    pause_ = engine_.loop_->setTimer(engine_.loop_->now() + kAcceptPause, [this] {
      pause_ = 0;
      restoreSpare();
      if (!watch()) rest();
    });
  }

  /// Fallback: kernels other than Linux (gVisor) don't copy the listener's options.
  void inherit(const Fd& fd) {
    if (inherits_ == Inherits::Unknown) {
      int on = 0;
      socklen_t size = sizeof on;
      (void)::getsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, &size);
      inherits_ = on ? Inherits::Yes : Inherits::No;
    }
    if (inherits_ == Inherits::No) setPeerOptions(fd.get(), engine_.options_.stall);
  }

  enum class Inherits { Unknown, Yes, No };
  Engine& engine_;
  Served& served_;
  const Fd fd_;
  Inherits inherits_ = Inherits::Unknown;
  Loop::TimerId pause_ = 0;
};

/// An accepted socket, and what's held for it.
class StoreServer::Engine::Connection final : public Loop::Watcher, public Peer {
 public:
  Connection(Engine& engine, Served& served, Fd fd, const PeerName& name)
      : engine_(engine), served_(served), fd_(std::move(fd)), name_(name) {}

  ~Connection() override {
    session_.reset();
    engine_.loop_->remove(fd_.get(), this);
    engine_.loop_->cancelTimer(stallTimer_);
    engine_.loop_->cancelTimer(quietTimer_);
    if (queued_) engine_.queue_.erase(queuePlace_);
    engine_.held_ -= counted_;
  }

  Result<void> watch() { return engine_.loop_->add(fd_.get(), events_, this); }

  /// May drop, and so destroy, this connection.
  void onReady(uint32_t events) override {
    bool alive = true;
    if (events & EPOLLOUT) alive = flush();
    if (alive && (events & EPOLLIN)) {
      alive = receive();
    } else if (events & (EPOLLERR | EPOLLHUP)) {
      alive = false;
    }
    if (!alive || !update()) engine_.drop(*this);
  }

  /// Goes on with requests that an earlier turn left.
  void onTurn() {
    queued_ = false;
    if (!serveHeld() || !update()) engine_.drop(*this);
  }

  void send(std::string_view bytes) override {
    if (unread_.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      // A broken connection is dropped by its own event, which is due.
      if (sent < 0 && errno != EAGAIN) return;
      if (sent > 0) noteSent(static_cast<size_t>(sent));
      bytes.remove_prefix(std::max<ssize_t>(sent, 0));
      if (bytes.empty()) return;
    }
    keepUnread(bytes);
    if (!update()) close();
  }

  void close() override { (void)::shutdown(fd_.get(), SHUT_RDWR); }

  size_t place = 0;  // in Served::connections

  Served& served() { return served_; }

 private:
  bool paused() const { return eof_ || unread_.size() - sent_ >= engine_.options_.unreadBytes; }

  /// Reads once, and serves. False: drop.
  bool receive() {
    // Those in hand come first; they're queued for a turn of their own.
    if (paused() || more_) return true;
    const ssize_t size = ::recv(fd_.get(), engine_.input_, kTurnBytes, 0);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    if (size == 0) {
      eof_ = true;
      return !unread_.empty();
    }

    served_.totals.bytesIn += static_cast<size_t>(size);
    engine_.loop_->cancelTimer(std::exchange(quietTimer_, 0));
    const std::string_view input(engine_.input_, static_cast<size_t>(size));
    if (!unserved_.empty()) {
      unserved_.append(input);
      return serveHeld();
    }
    size_t consumed = 0;
    const bool alive = serve(input, consumed);
    // The parser's views are done with; what it hasn't consumed is kept.
    if (alive) unserved_.assign(input.substr(consumed));
    return alive;
  }

  bool serveHeld() {
    size_t consumed = 0;
    const bool alive = serve(unserved_, consumed);
    unserved_.erase(0, consumed);
    if (unserved_.empty() && unserved_.capacity() > kKeptBytes) unserved_ = {};
    return alive;
  }

  bool serve(std::string_view input, size_t& consumed) {
    if (!session_ && !choose(input)) return false;
    if (!session_) return true;
    std::string& reply = unread_.empty() ? engine_.reply_ : unread_;
    if (sent_ > unread_.size() / 2) {
      unread_.erase(0, sent_);
      sent_ = 0;
    }
    const size_t replyBytes = engine_.options_.unreadBytes;
    Session::Progress progress = session_->onInput(input, {kTurnRequests, replyBytes}, reply);
    consumed = progress.consumed;
    more_ = !progress.hungry && consumed < input.size();

    const bool alive = &reply == &unread_ ? flush() : sendReply();
    if (progress.fault) return fault(*progress.fault);
    if (progress.quiet && quietTimer_ == 0) {
      quietTimer_ = engine_.loop_->setTimer(engine_.loop_->now() + *progress.quiet, [this] {
        quietTimer_ = 0;
        session_->onQuiet();
        if (!serveHeld() || !update()) engine_.drop(*this);
      });
    }
    return alive;
  }

  /// Finds whose connection this is. False: nobody's.
  bool choose(std::string_view input) {
    bool undecided = false;
    for (const auto& protocol : served_.protocols) {
      const auto match = protocol->match(input);
      if (match == Protocol::Match::Yes) {
        session_ = protocol->open(*this);
        return true;
      }
      undecided = undecided || match == Protocol::Match::NeedMore;
    }
    return undecided || fault("not a protocol that's served here");
  }

  bool fault(const std::string& what) {
    served_.totals.faults++;
    engine_.log("closed " + name_.text() + ": " + what);
    return false;
  }

  /// Sends what this turn's requests gave; what the kernel doesn't take is kept.
  bool sendReply() {
    std::string& reply = engine_.reply_;
    if (reply.empty()) return true;
    const ssize_t sent = ::send(fd_.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
    const bool alive = sent >= 0 || errno == EAGAIN;
    const size_t taken = static_cast<size_t>(std::max<ssize_t>(sent, 0));
    noteSent(taken);
    if (alive && taken < reply.size()) keepUnread(std::string_view(reply).substr(taken));
    reply.clear();
    if (reply.capacity() > engine_.options_.unreadBytes) reply = {};
    return alive;
  }

  bool flush() {
    while (sent_ < unread_.size()) {
      const ssize_t sent =
          ::send(fd_.get(), unread_.data() + sent_, unread_.size() - sent_, MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN || errno == EINTR;
      sent_ += static_cast<size_t>(sent);
      noteSent(static_cast<size_t>(sent));
      lastRead_ = engine_.loop_->now();
    }
    unread_ = {};
    sent_ = 0;
    return !eof_;
  }

  void noteSent(size_t bytes) { served_.totals.bytesOut += bytes; }

  void keepUnread(std::string_view bytes) {
    if (unread_.empty()) lastRead_ = engine_.loop_->now();
    unread_.append(bytes);
    if (stallTimer_ == 0) armStallTimer();
  }

  void armStallTimer() {
    stallTimer_ = engine_.loop_->setTimer(lastRead_ + engine_.options_.stall, [this] {
      stallTimer_ = 0;
      if (unread_.empty()) return;
      if (engine_.loop_->now() < lastRead_ + engine_.options_.stall) return armStallTimer();
      (void)fault("left " + std::to_string(unread_.size() - sent_) + " bytes unread for " +
                  std::to_string(engine_.options_.stall.count()) + " ms");
      engine_.drop(*this);
    });
  }

  /// After anything that may have changed what's held: limits, events, the next turn.
  bool update() {
    const size_t holds = unserved_.capacity() + unread_.capacity();
    engine_.held_ += holds - counted_;
    const bool grew = holds > counted_;
    counted_ = holds;
    if (grew && holds > kModestBytes && engine_.held_ > engine_.options_.heldBytes) {
      return fault("the server holds too much, bytes: " + std::to_string(engine_.held_) +
                   ", max: " + std::to_string(engine_.options_.heldBytes));
    }

    if (more_ && !paused() && !queued_) engine_.runSoon(*this);
    const uint32_t events =
        (paused() ? 0u : uint32_t{EPOLLIN}) | (unread_.empty() ? 0u : uint32_t{EPOLLOUT});
    if (events == events_) return true;
    events_ = events;
    return static_cast<bool>(engine_.loop_->modify(fd_.get(), events, this));
  }

  friend class Engine;
  Engine& engine_;
  Served& served_;
  const Fd fd_;
  std::unique_ptr<Session> session_;  // once the first bytes have told which
  std::string unserved_;              // an unfinished request, or requests of the next turn
  std::string unread_;                // replies that the kernel hasn't taken, from `sent_` on
  size_t sent_ = 0;
  size_t counted_ = 0;  // our part of Engine::held_
  TimePoint lastRead_{};
  Loop::TimerId stallTimer_ = 0;
  Loop::TimerId quietTimer_ = 0;
  std::list<Connection*>::iterator queuePlace_;
  uint32_t events_ = EPOLLIN;
  bool queued_ = false;  // in Engine::queue_, at queuePlace_
  bool more_ = false;    // `unserved_` may begin with a whole request
  bool eof_ = false;     // the peer sends no more, but has yet to read
  const PeerName name_;
};

StoreServer::Engine::Served::Served(Engine& engine) : table(engine.options_.table) {
  engine.makeProtocols(*this);
}

void StoreServer::Engine::makeProtocols(Served& served) {
  for (const auto& factory : options_.protocols)
    served.protocols.push_back(factory(served.table, *loop_));
  auto tcpStore = std::make_unique<TcpStore>(served.table, options_.tcpStore);
  served.tcpStore = tcpStore.get();
  served.protocols.push_back(std::move(tcpStore));
}

Result<void> StoreServer::Engine::open(uint32_t id, std::vector<Fd> listeners) {
  auto served = std::make_unique<Served>(*this);
  for (Fd& fd : listeners) {
    auto listener = std::make_unique<Listener>(*this, *served, std::move(fd));
    const auto watched = listener->watch();
    if (!watched) return watched.error();
    served->listeners.push_back(std::move(listener));
  }
  served_.emplace(id, std::move(served));
  return {};
}

void StoreServer::Engine::reset(uint32_t id) {
  const auto found = served_.find(id);
  if (found == served_.end()) return;
  Served& served = *found->second;
  served.connections.clear();
  // Those in the backlog were meant for the table that's gone.
  for (const auto& listener : served.listeners) listener->purge();
  served.protocols.clear();
  served.table.clear();
  makeProtocols(served);
}

TableStats StoreServer::Engine::stats(uint32_t id) const {
  const auto found = served_.find(id);
  if (found == served_.end()) return {};
  const Served& served = *found->second;
  TableStats stats = served.totals;
  stats.clients = served.connections.size();
  stats.keys = served.table.keys();
  stats.waiters = served.table.waiters();
  stats.bytes = served.table.bytes();
  stats.requests = served.table.requests();
  stats.dialects = served.tcpStore->clients();
  return stats;
}

void StoreServer::Engine::admit(Served& served, Fd fd, const SocketAddress& address) {
  served.totals.accepted++;
  auto connection = std::make_unique<Connection>(*this, served, std::move(fd), PeerName(address));
  const auto watched = connection->watch();
  if (!watched) return;  // the kernel's limit of watches; the client sees a closed connection
  connection->place = served.connections.size();
  served.connections.push_back(std::move(connection));
}

void StoreServer::Engine::drop(Connection& connection) {
  auto& connections = connection.served().connections;
  const size_t place = connection.place;
  // Out of the list before it's destroyed, which may send to others, but drops none.
  const auto gone = std::move(connections[place]);
  if (place + 1 < connections.size()) {
    connections[place] = std::move(connections.back());
    connections[place]->place = place;
  }
  connections.pop_back();
}

void StoreServer::Engine::runSoon(Connection& connection) {
  connection.queued_ = true;
  connection.queuePlace_ = queue_.insert(queue_.end(), &connection);
  postQueue();
}

void StoreServer::Engine::postQueue() {
  if (queuePosted_ || queue_.empty()) return;
  queuePosted_ = true;
  loop_->post([this] { runQueued(); });
}

void StoreServer::Engine::runQueued() {
  queuePosted_ = false;
  // Only those queued by now: between two turns of one, everybody's events are looked at.
  for (size_t left = queue_.size(); left > 0 && !queue_.empty(); left--) {
    Connection& connection = *queue_.front();
    queue_.pop_front();
    connection.onTurn();
  }
}

void StoreServer::Engine::log(const std::string& line) {
  if (!options_.onLog) return;
  const TimePoint now = loop_->now();
  if (now - logWindow_ >= std::chrono::seconds(1)) {
    logWindow_ = now;
    logged_ = 0;
  }
  if (logged_ == kLogBurst) {
    unlogged_++;
    return;
  }
  logged_++;
  const int unlogged = std::exchange(unlogged_, 0);
  options_.onLog(unlogged == 0 ? line : line + " (and " + std::to_string(unlogged) + " unlogged)");
}

Result<std::unique_ptr<StoreServer>> StoreServer::create(ServerOptions options) {
  auto loop = Loop::create();
  if (!loop) return loop.error();
  Fd spare(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!spare) return Error{"open", errno};
  auto engine = std::make_unique<Engine>(std::move(*loop), std::move(options), std::move(spare));
  auto thread = Thread::start([loop = &engine->loop()] {
    (void)::prctl(PR_SET_NAME, "regroup-store");
    loop->run();
  });
  if (!thread) return thread.error();
  return std::unique_ptr<StoreServer>(new StoreServer(std::move(engine), *std::move(thread)));
}

StoreServer::StoreServer(std::unique_ptr<Engine> engine, Thread thread)
    : engine_(std::move(engine)), thread_(std::move(thread)) {}

StoreServer::~StoreServer() {
  close();
}

/// Runs `task` on the store thread, and waits for it. False: closed.
bool StoreServer::call(const std::function<void()>& task) {
  if (!engine_) return false;
  const auto done = std::make_shared<std::atomic<int>>(0);
  engine_->loop().post([&task, done] {
    task();
    done->store(1, std::memory_order_release);
    done->notify_one();
  });
  done->wait(0, std::memory_order_acquire);
  return true;
}

Result<TableAddress> StoreServer::openTable(std::span<const std::string> hosts, uint16_t port) {
  const std::lock_guard lock(callMutex_);
  if (!engine_) return Error{"listen", EBADF};
  auto bound = listenAtAll(hosts, port, engine_->options().stall);
  if (!bound) return bound.error();

  const TableAddress address{nextTable_++, bound->port};
  Result<void> opened;
  call([&] { opened = engine_->open(address.table, std::move(bound->fds)); });
  if (!opened) return opened.error();
  return address;
}

void StoreServer::resetTable(uint32_t table) {
  const std::lock_guard lock(callMutex_);
  call([&] { engine_->reset(table); });
}

void StoreServer::closeTable(uint32_t table) {
  const std::lock_guard lock(callMutex_);
  call([&] { engine_->close(table); });
}

TableStats StoreServer::stats(uint32_t table) {
  const std::lock_guard lock(callMutex_);
  TableStats stats;
  call([&] { stats = engine_->stats(table); });
  return stats;
}

void StoreServer::close() {
  const std::lock_guard lock(callMutex_);
  if (!engine_) return;
  engine_->loop().stop();
  thread_.join();
  engine_.reset();
}

}  // namespace regroup::store
