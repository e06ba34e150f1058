#include "core/store/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

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

/// What to try is only known for the usual case.
std::string whyNone(int error) {
  rlimit limit{};
  if (error != EMFILE || ::getrlimit(RLIMIT_NOFILE, &limit) < 0)
    return ", errno " + std::to_string(error);
  return ": all " + std::to_string(limit.rlim_cur) +
         " of this process are taken (its hard limit is " + std::to_string(limit.rlim_max) +
         ", see ulimit -Hn)";
}

}  // namespace

Listener::Listener(Engine& engine, Served& served, Fd fd)
    : engine_(engine), served_(served), fd_(std::move(fd)) {}

Listener::~Listener() {
  engine_.loop().remove(fd_.get(), this);
  engine_.loop().cancelTimer(pause_);
}

Result<void> Listener::watch() {
  return engine_.loop().add(fd_.get(), EPOLLIN, this);
}

void Listener::onReady(uint32_t) {
  for (int i = 0; i < kAcceptBatch; i++) {
    SocketAddress address{};
    socklen_t size = sizeof address;
    Fd fd(::accept4(fd_.get(), &address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      take(std::move(fd), address);
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

void Listener::purge() {
  while (Fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC))) {
  }
}

/// Takes a connection and closes it, so that its client knows, and we don't spin. False: there's
/// none left, or nothing can be done now.
bool Listener::refuse(int error) {
  engine_.shared().spare.reset();
  Fd refused(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const bool done = static_cast<bool>(refused);
  // Out of descriptors, accept4 says so even if nobody has connected; only now do we know.
  const bool nobody = !done && errno == EAGAIN;
  refused.reset();
  restoreSpare();
  if (nobody) return false;
  served_.totals.refused += done;
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

void TcpListener::take(Fd fd, const SocketAddress& address) {
  inherit(fd);
  engine().admit(served(), std::make_unique<TcpConnection>(engine(), served(), std::move(fd),
                                                           PeerName(address)));
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
