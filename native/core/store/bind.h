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

/// Options that Linux copies to every accepted socket, which saves five calls each.
void setPeerOptions(int fd, std::chrono::milliseconds stall);

}  // namespace regroup::store
