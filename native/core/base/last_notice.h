#pragma once

#include <string>

namespace regroup {

/// What a server is told for a process that was killed, once nobody of all that it has started is
/// left: some bytes, on a connection of their own, which the server closes once it has read them.
struct LastNotice {
  std::string address;  // a sockaddr's bytes
  std::string message;
};

}  // namespace regroup
