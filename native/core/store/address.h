#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

#include "core/base/fd.h"
#include "core/base/result.h"

namespace regroup::store {

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;

  bool isV4() const { return any.sa_family == AF_INET; }
  /// 0.0.0.0 or ::
  bool isAll() const;
  uint16_t port() const { return ntohs(isV4() ? v4.sin_port : v6.sin6_port); }
  void setPort(uint16_t port) { (isV4() ? v4.sin_port : v6.sin6_port) = htons(port); }
  socklen_t size() const { return isV4() ? sizeof v4 : sizeof v6; }
};

/// `fe80::1%eth0` too. Never a name: looking it up could take minutes.
Result<SocketAddress> parseHost(const std::string& host);

/// Of a socket's own end.
Result<SocketAddress> ownAddressOf(const Fd& fd);
Result<uint16_t> portOf(const Fd& fd);

/// An address in words, without an interface: for the log, and to be compared. Small, as every
/// connection has one.
struct PeerName {
  in6_addr host;
  uint16_t port;

  explicit PeerName(const SocketAddress& address);
  std::string text() const;
  /// Without the port, and without brackets.
  std::string hostText() const;
};

}  // namespace regroup::store
