#include "core/store/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "core/store/bind.h"
#include "core/store/connection.h"
#include "core/store/engine.h"

namespace regroup::store {

namespace {

/// Connections accepted per wake-up: a start-up's storm is let in quickly, yet those that are in
/// already get their answers meanwhile.
constexpr int kAcceptBatch = 64;
/// How long a listener rests that can neither accept nor refuse.
constexpr std::chrono::milliseconds kAcceptPause{100};

/// What a backlog has at most, unless somebody raised the kernel's bound.
constexpr size_t kBacklog = 4096;

rlimit descriptors() {
  rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
  (void)::getrlimit(RLIMIT_NOFILE, &limit);
  return limit;
}

std::string hardLimit(const rlimit& limit) {
  return " (its hard limit is " + std::to_string(limit.rlim_max) + ", see ulimit -Hn)";
}

/// What to try is only known for the usual case.
std::string whyNone(int error) {
  const rlimit limit = descriptors();
  if (error != EMFILE) return ", errno " + std::to_string(error);
  return ": all " + std::to_string(limit.rlim_cur) + " of this process are taken" +
         hardLimit(limit);
}

/// Descriptors from this number on aren't for connections. The kernel gives the lowest that's free;
/// so one as high as this says how few are left, whoever has the others.
rlim_t firstKept(const rlimit& limit, size_t kept) {
  return limit.rlim_cur - std::min<rlim_t>(kept, limit.rlim_cur / 2);
}

}  // namespace

Listener::Listener(Engine& engine, Served& served, Fd fd)
    : engine_(engine), served_(&served), fd_(std::move(fd)) {}

Listener::~Listener() {
  engine_.loop().remove(fd_.get(), this);
  engine_.loop().cancelTimer(pause_);
}

Result<void> Listener::watch() {
  return engine_.loop().add(fd_.get(), EPOLLIN, this);
}

void Listener::onReady(uint32_t) {
  for (int i = 0; i < kAcceptBatch; i++) {
    if (!accept()) return;
  }
}

/// One connection. False: there's none, or none can be taken now.
bool Listener::accept() {
  SocketAddress address{};
  socklen_t size = sizeof address;
  Fd fd(::accept4(fd_.get(), &address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) return onError(errno);
  const bool isEarly = early_ > 0;
  early_ -= isEarly;
  if (stale_ > 0) {
    stale_--;
    return true;
  }
  const rlimit limit = descriptors();
  const size_t kept = engine_.options().keptDescriptors;
  if (static_cast<rlim_t>(fd.get()) >= firstKept(limit, kept)) {
    served_->board->refused += 1;
    engine_.log("no descriptor for a connection: " +
                std::to_string(limit.rlim_cur - firstKept(limit, kept)) + " of " +
                std::to_string(limit.rlim_cur) + " are kept for workers" + hardLimit(limit));
    return true;
  }
  take(std::move(fd), address, isEarly);
  return true;
}

/// @source accept(2): what's to be tried again, and what's the connection's own trouble
bool Listener::onError(int error) {
  switch (error) {
    case EAGAIN:
      stale_ = 0;
      early_ = 0;
      return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return refuse(error);
    // It was reset before we took it, or the network or a filter has a word against it.
    case EINTR:
    case ECONNABORTED:
    case EPERM:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
      return true;
    // Whoever shares the socket has shut it down.
    case EINVAL:
    case EBADF:
    case ENOTSOCK:
      giveUp(error);
      return false;
    default:
      engine_.log("can't accept, errno " + std::to_string(error));
      rest();
      return false;
  }
}

void Listener::giveUp(int error) {
  engine_.log(
      "no connection will be accepted any more: the listening socket was shut down, errno " +
      std::to_string(error));
  engine_.loop().remove(fd_.get(), this);
}

void Listener::serveInstead(Served& served) {
  served_ = &served;
  stale_ = dropBacklog();
}

/// At once, since it can't be told who comes later.
size_t Listener::dropBacklog() {
  for (size_t i = 0; i < kBacklog; i++) {
    if (!Fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC))) break;
  }
  return 0;
}

/// Takes a connection and closes it, so that its client knows, and we don't spin. False: there's
/// none left, or nothing can be done now.
bool Listener::refuse(int error) {
  engine_.shared().spare.reset();
  Fd refused(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const bool done = static_cast<bool>(refused);
  // Out of descriptors, accept4 says so even if nobody has connected; only now do we know.
  const bool nobody = !done && errno == EAGAIN;
  if (done) served_->board->refused += 1;
  stale_ -= done && stale_ > 0;
  early_ -= done && early_ > 0;
  refused.reset();
  restoreSpare();
  if (nobody) return false;
  engine_.log("no descriptor for a connection" + whyNone(error));
  if (!done) rest();
  return done;
}

void Listener::restoreSpare() {
  engine_.shared().spare.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

/// Somebody in this process was faster to take the spare's number. Looks again later; else epoll
/// would wake us forever.
void Listener::rest() {
  Loop& loop = engine_.loop();
  loop.remove(fd_.get(), this);
  pause_ = loop.setTimer(loop.now() + kAcceptPause, [this] {
    pause_ = 0;
    restoreSpare();
    if (!watch()) rest();
  });
}

void TcpListener::take(Fd fd, const SocketAddress& address, bool isEarly) {
  inherit(fd);
  auto connection =
      std::make_unique<TcpConnection>(engine(), served(), std::move(fd), PeerName(address));
  connection->loan = isEarly ? 0 : served().loans;
  engine().admit(served(), std::move(connection));
}

void TcpListener::noteLoan() {
  setEarly(dropBacklog());
}

/// However many more come meanwhile.
///
/// @source Linux, net/ipv4/tcp.c, tcp_get_info: of a listening socket, `unacked` is how many wait
size_t TcpListener::dropBacklog() {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd().get(), IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
    return Listener::dropBacklog();
  return info.tcpi_unacked;
}

/// Fallback: kernels other than Linux (gVisor) don't copy the listener's options.
void TcpListener::inherit(const Fd& fd) {
  if (inherits_ == Inherits::Unknown) {
    int on = 0;
    socklen_t size = sizeof on;
    (void)::getsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, &size);
    inherits_ = on ? Inherits::Yes : Inherits::No;
  }
  if (inherits_ == Inherits::No) setPeerOptions(fd.get(), engine().options().stall);
}

}  // namespace regroup::store
