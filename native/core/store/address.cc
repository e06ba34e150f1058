#include "core/store/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>

#include <cstring>

namespace regroup::store {

bool SocketAddress::isAll() const {
  return isV4() ? v4.sin_addr.s_addr == htonl(INADDR_ANY) : IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr);
}

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

Result<SocketAddress> ownAddressOf(const Fd& fd) {
  SocketAddress address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd.get(), &address.any, &size) < 0) return Error{"getsockname", errno};
  return address;
}

Result<uint16_t> portOf(const Fd& fd) {
  auto address = ownAddressOf(fd);
  if (!address) return address.error();
  return address->port();
}

PeerName::PeerName(const SocketAddress& address) : host{}, port(0) {
  if (address.any.sa_family == AF_INET) {
    host.s6_addr[10] = host.s6_addr[11] = 0xff;
    std::memcpy(&host.s6_addr[12], &address.v4.sin_addr, 4);
    port = address.port();
  } else if (address.any.sa_family == AF_INET6) {
    host = address.v6.sin6_addr;
    port = address.port();
  }
}

std::string PeerName::text() const {
  const std::string name = hostText();
  std::string text;
  // Appended: GCC 12 warns of an overlap that there isn't where a literal goes before a string
  // (GCC bug 105329).
  if (name.find(':') == std::string::npos)
    text.append(name);
  else
    text.append("[").append(name).append("]");
  return text.append(":").append(std::to_string(port));
}

std::string PeerName::hostText() const {
  char buffer[INET6_ADDRSTRLEN] = "";
  if (IN6_IS_ADDR_V4MAPPED(&host))
    ::inet_ntop(AF_INET, &host.s6_addr[12], buffer, sizeof buffer);
  else
    ::inet_ntop(AF_INET6, &host, buffer, sizeof buffer);
  return buffer;
}

}  // namespace regroup::store
