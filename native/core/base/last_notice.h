#pragma once

#include <cstddef>
#include <string>

namespace regroup {

/// What a server is told for a process that was killed, once nobody of all that it has started is
/// left: some bytes, on a connection of their own.
struct LastNotice {
  std::string address;  // a sockaddr's bytes
  std::string message;
  size_t answerBytes = 0;  // that come when it has arrived
};

}  // namespace regroup
