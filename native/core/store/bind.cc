#include "core/store/bind.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <utility>

#include "core/store/address.h"

namespace regroup::store {

namespace {

/// Ports tried until one is free at every host.
constexpr int kPortAttempts = 8;

Result<Fd> listenAt(SocketAddress address, uint16_t port, bool v6Only,
                    std::chrono::milliseconds stall) {
  address.setPort(port);
  Fd fd(::socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Error{"socket", errno};
  const int one = 1;
  // Over the TIME_WAIT of a server before us. Not SO_REUSEPORT: a stranger could share the port.
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
    return Error{"setsockopt", errno};
  if (!address.isV4()) {
    const int only = v6Only;
    if (::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0)
      return Error{"setsockopt", errno};
  }
  setPeerOptions(fd.get(), stall);
  if (::bind(fd.get(), &address.any, address.size()) < 0) return Error{"bind", errno};
  // The kernel cuts the backlog to net.core.somaxconn.
  if (::listen(fd.get(), INT_MAX) < 0) return Error{"listen", errno};
  return fd;
}

/// This machine has no such address, and so nobody else can serve there.
bool isNotHere(const Error& error) {
  return error.code == EAFNOSUPPORT || error.code == EADDRNOTAVAIL;
}

/// All hosts, or none: a worker that comes by one that's left out would reach whoever has our port
/// there, and take that for the store.
Result<Bound> listenOnce(std::span<const std::string> hosts, uint16_t port,
                         std::chrono::milliseconds stall) {
  Bound bound{{}, port};
  bool allV4 = false;  // 0.0.0.0 or :: is bound
  bool allV6 = false;
  for (const std::string& host : hosts) {
    auto address = parseHost(host);
    if (!address) return address.error();
    const bool v4 = address->isV4();
    const bool all = address->isAll();
    if (v4 ? allV4 : allV6) continue;

    auto fd = listenAt(*address, bound.port, allV4, stall);
    if (!fd && all && !v4 && !allV4 && isNotHere(fd.error())) {
      // Fallback: a kernel without IPv6.
      fd = listenAt(SocketAddress{.v4 = {.sin_family = AF_INET}}, bound.port, false, stall);
    }
    if (!fd && !bound.fds.empty() && isNotHere(fd.error())) continue;
    if (!fd) return fd.error();

    if (bound.fds.empty()) {
      auto real = portOf(*fd);
      if (!real) return real.error();
      bound.port = *real;
    }
    allV4 = allV4 || all;
    allV6 = allV6 || (all && !v4);
    bound.fds.push_back(std::move(*fd));
  }
  return bound;
}

}  // namespace

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

Result<Bound> adoptListener(int fd, uint16_t port, std::chrono::milliseconds stall) {
  const auto ask = [fd](int option, int& value) {
    socklen_t size = sizeof value;
    return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0;
  };
  int type = 0;
  int domain = 0;
  if (!ask(SO_TYPE, type) || !ask(SO_DOMAIN, domain)) return Error{"getsockopt", errno};
  if (type != SOCK_STREAM || (domain != AF_INET && domain != AF_INET6))
    return Error{"getsockopt", EPROTOTYPE};

  Fd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own) return Error{"fcntl", errno};
  auto real = portOf(own);
  if (!real) return real.error();
  if (*real == 0) return Error{"getsockname", EDESTADDRREQ};
  if (port != 0 && *real != port) return Error{"getsockname", EADDRNOTAVAIL};
  const int flags = ::fcntl(own.get(), F_GETFL);
  if (flags < 0 || ::fcntl(own.get(), F_SETFL, flags | O_NONBLOCK) < 0)
    return Error{"fcntl", errno};
  setPeerOptions(own.get(), stall);
  // Again for one that listens already: it only gets our backlog.
  if (::listen(own.get(), INT_MAX) < 0) return Error{"listen", errno};
  Bound bound{{}, *real};
  bound.fds.push_back(std::move(own));
  return bound;
}

Result<Bound> listenAtAll(std::span<const std::string> hosts, uint16_t port,
                          std::chrono::milliseconds stall) {
  if (hosts.empty()) return Error{"bind", EINVAL};
  for (int attempt = 1;; attempt++) {
    auto bound = listenOnce(hosts, port, stall);
    // Where the first host chose the port, another may have it at a further one.
    const bool again = !bound && bound.error().code == EADDRINUSE && port == 0;
    if (!again || attempt == kPortAttempts) return bound;
  }
}

Result<uint16_t> freePort(std::span<const std::string> hosts, uint16_t port) {
  auto bound = listenAtAll(hosts, port, std::chrono::minutes(1));
  if (!bound) return bound.error();
  return bound->port;
}

}  // namespace regroup::store
