#pragma once

#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/result.h"

namespace regroup::store {

/// Listening sockets at one port.
struct Bound {
  std::vector<Fd> fds;
  uint16_t port;
};

/// As StoreServer::openTable says. Accepted sockets have setPeerOptions() already.
Result<Bound> listenAtAll(std::span<const std::string> hosts, uint16_t port,
                          std::chrono::milliseconds stall);

/// A port that nobody has at any of the hosts at this moment, `port` itself unless that's 0. It
/// isn't held: somebody may take it.
Result<uint16_t> freePort(std::span<const std::string> hosts, uint16_t port);

/// Takes a socket that somebody else has bound, and makes it listen if it doesn't yet. As
/// TCPStore's `master_listen_fd`. `fd` may be closed; whoever else has the socket shares what we
/// set: it's non-blocking, or a connection that somebody else is faster to take would keep us
/// waiting, and has setPeerOptions().
///
/// @param port what it must be bound to; 0: any
/// @returns ENOTSOCK; EPROTOTYPE: not a TCP socket; EDESTADDRREQ: not bound; EADDRNOTAVAIL: to
/// another port
Result<Bound> adoptListener(int fd, uint16_t port, std::chrono::milliseconds stall);

/// Options that Linux copies to every accepted socket, which saves five calls each.
void setPeerOptions(int fd, std::chrono::milliseconds stall);

}  // namespace regroup::store
