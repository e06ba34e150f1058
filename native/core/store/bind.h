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

/// Takes a socket that somebody else has bound, and makes it listen if it doesn't yet. `fd` stays as it
/// is and may be closed. As TCPStore's `master_listen_fd`.
///
/// @param port what it must be bound to; 0: any
/// @returns ENOTSOCK; EPROTOTYPE: not a TCP socket; EDESTADDRREQ: not bound; EADDRNOTAVAIL: to another port
Result<Bound> adoptListener(int fd, uint16_t port, std::chrono::milliseconds stall);

/// Options that Linux copies to every accepted socket, which saves five calls each.
void setPeerOptions(int fd, std::chrono::milliseconds stall);

}  // namespace regroup::store
